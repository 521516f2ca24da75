"""The benchmark scripts run, measure what they say, and their tables are those of the rows."""

from __future__ import annotations

import importlib
import json
import math
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
import samarkand
import spacy
from spacy.language import Language
from spacy.tokens import Doc

FOLDER = Path(__file__).parents[2] / "benchmarks"
ROW_KEYS = {"system", "dataset", "split", "metric", "value", "unit", "seed", "train", "machine", "command", "note"}
QUICK = {
    "ner": [["--system", "ricon-scratch", "spacy"]],
    "speed": [[]],
    "memory": [[], ["--plain"], ["--annotate"]],
    "offsets": [[]],
    "annotation": [[]],
    "fuzz_records": [[]],
    "encoder_choice": [[]],
    "optimizers": [[]],
    "parallel": [[]],
    "recompute": [[]],
    "peak_memory": [[]],
    "pretraining": [["--bundled"]],
    "convergence": [["--optimizer", "torch/AdamW", "samarkand/Adapprox"]],
    "sentence_encoders": [[]],
    "distillation_stages": [["--system", "all stages"]],
    "whitening": [[]],
    "retrieval": [[]],
    "knowledge_base": [[]],
    "kb_fuzz": [[]],
    "transfer": [[]],
    "unseen_script": [["--system", "plain", "adapted, transliterated"]],
    "weak_supervision": [[]],
    "linking": [["--system", "prior", "m3-no-history", "m3-told", "bi", "spacy"]],
}


@pytest.fixture(scope="module", autouse=True)
def scripts_are_importable():
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """What the quick modes of all scripts write."""
    folder = tmp_path_factory.mktemp("results")
    for name, calls in QUICK.items():
        for arguments in calls:
            assert not _script(name).main(["--quick", "--results", str(folder), *arguments])
    return folder


def _script(name: str) -> ModuleType:
    return importlib.import_module(name)


def _rows(results: Path, name: str) -> list[dict]:
    return json.loads((results / f"{name}.json").read_text(encoding="utf-8"))


def _values(rows: list[dict]) -> dict[tuple[str, str], float]:
    return {(row["system"], row["metric"]): row["value"] for row in rows}


@pytest.mark.parametrize("name", QUICK)
def test_quick_mode_writes_rows(results, name):
    rows = _rows(results, name)
    assert rows
    for row in rows:
        assert set(row) == ROW_KEYS
        assert math.isfinite(row["value"])
        assert row["command"].startswith(f"python benchmarks/{name}.py")


@pytest.mark.parametrize("nested", [False, True])
def test_every_system_has_a_config_with_its_settings(nested, tmp_path):
    ner = _script("ner")
    splits = {"train": tmp_path / "train.jsonl", "dev": tmp_path / "dev.jsonl"}
    for name, system in ner.SYSTEMS.items():
        if name == "spacy":
            continue
        config = ner.our_config(name, ner.Dataset("xx", nested=nested), splits)
        assert config["paths"]["train"] == str(splits["train"])
        for path, value in system.settings.items():
            node = config
            for key in path.split("."):
                node = node[key]
            assert node == value


def test_speed_is_a_ratio_of_characters_and_parts_are_a_whole(results):
    values = _values(_rows(results, "speed"))
    ratio = values["samarkand", "speed"] / values["spacy/ner", "speed"]
    assert values["samarkand", "speed ratio"] == pytest.approx(ratio, rel=1e-3, abs=1e-3)
    shares = {metric: value for (_, metric), value in values.items() if metric.startswith("share: ")}
    assert set(shares) == {"share: tokenizer", "share: tok2vec", "share: ricon_ner"}
    assert sum(shares.values()) == pytest.approx(100, abs=0.01)


def test_mixed_text_joins_a_document_of_each_corpus(monkeypatch):
    speed = _script("speed")
    monkeypatch.setattr(speed, "corpus_path", lambda name, split: FOLDER.parent / "corpora" / "samples" / "ar.jsonl")
    single = speed.split_texts("ar-anercorp")
    assert speed.split_texts("mixed") == [" ".join([text] * 3) for text in single]


