"""Every message that a user can meet, with a code to search for.

`Errors` are formatted into exceptions (`raise ValueError(Errors.S101.format(...))`), `Warnings` into
`warnings.warn(..., SamarkandWarning)`. A message says what is wrong, where, and the mend.

Code ranges: S0 package, S1 text, S2 corpora, S3 encoders, S4 RICON, S5 annotation and command line,
S6 transfer between languages, S7 engine, S8 sentence vectors and retrieval, S9 knowledge bases and entity linking.
"""

from __future__ import annotations

import os
import sys
from typing import Any


class SamarkandWarning(UserWarning):
    """Something was shortened, skipped or guessed; the message gives the count."""


def first_line(error: BaseException) -> str:
    """Type and first line of an error of somebody else's, for a message of one line.

    error (BaseException): The error.
    RETURNS (str): What it says.
    """
    text = str(error).strip().split("\n")[0].strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def first_finding(error: BaseException) -> str:
    """`first_line`, and the first thing that an error of spaCy's configs or matchers lists below it.

    error (BaseException): The error.
    RETURNS (str): What it says.
    """
    found = getattr(error, "errors", None)
    if found:
        finding = f"{'.'.join(map(str, found[0]['loc']))}: {found[0]['msg']}"
    else:
        lines = map(str.strip, str(error).split("\n"))
        finding = getattr(error, "desc", None) or next((line[2:] for line in lines if line.startswith("- ")), "")
    finding = " ".join(finding.split())
    return f"{first_line(error)} ({finding})" if finding else first_line(error)


def is_coded(error: BaseException) -> bool:
    """Whether an error is of the catalogue. Every process of a training meets it, and the first speaks for all.

    error (BaseException): The error.
    RETURNS (bool): Whether it is.
    """
    return str(error).startswith("[S")


def is_first_rank() -> bool:
    """Whether this process speaks for all that torchrun started: each of them meets the same errors.

    RETURNS (bool): Whether it does; true outside torchrun.
    """
    return os.environ.get("RANK", "0") == "0"


def spoken(error: BaseException) -> str:
    """An error in one line for the command line.

    error (BaseException): The error.
    RETURNS (str): Its first line, with the type in front when it is not of the catalogue.
    """
    return str(error).strip().split("\n")[0] if is_coded(error) else first_line(error)


def tell(error: Exception) -> None:
    """Tell of an error in a line on standard error; what all ranks meet is told by the first.

    error (Exception): The error.
    RAISES (RuntimeError | ImportError): The error itself when it is one of somebody else's: its traceback helps to
        mend it.
    """
    if isinstance(error, (RuntimeError, ImportError)) and not is_coded(error):
        raise error
    if is_first_rank() or not is_coded(error):
        print(f"error: {spoken(error)}", file=sys.stderr)


class _Coded(type):
    """Prefix each message of a catalogue with its code."""

    def __getattribute__(cls, name: str) -> Any:
        value = super().__getattribute__(name)
        return f"[{name}] {value}" if isinstance(value, str) and not name.startswith("_") else value