def test_memory_rows_agree_with_one_another(results):
    values = _values(_rows(results, "memory"))
    for system in ("samarkand, memory zones", "samarkand, one nlp.pipe"):
        growth = values[system, "RSS end"] - values[system, "RSS middle"]
        assert values[system, "RSS growth"] == pytest.approx(growth, abs=0.01)
        assert values[system, "RSS loaded"] > 50
    assert values["samarkand, one nlp.pipe", "vocabulary"] > values["samarkand, memory zones", "vocabulary"]


def test_memory_of_a_run_is_that_of_its_processes(results):
    values = _values(_rows(results, "memory"))
    for who in ("worker", "supervisor"):
        first, most = (values[f"samarkand annotate, {who}", f"RSS {name}"] for name in ("after a tenth", "greatest"))
        assert 50 < first <= most
        growth = values[f"samarkand annotate, {who}", "RSS growth after a tenth"]
        assert growth == pytest.approx(100 * (most / first - 1), abs=0.1)
        assert values[f"samarkand annotate, {who}", "RSS end"] <= most


def test_killed_runs_of_annotate_lose_and_double_nothing(results):
    values = _values(_rows(results, "annotation"))
    counts = {name: values["samarkand annotate", name] for name in ("kills", "lost", "doubled", "other bytes")}
    assert counts == {"kills": 4, "lost": 0, "doubled": 0, "other bytes": 0}
    one, two = (values[f"samarkand annotate, {name}", "speed"] for name in ("1 worker", "2 workers"))
    ratio = values["samarkand annotate, 2 workers", "speed over 1 worker"]
    assert ratio == pytest.approx(two / one, rel=1e-2)


def test_crash_safety_is_timed_against_the_same_work(results):
    values = _values(_rows(results, "annotation"))
    ours, unsafe = "samarkand annotate, in the same process", "same batches, written as they come"
    overhead = values[ours, "time for crash safety"]
    assert overhead == pytest.approx(100 * (values[unsafe, "speed"] / values[ours, "speed"] - 1), abs=0.1)
    assert ("spacy nlp.pipe, n_process 2", "speed") in values


def test_unsafe_annotation_writes_what_annotate_writes(tmp_path):
    speed = _script("annotation_speed")
    corpus = _script("memory").write_perturbed(
        ["Ada met Grace in Cairo.", "قطة", "猫在睡觉。"], tmp_path / "c.jsonl", 23
    )
    nlp = samarkand.blank("xx")
    speed.written_unsafely(nlp, corpus, tmp_path / "unsafe.jsonl", 10)
    speed.annotate(corpus, tmp_path / "out", model=nlp, shard_size=10)
    assert (tmp_path / "unsafe.jsonl").read_bytes() == (tmp_path / "out" / "c.jsonl").read_bytes()


def test_classifiers_learn_from_rules(results):
    values = _values(_rows(results, "weak_supervision"))
    assert values["rules", "coverage"] == 100
    assert values["Dawid-Skene", "label accuracy"] >= values["majority vote", "label accuracy"] > 90
    assert values["samarkand/transfer_textcat, Dawid-Skene, curriculum", "accuracy"] > 80


def test_rules_of_weak_supervision_are_at_most_twenty():
    weak = _script("weak_supervision")
    for path in weak.RULES.glob("*.tsv"):
        functions = weak.read_functions(path)
        assert 10 <= len(functions) <= 20
        assert len(functions) == len(path.read_text(encoding="utf-8").splitlines())


def test_a_stage_that_is_left_out_does_not_run(tmp_path):
    script = _script("distillation_stages")
    arguments = [
        "--quick",
        "--system",
        "without embedding",
        "--results",
        str(tmp_path),
        "--output",
        str(tmp_path / "o"),
    ]
    script.main(arguments)
    made = {path.name for path in (tmp_path / "o" / "without embedding").iterdir() if (path / "encoder").exists()}
    assert made == set(script.STEPS) - {"embedding"}
    assert {row["system"] for row in _rows(tmp_path, "distillation_stages")} == {script.STATIC, "without embedding"}


def test_hostile_records_are_accounted_for(results):
    rows = {(row["dataset"], row["metric"]): row["value"] for row in _rows(results, "fuzz_records")}
    for kind, records in (("jsonl", 1000), ("txt", 500), ("csv", 500)):
        assert rows[kind, "records"] == records == rows[kind, "written"] + rows[kind, "quarantined"]
        assert min(rows[kind, "written"], rows[kind, "quarantined"]) > 100
        assert rows[kind, "failures"] == rows[kind, "deaths"] == 0


def test_fuzzing_sees_what_is_lost(tmp_path):
    fuzz = _script("fuzz_records")
    summary = {"records": 3, "documents": 2, "quarantined": 1, "reasons": {"S521": 1}, "deaths": 0}
    written = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}]
    entry = {"line": 2, "code": "S521", "reason": "no"}

    def found(written, entries, expected=3, **changes):
        lines = {"hostile.jsonl": written, "quarantine.jsonl": entries}
        for name, records in lines.items():
            (tmp_path / name).write_text("".join(json.dumps(record) + "\n" for record in records))
        return sum(fuzz.problems(summary | changes, tmp_path, expected, {"a", "b"}))

    assert found(written, [entry]) == 0
    assert found(written[:1], [entry]) > 0
    assert found(written, []) > 0
    assert found([written[0], written[0]], [entry]) == 1
    assert found(written, [entry], expected=4) > 0
    assert found(written, [entry], deaths=1) == 1
    assert found(written, [{**entry, "code": "S520"}]) == 1
    assert found(written, [{**entry, "reason": "a\nb"}]) == 1


def test_perturbed_texts_bring_new_words_to_the_end():
    perturbed = _script("memory").perturbed
    texts = ["the quick brown fox jumped over fences", "ذهب الولد إلى المدرسة صباحا"]
    made = list(perturbed(texts, 2000))
    assert made == list(perturbed(texts, 2000))
    assert len(made) == 2000
    seen = {word for text in made[:1500] for word in text.split()}
    assert len({word for text in made[1500:] for word in text.split()} - seen) > 50


def test_memory_stream_gives_every_document():
    memory = _script("memory")
    nlp = spacy.blank("xx")
    for zone in (None, 3):
        assert list(memory.annotated(nlp, iter(["a b"] * 8), zone=zone)) == list(range(1, 9))


def test_random_texts_are_valid_and_various():
    random_texts = _script("offsets").random_texts
    texts = list(random_texts(["Ada lived in Paris."], 400, seed=3))
    assert texts == list(random_texts(["Ada lived in Paris."], 400, seed=3))
    together = "".join(texts)
    together.encode()
    for wanted in ("\u200d", "\u202e", "\u2066", "\u0301", "\n", "Paris"):
        assert wanted in together
    assert any("\u4e00" <= c <= "\u9fff" for c in together)
    assert any("\u0600" <= c <= "\u06ff" for c in together)


class LossyTokenizer:
    """Cuts at blanks and forgets how many there were."""

    def __init__(self, nlp: Language) -> None:
        self.vocab = nlp.vocab

    def __call__(self, text: str) -> Doc:
        return Doc(self.vocab, words=text.split())


@Language.component("test_bench_fragile")
def fragile(doc: Doc) -> Doc:
    if "break" in doc.text:
        raise ValueError("broken")
    return doc