class Errors(metaclass=_Coded):
    S001 = (
        "No bundled pipeline named {name!r}. Bundled here: {names}. "
        "Pass a folder or an installed package to spacy.load."
    )
    S101 = "Unknown level {level!r} in the tokenizer's setting 'norm'. Use one of: {levels}."
    S102 = "Unknown script {script!r} in the tokenizer's setting 'languages'. Use one of: {scripts}."
    S103 = (
        "spaCy has no language {lang!r}, named for the script {script!r} in the tokenizer's setting 'languages'. "
        "Use a code that spaCy knows, or 'xx' for the rules that all languages share."
    )
    S104 = (
        "No word segmenter {name!r} for the tokenizer's setting 'han'. Use 'char', 'jieba', or the name of a "
        "function registered with @spacy.registry.misc."
    )
    S105 = "The word segmenter jieba is not installed. Run `pip install jieba`, or set the tokenizer's 'han' to 'char'."
    S106 = (
        "The word segmenter {name!r} changed the text {text!r}: its words join to {joined!r}. They must cover the "
        "text exactly, in order."
    )
    S107 = (
        "The special case {string!r} can never match: its text is cut into {parts} before special cases are "
        "looked up. Add cases for those parts."
    )
    S201 = (
        "No corpus at {path}. Give a file, a folder that holds files ending in {suffixes}, or a glob that finds some."
    )
    S202 = "Unknown kind of corpus: {path}. Rename it to end in one of {suffixes}, or name the format."
    S203 = "{path}, line {line}: not JSON ({reason}). Each line must hold one JSON object."
    S204 = "{path}, line {line}: no text. A record is a JSON object with a string under 'text'."
    S205 = (
        "{path}, line {line}: bad spans. 'spans' must be a list of objects with 'start' and 'end' (whole "
        "numbers, in characters) and 'label' (a string); a 'kb_id' is a string or null."
    )
    S206 = "{path}, line {line}: the text has half of a surrogate pair, which no UTF-8 file can hold. Mend its escapes."
    S207 = "{path}, line {line}: not UTF-8 ({reason}). Convert the file to UTF-8."
    S208 = "{path}, line {line}: the compressed file is cut short or damaged ({reason}). Get it again."
    S209 = (
        "{path}, line {line}: expected a token and a tag such as O or B-PER, found {found!r}. Separate the "
        "columns by tabs or blanks and the sentences by an empty line."
    )
    S210 = "{path} is not a DocBin ({reason}). Write it with DocBin.to_disk or `spacy convert`."
    S211 = "Unknown tag scheme {scheme!r}. Known: {schemes}."
    S212 = "SpanCorpus has no path. Give one in the config, or on the command line: --paths.train corpus.jsonl."
    S213 = "A span is {problem}: {example}. Mend the corpus, or set misaligned to warn or expand."
    S214 = "misaligned must be one of {values}, not {value!r}."
    S215 = "Gold has {gold} documents and predictions have {predicted}. Score the same documents in the same order."
    S216 = "F1 on unseen entities needs the texts: give one a document ({documents}), not {texts}."
    S217 = "{path} exists. Give another output, or --force to replace it."
    S220 = "No corpus named {name!r}. Known: {names}."
    S221 = "{name} has no split {split!r}. It has: {splits}."
    S222 = "{path} is not the file that the recipes were made with (sha256 {found}, expected {expected}). Get it again."
    S223 = (
        "{name} cannot be downloaded ({reason}). Its source is {source} (licence: {licence}); put the "
        "converted file at {path} under the folder in SAMARKAND_DATA."
    )
    S224 = "Download of {name} failed: {url} ({reason}). Check the connection, or set SAMARKAND_DATA to a local copy."
    S225 = "{url} has changed (sha256 {found}, expected {expected}). Nothing was kept; report it to the maintainers."
    S226 = "{path}, line {line}: not a line of the format {format} ({reason}). Get the file again."
    S227 = (
        "{source} cannot be trained and tested on: a recipe needs train, and dev or test, but it has {splits}. "
        "Add what is missing, or choose another corpus."
    )
    S229 = (
        "{name} ({licence}) does not allow a pipeline learnt from it to be passed on. "
        "Take it out of the bundle's sources."
    )
    S230 = "{source} has {documents} document(s) to take both train and dev from. Add documents, or a dev split."
    S228 = "There are several files for {split}: {paths}. Keep one."
    S301 = "The subword encoder has no context {context!r}; choose one of: {known}."
    S320 = (
        "Cannot load the {part} of {name!r}: {reason}. Give a folder or a hub name that holds a "
        "tokenizer.json and safetensors weights (save others with save_pretrained), and check the "
        "connection for hub names."
    )
    S302 = (
        "No pretrained encoder {name!r}: it is neither bundled ({bundled}) nor a folder with encoder.json and "
        "encoder.safetensors. Mend the encoder's setting 'pretrained', or set it to null."
    )
    S303 = "The pretrained encoder {name!r} has the width {found}, not {width}. Set it in the config."
    S304 = (
        "The subword encoder cannot have the width {width} with the context {context!r}: {width} is no multiple of "
        "{divisor}. Set a multiple of 64, such as 192, which suits every context."
    )
    S321 = (
        "The saved weights do not fit {network}: missing {missing}; unexpected {unexpected}; "
        "other shape {shapes}. Load them with the config they were saved with, or train again."
    )
    S322 = "This network has no weights yet. Call nlp.initialize() to make them, or load a trained pipeline."
    S323 = (
        "The network cannot be rebuilt from {found} (at hand: {expected}): its shim has no build function. "
        "Pass build=... to TorchShim or torch_model."
    )
    S324 = (
        "The tokenizer of {name!r} ({found}) does not say which characters its pieces cover. "
        "Use a checkpoint that has a tokenizer.json."
    )
    S325 = (
        "{name!r} lacks weights of its encoder, which would stay random: {missing}. "
        "Check that the checkpoint and its config.json belong together."
    )
    S326 = "A {found} model has a decoder. Use an encoder, such as BERT, RoBERTa, XLM-R or ModernBERT."
    S327 = (
        "No encoder can be made from transformer_config {found}: {reason}. "
        "Give model_type and settings that transformers knows for it."
    )
    S328 = "The transformer encoder cannot use {setting} = {value!r}: {rule}."
    S329 = (
        "The encoder needs name (a hub name or folder), or transformer_config and tokenizer_path for random "
        "weights; missing: {missing}."
    )
    S330 = (
        "The tokenizer has {pieces} pieces, but the encoder has vectors for {rows}. "
        "Take both from one checkpoint, or leave vocab_size out of transformer_config."
    )
    S331 = "The encoder's vectors have {found} dimensions, not width = {width}. Set width to {found}, or leave it out."
    S332 = "The config of {name!r} has no setting {unknown}. Remove it from transformer_config, or mend its name."
    S333 = "recompute takes a budget, and a planner if you like, not {found!r}: write such as {{'budget': '2GiB'}}."
    S334 = "{found} has no layers that repeat, so none to recompute: leave recompute out of its config."
    S335 = (
        "The tokenizer puts {pieces} around a text, but has no piece for any text. Use a checkpoint whose tokenizer "
        "has the vocabulary of its encoder."
    )
    S336 = (
        "The encoder's config asks for code of {value!r} ({name}), and nothing that is loaded may run code. Take the "
        "setting out of it, or set {name} to 'sdpa' or 'eager' in transformer_config."
    )
    S501 = "No such input: {path}. Name a file, a folder, a glob that finds something, or - for standard input."
    S502 = "Unknown kind of file: {path}. Rename it to one of the known endings: {endings}."
    S503 = "Nothing to annotate in {inputs}: no file there has a known ending ({endings})."
    S504 = "Output exists already: {paths}. Pass --force to replace it, or another --output."
    S505 = "The output of {source} would replace the input {path}. Choose another --output."
    S506 = "No column {column!r} in {path}. Its columns: {columns}. Name the one of the text with --text-field."
    S507 = "Bad value for {name}: {value}. It must be {expected}."
    S508 = (
        "Cannot load the pipeline {model!r}: {reason}. Check its name or folder; "
        "if it needs functions of yours, name their file with --code."
    )
    S509 = (
        "Worker processes died {tries} times (the last: {cause}) while they were {work} {place}. What is finished is "
        "kept: mend the cause, such as too little memory, and go on with --resume."
    )
    S510 = (
        "Worker processes died (the last: {cause}) before they were ready. A script that annotates needs a __main__ "
        "guard; without workers, n_process=0 shows the cause."
    )
    S511 = (
        "Cannot write {path}: {reason}. Nothing incomplete was left under this name. "
        "Make room, or choose another folder."
    )
    S512 = "Cannot read {path}: {reason}. Check that it exists and that you may read it."
    S513 = "No GPU {gpu_id}: {reason}. Leave out --gpu-id to use the CPU, or install samarkand[gpu]."
    S514 = "The pipeline cannot be sent to worker processes: {reason}. Pass its name or folder, or n_process=0."
    S515 = "The demo cannot annotate its sample in line {position}: {reason} Try another --model."
    S516 = "{path} is a file, and the output is a folder. Name another one with --output."
    S518 = "Ray failed: {reason}. What is finished is kept: look at `ray status`, and go on with --resume."
    S519 = (
        "Nothing has moved on the cluster for {minutes:g} minutes. What is finished is kept: look at `ray status` for "
        "lost nodes and for who else works there, and go on with --resume."
    )
    S520 = "The record is not UTF-8: {reason}. Convert the file to UTF-8."
    S521 = "Not a JSON object: {reason}. Each line must hold one object."
    S522 = "The field {field!r} is missing. Name the one with the text with --text-field."
    S523 = "The field {field!r} holds {found}, not a string."
    S524 = "Not a row of this table: {reason}. Mend its quotes or its separators."
    S525 = "Damaged or cut short, and unreadable from here on: {reason}. Get the file again."
    S526 = "The text has half of a surrogate pair, which no UTF-8 file can hold. Mend its escapes."
    S527 = (
        "The text has {length} characters, more than the {max_length} of nlp.max_length. Split it, or raise that limit."
    )
    S528 = "The component {name!r} failed: {reason}."
    S529 = "The component {name!r} gave no document back."
    S530 = "The annotated document cannot be written in this format: {reason}."
    S531 = "The process that annotates it dies ({death}). Find the component that fails, or leave the record out."
    S532 = "Annotating it takes more than {seconds:g} s. Split it, or raise --timeout."
    S533 = "Annotating it takes more memory than there is. Split it, or raise --memory-limit."
    S534 = (
        "The pipeline takes {used} of memory once it is loaded, and a worker may take {limit}. Raise --memory-limit, "
        "or start fewer workers."
    )
    S535 = "The document is damaged: {reason}. Get the file again, or write it with its strings."
    S540 = "A run in {output} is not finished. Go on with it (--resume), or begin anew (--force)."
    S541 = (
        "The run cannot be gone on with, its output would be of two kinds: {reasons}. Undo that, or begin anew "
        "(--force)."
    )
    S542 = "Another run is at work in {output}. Wait for it, or choose another --output."
    S543 = "The input {path} has changed since the run was planned. Restore it and --resume, or begin anew (--force)."
    S544 = "The finished part {path} is damaged, and was given up. Go on with --resume to make it again."
    S545 = "The plan {path} is damaged, or of another version of samarkand. Begin anew (--force)."
    S546 = "annotate --ray needs Ray, which is not installed. Run `pip install 'samarkand[scale]'`."
    S547 = (
        "No Ray cluster at {address}: {reason}. Start one (`ray start --head`), or leave the address out to start Ray "
        "on this machine."
    )
    S548 = (
        "The cluster has no room for {asked} workers, but for {most}. Each takes {each}, and {nodes} nodes have {has}; "
        "all have to fit when the largest node is lost, with {spare} CPU to spare. Lower --n-process, or add nodes."
    )
    S549 = (
        "The node {node} would annotate otherwise: {reasons}. Install the same versions on every node, and let all of "
        "them see the same pipeline."
    )
    S550 = (
        "A release in {output} would replace or change {trained}, which it is made from. Choose an output folder "
        "apart from that."
    )
    S551 = (
        "The output {url} cannot be opened: {reason}. Check its protocol and your credentials, and install the package "
        "that fsspec names for it."
    )
    S552 = (
        "Cannot write {url}: {reason}. What is finished is kept: see to the connection, your rights and the room, "
        "and go on with --resume."
    )
    S553 = (
        "Cannot read {url}: {reason}. What is finished is kept: see to the connection and your rights there, and go on "
        "with --resume."
    )
    S554 = (
        "Another run has begun in {output}, and this one gives way to it. Nothing is lost: let one of them end, and go "
        "on with --resume."
    )
    S401 = "ricon_ner has no mode {mode!r}; choose one of: {known}."
    S402 = "RICON has no branches {branches!r}; choose one of: {known}."
    S403 = "ricon_ner cannot look at spans of at most {max_width} tokens; set max_width to 1 or more, or to null."
    S404 = (
        "{name} is initialised for the labels {labels} and cannot take {label!r} any more. "
        "Add labels before nlp.initialize(), or train a new component."
    )
    S405 = (
        "{name} found no entity type to learn: the training examples have no spans in {where}. "
        "Check the corpus and the component's mode, or pass labels."
    )
    S406 = (
        "ricon_ner learns from a share of the negatives between 0 and 1, not {negatives}; set negatives to 1 for all."
    )
    S407 = (
        "ricon_ner weighs whole segmentations (loss_weights.segments = {weight}) in flat text only, and its mode is "
        "{mode!r}: set the weight to 0."
    )
    S601 = "Transfer training cannot take {name} = {value}: it has to be 0 or more."
    S602 = (
        "The encoder does not show its {part}, which transfer training looks at. Those of samarkand.SubwordEncoder.v1 "
        "and samarkand.TransformerEncoder.v1 show their input embeddings, and attention where they have it (the "
        "context 'attention'). Take one, or set the weights push and pull to 0."
    )
    S603 = "The encoder has no block {block} whose attention could be pulled: its {depth} blocks count from 0."
    S604 = "An encoder that recomputes cannot be looked into: leave out recompute, or set push and pull to 0."
    S605 = "A frozen encoder cannot learn to push or pull: set freeze to false, or push and pull to 0."
    S606 = (
        "A listener cannot read the perturbed copies of transfer training, which the shared encoder never sees. Give "
        "the component an encoder of its own, or set the weights robust, push and pull to 0."
    )
    S607 = "Transfer training has no setting {name!r}. It has: {known}."
    S610 = "The setting {name} of {what} is {value!r}. It has to be {expected}."
    S611 = "No lists of neighbours in {path}: {reason}. Give a UTF-8 file with a word, a tab and its neighbours a line."
    S612 = "There are no static vectors to find neighbours by. Set initialize.vectors to a pipeline that has some."
    S621 = "{name} needs {least} labels or more, and found: {labels}. Check the corpus, or pass labels."
    S622 = (
        "The labels of {text!r} cannot be learnt: {cats}. Values lie between 0 and 1; exclusive ones sum to 1. Mend "
        "the record, or set exclusive to false."
    )
    S623 = "The positive label {label!r} needs two labels with itself among them, and there are: {labels}."
    S630 = "CatsCorpus has no path. Give one in the config, or on the command line: --paths.train corpus.jsonl."
    S631 = "{where}: {reason}. Mend the record, or the reader's settings."
    S632 = "No record with a text in {paths} (languages: {langs}). Give other files, or other languages."
    S640 = "Unknown script {script!r} in the tables of transliteration. Use ISO 15924 codes, such as Arab or Cyrl."
    S641 = "No table of transliteration {name!r}. Known: {known}; or icu: and an ICU transform, as in icu:Greek-Latin."
    S642 = "The table {name!r} is for the script {found}, not for {script}. Set it for its own script."
    S643 = "The table {name!r} loses something, so that there is no way back. Keep the original, and the offsets."
    S644 = "The table {name!r} needs ICU. Install samarkand[transliteration], or take a table that comes along."
    S645 = "The table {name!r} is broken: {reason}. Mend its file."
    S646 = "ICU has no transform {name!r} ({reason}). Take one of its ids, such as Cyrillic-Latin."
    S647 = (
        "The encoder was trained on text that was transliterated otherwise (fingerprint {found}, here {expected}). Set "
        "the tables that it was trained with, and install the same ICU where they are of ICU."
    )
    S648 = "The document {text!r} has no transliteration. Run a pipeline with a transliterator on it."
    S650 = "language_identifier needs py3langid. Install samarkand[languages]."
    S651 = "language_identifier does not know the language {lang!r}. It knows: {known}."
    S652 = "No pipeline reads texts in languages without one of their own (there are: {known}). Give one under 'xx'."
    S701 = "Adapprox cannot take {name} = {value}: it has to be {range}."
    S710 = (
        "The plan {planner!r} needs {needed} and the budget is {budget}. Any plan needs at least {least}: {static} of "
        "weights and states, {inputs} of layer inputs, {transient} for the backward pass of a layer. Raise the "
        "budget{other}, or give the stage fewer layers, smaller micro-batches or more tensor parallelism."
    )
    S711 = "{choices} choices do not fit a layer of {operators} operators: give one for each."
    S712 = "The operator {name} cannot be rebuilt before its input {missing}: keep that input, or rebuild it no later."
    S713 = "The operator {name} cannot be rebuilt in window {window}: {reason}. Keep it, or rebuild it on demand."
    S714 = "{plans} policies do not fit a stage of {layers} layers: make the plan from the same stage."
    S715 = "The backward pass of layer {layer} misses what {names} left behind: the plan has to keep or rebuild it."
    S716 = "There is no GPT of size {size!r}; choose one of: {known}."
    S717 = "{layers} layers cannot be stage {stage} of {stages}: a stage needs a layer, and stages count from 0."
    S718 = (
        "The loss of step {step} is {loss} and the size of its gradient {size}; no weight was changed. Lower the "
        "learning rate or clip gradients, and go on, or load a checkpoint."
    )
    S751 = "{size!r} is no size of memory: write bytes as a number, or such as 512MB, 8GiB or 1.5 GiB."
    S752 = "There is no planner {planner!r} of recomputation. Choose one of: {known}."
    S753 = "{model} has no layers that repeat, so none to recompute: name some in `layers`."
    S754 = (
        "No plan fits {budget}: to recompute every layer takes {least} with weights and gradients. Raise the budget, "
        "or make the batches smaller."
    )
    S755 = "The plan {planner!r} takes {needed}, and the budget is {budget}: choose 'mix', or raise the budget."
    S720 = (
        "{world} processes do not split into data {dp} x tensor {tp} x pipeline {pp}: {reason}. "
        "Change the number of processes, or degrees (a tuple, None for what may be chosen)."
    )
    S721 = (
        "No plan for {world} processes fits the budget of {budget} bytes a process; the least, data {dp} x tensor {tp} "
        "x pipeline {pp}, needs {least} on stage {stage} ({static} for weights, gradients and optimizer). Raise the "
        "budget, the number of processes or micro_batches."
    )
    S722 = (
        "A batch of {rows} rows does not split into data {dp} x micro_batches {micro_batches} equal parts. "
        "Make its rows a multiple of {multiple}, or change micro_batches."
    )
    S723 = (
        "Cannot trace {model}: {reason}. Outside its repeated blocks, forward() may not depend on the values of "
        "tensors, and all its tensors have to be inputs, parameters or buffers."
    )
    S724 = "The pipeline schedule cannot run: {reason}. Mend its list of actions."
    S725 = (
        "The checkpoint {path} is incomplete: {missing} missing or damaged. Nothing was loaded. Restore it, or load "
        "an earlier one."
    )
    S726 = (
        "The checkpoint {path} does not fit the model: {difference}. Nothing was loaded. Build the model and the "
        "optimizer as they were when it was saved."
    )
    S727 = "No pipeline schedule {name!r} here: {rule}."
    S728 = (
        "Tensor parallelism of degree {tp} knows no rule for the blocks of {model}: their linear layers are {names}. "
        "Set the tensor degree to 1, or pass rules."
    )
    S729 = (
        "{model} can be cut into at most {most} stages, not {pp}. Lower the pipeline degree. Cuts go before "
        "repeated blocks, where all values that cross are floating-point tensors with gradients."
    )
    S730 = "No settings in {path}: {reason}. Give a TOML file."
    S731 = "There is no setting {key!r}. Known here: {known}."
    S732 = "The setting {key} = {value} does not fit: it has to be {expected}."
    S733 = "No text for the source {path}: {reason}. Mend text.sources."
    S734 = "Cannot read text from {path}: {reason}. Mend or rename the file, or name the column of its text."
    S735 = "No prepared text in {path}: {reason}. Run `samarkand prepare-text` with the same config."
    S736 = "The prepared text cannot be sampled: {reason}. Mend reading.weights, or prepare the text again."
    S737 = "The training in {path} has an encoder and no checkpoint to go on from. Set another output to train anew."
    S738 = "The checkpoint {path} cannot be read: {reason}. Remove it to go on from the one before."
    S739 = (
        "A batch of {batch} sequences does not divide among {world} ranks that take {micro} at once. "
        "Set training.batch_size to a multiple of the ranks, and training.micro_batch to a divisor of their shares."
    )
    S740 = (
        "The loss is {loss} and its gradient {norm} by step {step}; nothing was saved of it. Last checkpoint: {last}. "
        "{mend}."
    )
    S741 = "{path} holds a training already. Pass --resume to go on with it, or set another output."
    S742 = "The checkpoint {path} was made with other settings: {keys}. Resume with the same ones, or start anew."
    S743 = "No document is left of the text: {reasons}. Mend cleaning, or the languages of text.sources."
    S744 = "{path} is no base to go on from: {reason}. Name a folder that `samarkand train-encoder` wrote."
    S745 = "The vocabulary of the text is not that of the base {path}. Run `samarkand prepare-text` with the same base."
    S746 = "cleaning.language needs py3langid. Install samarkand[languages], or leave the rule off."
    S747 = "There are no texts to exclude in {path}. Mend cleaning.exclude; samarkand.corpora.train_texts writes some."
    S748 = (
        "There are no texts to train on in {folder}. Set SAMARKAND_DATA to the folder with train splits in ner/, cls/, "
        "parallel/ or qa/, or take those for research alone with --research."
    )

    S800 = "{name} cannot be loaded as a sentence encoder: {why}. Pass a folder, or a name on the hub when online."
    S801 = "Pooling {pooling} is unknown. Known: {known}."
    S802 = "{name} is to encode sentences, but none are set. Add a sentencizer or parser before it, or drop the unit."
    S803 = "The document {text!r} has no sentence vectors. Run a pipeline with a sentence_encoder on it."
    S804 = "The span {text!r} has no vector. Add its group to the units of sentence_encoder: sents, ents or a span key."
    S805 = "The pooling weighted knows no words yet. Initialize the pipeline with documents first."
    S806 = "The sentence encoder holds a file outside its folder: {path}. The pipeline is damaged; get it anew."
    S807 = "Vectors of {first} and {second} dimensions cannot be compared. Encode both with the same pipeline."
    S808 = "The pipe whitens its vectors already. Fit on one that does not."
    S809 = "max_length {length} leaves no room: {name} frames a text by {special} pieces. Set it to {least} or more."
    S820 = "No search index in {path}: {reason}. Make one with `samarkand index`, or name its folder."
    S821 = "{path} holds a search index already. Add to it (--add), remove it, or name another folder."
    S822 = (
        "The search index {path} is of format {found}, and this samarkand knows {known}. Upgrade samarkand, or index "
        "the corpus again."
    )
    S823 = "The search index {path} is damaged: {reason}. Restore it from a copy, or index the corpus again."
    S824 = "Vectors for a search index have the shape (n, {width}) and finite numbers, not {found}."
    S825 = "The records cannot be added: {reason}. Nothing was changed."
    S826 = "The search index {path} cannot be written to: {reason}. Nothing was changed. Make room, or mend its rights."
    S827 = "{n} ids {there} in the search index {path}: {ids}. Nothing was changed: add new ids, update known ones."
    S828 = "Another process is writing to the search index {path}, and {seconds:g} s were too short. Try again later."
    S829 = (
        "No search index of vectors of {width} numbers is called {factory!r}: {reason}. Use auto, Flat, HNSW32, or "
        "such as IVF4096,Flat and OPQ64_256,IVF4096,PQ64np."
    )
    S830 = "FAISS cannot search on a GPU here: {reason}. Install samarkand[gpu], or leave out gpu=True."
    S831 = (
        "The search index {path} was made with {encoder} (fingerprint {known}), and these vectors come from an encoder "
        "with the fingerprint {found}. Use the one that it was made with, or index the corpus again."
    )
    S832 = "The filter {found!r} cannot be used: {reason}. Write such as {{'lang': 'ar', 'year': {{'>=': 2020}}}}."
    S833 = "{name} has no index. Set index in its config, or call load_index with the folder of one."
    S834 = "{name} finds no vector of {text!r}. Put a pipe before it that sets one, such as sentence_encoder."
    S835 = "Bad value for {name}: {value!r}. It has to be {expected}."
    S836 = "The pipeline {name} has no sentence_encoder (its pipes: {pipes}). Add one, or pass a sentence encoder."
    S837 = "The text cannot be encoded: {reason}."
    S838 = "The record cannot be indexed: {reason}"
    S839 = "The search index {path} does not say which encoder it was made with. Name it with --model."
    S810 = "The vectors have the shape {found} where (n, {width}) is needed. Pass vectors of one encoder, one a row."
    S811 = "Vector {row} of the block, counted from 0, is not finite. Leave it out, or mend the encoder."
    S812 = "{dim} dimensions were asked for, but the vectors vary in {rank}. Lower dim, or set shrinkage or a floor."
    S813 = "There is no text to fit on in {inputs}: {reasons}. Name other files, or their field with --text-field."
    S814 = "Whitening needs two different vectors or more; there are {count} vectors in all. Fit it on more text."
    S815 = "{path} is no whitening map, or damaged: {why}. Write it anew with samarkand whiten."
    S816 = "The whitening map was fitted on vectors of the encoder {found}, not of {wanted}. Fit it for this encoder."
    S817 = "{path} holds files that samarkand whiten did not write, and is not replaced. Choose another --output."
    S818 = (
        "The pooling first-last needs the first layer of an encoder, and {found} hands out none. Take "
        "samarkand.TransformerEncoder.v1 or samarkand.SubwordEncoder.v1, or another pooling."
    )
    S819 = (
        "The pooling first-last finds no first layer beside the vectors of {text!r}. Put sentence_encoder after the "
        "encoder it listens to, and run both on the text; in training take another pooling."
    )
    S840 = (
        "No corpora in {folder}. Set SAMARKAND_DATA or pass --data with the folder that holds sts/ and parallel/, "
        "or take the built-in sentences with --set samples."
    )
    S841 = "The file {path} is missing. Put it there, or leave its set out."
    S842 = "{path}, line {line}: {reason}. Mend the line, or get the file again."
    S843 = "There is no set {name!r}. Known: {known}."
    S844 = (
        "{path}: {first} has {found} sentences and {second} has {expected}, and they have to be translations of one "
        "another. Get the file again."
    )
    S845 = "Splits of MPTS in {folder} share {count} items, such as {example}. Get the files again."
    S846 = (
        "The search index {path} has changes in {wal}, which cannot be read here without the right to write to its "
        "folder. Open it once where it can be written to, or ask for that right."
    )
    S847 = (
        "The tokens of the document of {text!r} are not those that sentence_encoder has read. Put the pipe that "
        "changes tokens before it."
    )
    S848 = "The vector of {text!r} is infinite or no number. Mend the encoder."
    S849 = "The settings of {name} cannot be read: {reason}. The pipeline is damaged; get it anew."
    S860 = "A table of shape {found} cannot be factorized into one of {own}. Take a student of the assistant's sizes."
    S861 = "A student of {asked} is more than its assistant has: width {width}, {layers} layers. Ask for less."
    S862 = "{path} holds no prepared pairs: {reason}. Run samarkand prepare-pairs again."
    S863 = "A batch of {batch} cannot be shared by {world} processes. Set batch_size to a multiple of them."
    S864 = (
        "{path} cannot be an assistant: {reason}. Name a BERT or ModernBERT, such as samarkand train-encoder writes, "
        "or none for random weights."
    )
    S865 = "{path} gives no texts to learn from: {reason}. Name a UTF-8 file with a text a line."
    S866 = "Widths {dims} do not fit vectors of {width} dimensions. Set dims to numbers from 1 to {width}."
    S867 = "No pair is left: {reasons}. Mend the settings, or name other sources."
    S868 = (
        "The vocabularies of the assistant and of the pairs share no piece of the English sentences. Name an encoder "
        "that reads English."
    )
    S869 = (
        "An assistant with a vocabulary of its own needs to know what the pieces of the pairs mean. Set the steps of "
        "stages.pieces above 0."
    )
    S870 = "A student with a skip is no plain BERT. Load it with samarkand, or distil one with student.skip = false."
    S871 = "The student {name} has vectors of {width} dimensions, its teacher of {wanted}. Name one of this teacher's."
    S872 = (
        "A batch takes {batch} texts that all differ, and there are {found}. Lower steps.batch_size, or give more text."
    )
    S873 = (
        "The training ended after {done} of {steps} steps: no batch of {batch} texts that all differ was left. Lower "
        "steps.batch_size, or give more text."
    )
    S874 = (
        "The tokenizer of {encoder} has no mask, and the views of mirror hide a span by it. Name an encoder with one."
    )
    S875 = "The teacher's vectors in {path} are damaged: {reason}. Remove the file: they are computed again."
    S900 = "No knowledge base at {path}: {reason}. Make one with build_knowledge_base."
    S901 = "The knowledge base {path} is of format {found}, and this samarkand knows {known}. Update it, or build anew."
    S902 = "The knowledge base {path} is damaged: {reason}. Build it again."
    S903 = "The entity {id} cannot be kept: {reason}. Mend it, or leave it out."
    S904 = "The entity {id!r} comes twice. Nothing was kept: leave one out, or make one of both."
    S905 = "{path} {what}. Give another path, or force to replace a file."
    S906 = "The knowledge base {path} cannot be written: {reason}. Free space on its disk, or make its folder writable."
    S907 = "The knowledge base {path} is being written: nothing else could use it for {seconds} seconds. Try again."
    S908 = "k must be 1 or more, not {k}."
    S909 = "The meta of a knowledge base must be an object that JSON can say: {reason}."
    S910 = "{path}, line {line}: {reason} Nothing was written."
    S911 = "Not a JSON object: {reason}. Each line must hold one entity."
    S912 = "The field {field!r} {problem}."
    S913 = "The id {id!r} is there already, from {path}, line {line}. Each entity must have its own."
    S914 = "Not a row of this table: {reason}. Mend its quotes or its separators."
    S915 = "Not UTF-8: {reason}. Convert the file to UTF-8."
    S916 = "Unknown kind of file: {path}. Name its format with --format, as one of: {formats}."
    S917 = (
        "The table {path} {problem}. Its columns are id, name, aliases (parted by |), description, type, weight, and "
        "such as name_ar, aliases_ar, description_ar."
    )
    S918 = "There is no entity in {inputs}, and nothing was written. Lines that were rejected: {rejected}."
    S919 = "The recipe {name!r} has no data: {path} is missing. Set SAMARKAND_DATA to the folder of corpora."
    S920 = "There is no recipe {name!r}. Known: {known}."
    S921 = "The spaCy knowledge base has strings that its vocab does not. Load it with the vocab it was saved with."
    S922 = "Not an entity of Wikidata: {reason}."
    S923 = "{what} takes {expected} with --lang, not {langs}."
    S930 = "The entity linker has no {name} {value!r}; choose one of: {known}."
    S931 = "{heads} heads of attention cannot share readings of {width} numbers. Set heads to a divisor of that."
    S932 = "{name} has no knowledge base. Set knowledge_base in its config to a file of `samarkand kb build`."
    S933 = (
        "The document {text!r} has no spans {key!r}; it has: {known}. Put a pipe before {name} that sets them, or "
        "leave out spans_key to link doc.ents."
    )
    S934 = (
        "The entity linker has not learnt yet. Train it with `spacy train`, load a trained one, or take the model "
        "samarkand.PriorLinker.v1, which needs no training."
    )
    S935 = (
        "A listener cannot read the options of an entity linker: they are no texts of the pipeline. Give it an encoder "
        "of its own, such as samarkand.SubwordEncoder.v1."
    )
    S936 = "The setting {name} of the entity linker is {value!r}. It has to be {expected}."
    S937 = "There is nothing for {name} to learn from: no mention in the examples has an id (kb_id), or NIL."
    S950 = "Nothing to link with. Give a pipeline that has an m3_linker (--model), a knowledge base (--kb), or both."
    S951 = "The pipeline has no m3_linker (its pipes: {pipes}). Add one, or give a knowledge base alone."
    S952 = (
        "The mentions cannot be used: {reason}. They are a list of objects with 'start' and 'end', in characters, and "
        "'label' if it is known."
    )
    S953 = "Mentions are read from JSON lines, and {path} holds something else. Give .jsonl files."
    S954 = (
        "There is no linked text to judge by. Set SAMARKAND_DATA or pass --data with the folder that holds el/, or "
        "--silver, or name a .jsonl file of your own with --set."
    )
    S955 = "The field {field!r} is missing. Name the one with the mentions with --mentions-field."
    S1140 = "{waiting:,} texts wait, and {asked:,} more do not fit a queue of {capacity:,}. Try again in a moment."
    S1141 = "The server is shutting down, and takes no more. Try again when it is back."
    S1142 = "The batch of this request failed: {reason}. Try again; if that fails too, look into the log of the server."
    S1143 = "The request has more than {limit:,} bytes. Send fewer texts at once, or raise --max-bytes."
    S1144 = "The request is not JSON in UTF-8: {reason}. Send one JSON object."
    S1145 = "The request cannot be used: {reason}. See /openapi.json for what is asked for."
    S1146 = "There was no answer within {seconds:g} s. Send fewer or shorter texts, or raise --timeout."
    S1147 = "{method} {path} is not served here. See /openapi.json for what is."
    S1148 = "samarkand serve needs packages that are not installed: {names}. Run `pip install 'samarkand[serve]'`."
    S1149 = "Cannot listen on {host}, port {port}: {reason}. Choose another with --host and --port."
    S1150 = "An encoder of queries is given, and no index to search. Name one with --index, or leave out --encoder."
    S1170 = "{path} holds no annotated corpus: {reason}. Name the output folder of samarkand annotate."
    S1171 = "The run in {path} is not complete, its status is {status}. Go on with it (samarkand annotate --resume)."
    S1172 = "The output in {path} is {found}, and a report reads {known}. Annotate with another --format."
    S1173 = "{path}, record {position} is not as samarkand annotate writes it: {reason}. Annotate again (--force)."
    S1180 = "There is nothing to read in the text: it is blank. Give a word or more."
    S1181 = "The text has {pieces} pieces, and {limit} can be shown of {model!r}. Give a passage of it."
    S1182 = "{model!r} gives no attention: {reason}. Name an encoder with attention, such as BERT or XLM-R."
    S1183 = "There is nothing to read in {inputs}: no record has a word. Name a corpus with text."
    S1184 = "{path} holds no attention as AttViz has it: {reason}. Mend the file, or write it anew."
    S1100 = "{path}, line {line}: {reason}. Each line of rules has {expected}."
    S1101 = "The labelling function {name!r} gives {found!r}, which is none of the labels: {labels}. Mend one of them."
    S1102 = "The labelling function {name!r} failed on {text!r}: {reason}. Mend the function."
    S1103 = "The pipeline {model!r} cannot vote: {reason}. Name a pipeline with a text classifier that loads."
    S1104 = "The labelling functions cannot be used: {reason}. Give functions by name; each takes a Doc."
    S1105 = "The setting {name} of {what} is {value!r}. It has to be {expected}."
    S1106 = (
        "The expression {expression!r} takes more than {seconds:g} seconds on {text!r}. Rewrite it so that there is "
        "one way to match, or leave it out."
    )
    S1110 = "The config {path} cannot be used: {reason}. See docs/weak-supervision.md for what it has to have."
    S1111 = "No labelling function voted on any of {count} texts. Look at the rules, and at the texts."
    S1120 = "The votes cannot be used: {reason}. They are whole numbers, -1 for none, a row a document."
    S1121 = "The label model knows no votes yet. Call fit first."
    S1122 = "The setting {name} of the label model is {value!r}. It has to be {expected}."
    S1130 = "Precision at a given recall cannot be measured: {reason}."


class Warnings(metaclass=_Coded):
    SW201 = (
        "{count} of {spans} spans in {path} are off the tokens' edges and were left out: {labels}. First: "
        "{example}. Mend the offsets, choose another tokenizer, or set misaligned to expand."
    )
    SW202 = (
        "{count} of {spans} spans in {path} were off the tokens' edges and were widened to whole tokens: "
        "{labels}. First: {example}."
    )
    SW203 = (
        "{count} of {spans} spans in {path} overlap or repeat another and were left out, the longest kept: "
        "{labels}. First: {example}. For nested spans set spans_key."
    )
    SW204 = (
        "{count} of {spans} spans in {path} are empty or outside their text and were left out: {labels}. "
        "First: {example}. Offsets count characters from 0, the end exclusive."
    )
    SW205 = (
        "{count} sentences of {path} have tokens that are not in their `# text` line; the tokens were joined instead."
    )
    SW206 = "{count} lines of {path} have a tag but no token and were left out."
    SW207 = "{count} spans were left out of {path}: tags cannot say spans that overlap or split a token. Use JSONL."
    SW208 = "{count} of {spans} spans in {path} had blanks at their edges, which were cut: {labels}. First: {example}."
    SW209 = (
        "{count} of {documents} documents in {path}, with {spans} spans, have over {max_length} tokens and "
        "were left out. Split them, or raise max_length."
    )
    SW210 = (
        "{count} of {spans} spans in the {split} split of {source} have labels that its train split lacks and count "
        "as misses: {labels}. Known: {known}. Rename or drop them with --labels."
    )
    SW320 = (
        "A window of {window} pieces is longer than the encoder can read: {limit}, with its {special} "
        "special pieces set aside. Windows of {limit} with a stride of {stride} are used."
    )
    SW401 = (
        "{wide} of {total} training spans are wider than max_width={max_width} (longest: {longest} tokens): "
        "they can never be found and count as misses. Raise max_width to learn them."
    )
    SW501 = "{n} files in {folder} were left out for their unknown endings, such as {example}. Known: {endings}."
    SW502 = (
        "{n} spans are not in the CoNLL files: a column of tags holds one flat layer (here {layer}). "
        "Name a group with --spans-key, or write JSONL to keep them all."
    )
    SW503 = "{n} finished parts of the run are damaged, and are made again. Check the disk."
    SW640 = (
        "{name} has tables for languages ({languages}), and nothing has said which language a document is in: those of "
        "scripts are used. Put a language_identifier before it."
    )
    SW720 = (
        "{model} repeats blocks such as {block}, but cannot be cut between them: nothing is recomputed, and stages are "
        "uneven. Let only floating-point tensors with gradients pass from block to block, none of them changed in "
        "place, and compute all else from inputs and buffers."
    )
    SW721 = (
        "The pipeline schedule {asked!r} cannot be run: torch {version} has no {missing}. '1f1b' is run instead, with "
        "the same losses and no faster. Install the torch that samarkand asks for."
    )
    SW802 = "Similarity with a vector of zeros is 0. Blank texts have such vectors: see has_vector."
    SW810 = (
        "{dim} dimensions are kept, but the vectors vary in {rank}: the others are noise scaled up. Lower dim, set "
        "shrinkage, or fit on more text."
    )
    SW820 = "{n} of {total} records have vectors of zeros and are never found. Look for blank texts among them."
    SW821 = (
        "The change of the search index {path} has taken place, but not what should follow: {reason} Searches stay "
        "right and get slower; mend the cause, and call optimize()."
    )
    SW930 = (
        "{count} of {total} links lead to entities that the knowledge base {path} does not have, such as {example}. "
        "They are learnt as NIL. Add the entities, or check that the links are of this knowledge base."
    )
    SW931 = (
        "The document {text!r} has no groups of spans, and {name} links those of {key!r}: nothing is linked in it "
        "and its like. Put a pipe before {name} that sets them; while it is trained alone, all is well."
    )
    SW1110 = (
        "{count} records have labels that are not voted on, such as {example!r}: functions are not judged by them, and "
        "use_gold passes them over. Labels: {labels}. Name all of them in the setting labels."
    )
    SW1120 = (
        "{count} pairs of labelling functions give nearly the same votes, such as {first} and {second} from 0. "
        "They count double: leave one out, or set correlated in the label model."
    )
    SW1130 = (
        "The pipeline keeps no thresholds for the recalls, and they were chosen on the texts that are scored: right "
        "for a development set, too good for a test set. Set thresholds in the scorer, or call evaluate_at_recall."
    )