def test_random_check_counts_changed_texts_and_crashes(capsys):
    check_random = _script("offsets").check_random
    nlp = samarkand.blank("xx")
    assert check_random(nlp, iter(["a  b", "c", ""])) == Counter(documents=3, entities=0, failures=0)
    nlp.add_pipe("test_bench_fragile")
    assert check_random(nlp, iter(["ok", "break", "ok"]))["failures"] == 1
    nlp.tokenizer = LossyTokenizer(nlp)
    assert check_random(nlp, iter(["a  b", "c "]))["failures"] == 1
    assert "break" in capsys.readouterr().err


def test_annotated_check_counts_wrong_offsets_and_missing_records(monkeypatch):
    offsets = _script("offsets")

    def annotate(path: Path, folder: str, *, model: Language) -> dict:
        texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
        records = [{"text": text, "entities": []} for text in texts[:-1]]
        records[0]["entities"] = [{"start": 0, "end": 2, "text": records[0]["text"][:3]}]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        Path(folder, "out.jsonl").write_text(lines, encoding="utf-8")
        return {"files": [{"output": "out.jsonl"}]}

    monkeypatch.setattr(offsets, "annotate", annotate)
    files = len(list((FOLDER.parent / "corpora" / "samples").glob("*.jsonl")))
    assert offsets.check_annotated(samarkand.blank("xx"), "samples")["failures"] == 2 * files


def test_offsets_fail_the_run(results, tmp_path, monkeypatch):
    assert all(row["value"] == 0 for row in _rows(results, "offsets") if row["metric"] == "failures")
    offsets = _script("offsets")
    monkeypatch.setattr(offsets, "is_exact", lambda doc, text: False)
    samarkand.blank("xx").to_disk(tmp_path / "model")
    assert offsets.main(["--quick", "--model", str(tmp_path / "model"), "--results", str(tmp_path)]) == 1


def test_encoder_variants_are_what_their_names_say(results):
    Variant = _script("encoder_choice").Variant
    assert Variant("none", 0, False).settings == {"depth": 0, "bigram_rows": 0}
    assert Variant("cnn", 3, True).settings == {"context": "cnn", "depth": 3}
    values = _values(_rows(results, "encoder_choice"))
    assert values["cnn x 3, bigrams", "weights"] > values["cnn x 3, no bigrams", "weights"] + 1


# The quick mode writes no rows for the other tables.
MEASURED = ["ner", "ner-unseen", "speed", "speed-parts", "memory", "offsets", "encoder-choice", "optimizers"]
MEASURED += ["convergence", "recompute", "stages", "pretraining", "pretraining-ner"]
MEASURED += ["whitening", "whitening-fit", "whitening-search", "sentence-encoders", "sentence-speed"]
MEASURED += ["retrieval", "kills"]
MEASURED += ["knowledge-base", "kb-fuzz", "transfer", "transfer-languages", "transfer-alignment", "unseen-script"]
MEASURED += [
    "weak-labels",
    "weak-supervision",
    "annotation",
    "annotation-kills",
    "linking",
    "linking-recall",
    "distillation-stages",
]


@pytest.mark.parametrize("name", MEASURED)
def test_tables_of_measured_rows(results, name):
    table = _script("make_tables").make_table(name, results)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len(lines) >= 3
    assert len({line.count("|") for line in lines}) == 1
    assert "Measured by `python benchmarks/" in table


def test_an_encoder_without_all_sets_of_a_line_has_no_mean(tmp_path):
    row = _script("results_file").row
    rows = [row("a", f"ntrex128/en-{lang}", "accuracy", value) for lang, value in (("ar", 50.0), ("zh", 60.0))]
    rows += [row("b", "ntrex128/en-zh", "accuracy", 70.0), row("b", "stsb-multi/zh", "Spearman", 65.0)]
    _script("results_file").write_rows("sentence_encoders", rows, tmp_path)
    lines = _script("make_tables").make_table("sentence-encoders", tmp_path).splitlines()
    assert lines[2:4] == ["| NTREX-128: accuracy, % | 55.0 |  |", "| STS, Chinese: Spearman, % |  | 65.0 |"]


def _ner_row(system: str, dataset: str, value: float, **more: object) -> dict:
    return _script("results_file").row(system, dataset, "ents_f", value, **{"train": "train split", **more})


@pytest.fixture
def made_up(tmp_path) -> Path:
    """Rows with round figures."""
    rows = [
        _ner_row("spacy/ner", "zh-resume", 90.0),
        _ner_row("samarkand/ricon_ner", "zh-resume", 94.0, seed=0),
        _ner_row("samarkand/ricon_ner", "zh-resume", 96.0, seed=1),
        _ner_row("samarkand/ricon_ner", "zh-resume", 96.5, train="train split; raw text"),
        _ner_row("samarkand/ricon_ner, no aware branch", "zh-resume", 91.0),
        _ner_row("spacy/ner", "zh-cmeee", 50.0, split="dev", note="outermost spans only"),
    ]
    random.Random(0).shuffle(rows)
    _script("results_file").write_rows("ner", rows, tmp_path / "results")
    return tmp_path / "results"


def test_ner_table_means_best_and_footnotes(made_up):
    lines = _script("make_tables").make_table("ner", made_up).splitlines()
    assert lines[:4] == [
        "|  | samarkand/ricon_ner <sup>1</sup> | samarkand/ricon_ner <sup>2</sup> | spacy/ner <sup>1</sup> |",
        "| --- | ---: | ---: | ---: |",
        "| zh-cmeee (dev) |  |  | 50.0 (1) <sup>3</sup> |",
        "| zh-resume | 95.0 (2) | **96.5** (1) | 90.0 (1) |",
    ]
    assert [line for line in lines if line.startswith("<sup>")] == [
        "<sup>1</sup> weights from: train split.  ",
        "<sup>2</sup> weights from: train split; raw text.  ",
        "<sup>3</sup> outermost spans only.  ",
    ]


def test_ablation_table_compares_equal_training(made_up):
    lines = _script("make_tables").make_table("ablations", made_up).splitlines()
    assert lines[2] == "| zh-resume | **95.0** (2) | 91.0 (1) |"


def test_one_origin_of_weights_is_said_once(results):
    table = _script("make_tables").make_table("memory", results)
    assert "<sup>" not in table
    assert table.rstrip().endswith("weights from: a random draw.")


def test_documents_are_filled_once_and_checked(made_up, tmp_path, capsys):
    main = _script("make_tables").main
    document = tmp_path / "README.md"
    document.write_text("# A\n<!-- table:ner -->\nold\n<!-- /table -->\nB\n<!-- table:speed -->\n<!-- /table -->\n")
    call = [str(document), "--results", str(made_up)]
    assert main([*call, "--check"]) == 1
    assert "old" in document.read_text()
    assert main(call) == 0
    filled = document.read_text()
    assert main([*call, "--check"]) == main(call) == 0
    assert document.read_text() == filled
    assert filled.startswith("# A\n<!-- table:ner -->\n|")
    assert "\n<!-- /table -->\nB\n" in filled
    assert "Not measured yet: `python benchmarks/speed.py`." in filled
    _script("results_file").write_rows("ner", [_ner_row("spacy/ner", "zh-resume", 91.0)], made_up)
    assert main([*call, "--check"]) == 1
    assert "stale" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table:nothing -->\n<!-- /table -->\n", "no table 'nothing'"),
        ("<!-- table:ner -->\n", "not closed"),
        ("<!-- table:ner -->\n<!-- table:ner -->\n<!-- /table -->\n", "not closed"),
    ],
)
def test_bad_documents_are_refused(text, message, tmp_path, capsys):
    document = tmp_path / "README.md"
    document.write_text(text)
    with pytest.raises(SystemExit) as stop:
        _script("make_tables").main([str(document)])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert document.read_text() == text


def test_tables_of_this_repository_are_fresh():
    assert _script("make_tables").main(["--check"]) == 0
