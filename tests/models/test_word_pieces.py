import json

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.transformer_tok2vec import token_spans
from samarkand.models.word_pieces import BLANK_MARK, WordPieces, overlaps
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformer_checkpoints import FAMILIES, SENTENCES, make_tokenizer, save_tokenizer

TOKENIZERS = {family: make_tokenizer(family).backend_tokenizer for family in FAMILIES}
PIECES = {family: WordPieces.from_tokenizer(tokenizer) for family, tokenizer in TOKENIZERS.items()}
NLP = spacy.blank("xx")

# Arbitrary text hardly ever meets the hard cases: mix it with them.
HARD = st.sampled_from(
    [
        *" \t\n\u3000\xa0\u200b\u200d\u2581éﷺﬁ①ـّ北京カ한ा👩🏽𝔘",
        "e\u0301",
        "👩‍👩‍👧",
        "Hello",
        "سمرقند",
        "<s>",
        "[SEP]",
    ]
)
TEXTS = st.lists(HARD | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=20).map("".join)


def align(pieces, text):
    spans = token_spans(NLP.make_doc(text))
    return pieces.align([text], [spans])[0], spans


def slow_align(tokenizer, text, token_spans):
    """Character by character, from the offsets of an untrimmed encoding."""
    tokenizer = type(tokenizer).from_str(tokenizer.to_str())
    tokenizer.post_processor = None
    encoding = tokenizer.encode(text, add_special_tokens=False)
    pairs = []
    for piece, ((start, end), string) in enumerate(zip(encoding.offsets, encoding.tokens)):
        covered = set(range(start, end))
        visible = {i for i in covered if not text[i].isspace()}
        if visible:
            covered = set(range(min(visible), max(visible) + 1))
            if not string.strip(BLANK_MARK) and text[start] != BLANK_MARK:
                covered = set()
        for token, (first, last) in enumerate(token_spans):
            if covered & set(range(first, last)):
                pairs.append((token, piece))
    return encoding.ids, sorted(pairs)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_alignment_is_that_of_a_character_walk(family, text):
    aligned, spans = align(PIECES[family], text)
    ids, pairs = slow_align(TOKENIZERS[family], text, spans)
    assert aligned.ids.tolist() == ids
    assert list(zip(aligned.token.tolist(), aligned.piece.tolist())) == pairs
    assert aligned.n_tokens == len(spans)


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_byte_level_alignment_is_exact_to_the_byte(text):
    """The bytes of the pieces are the bytes of the text: no need to believe the offsets."""
    tokenizer = TOKENIZERS["modernbert"]
    for special in ("<s>", "</s>", "<pad>", "<unk>"):
        text = text.replace(special, "")
    aligned, spans = align(PIECES["modernbert"], text)
    char_of_byte = [i for i, char in enumerate(text) for _ in char.encode()]
    expected, at = [], 0
    for piece, piece_id in enumerate(aligned.ids.tolist()):
        n_bytes = len(tokenizer.id_to_token(piece_id))
        chars = char_of_byte[at : at + n_bytes]
        at += n_bytes
        if not all(text[i].isspace() for i in chars):
            chars = [i for i in chars if not text[i].isspace()]
        expected += [(t, piece) for t, (a, b) in enumerate(spans) if any(a <= i < b for i in chars)]
    assert at == len(char_of_byte)
    assert list(zip(aligned.token.tolist(), aligned.piece.tolist())) == sorted(expected)


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=12),
    cuts=st.lists(st.integers(0, 30), max_size=12).map(sorted),
)
def test_overlaps_finds_all_pairs(pieces, cuts):
    piece_spans = np.array([(a, a + n) for a, n in pieces], dtype=np.int64).reshape(-1, 2)
    token_spans = np.array([*zip(cuts[::2], cuts[1::2])], dtype=np.int64).reshape(-1, 2)
    piece, token = overlaps(piece_spans, token_spans)
    expected = [
        (t, p) for t, (c, d) in enumerate(token_spans) for p, (a, b) in enumerate(piece_spans) if min(b, d) > max(a, c)
    ]
    assert list(zip(token.tolist(), piece.tolist())) == expected


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", SENTENCES)
def test_every_token_of_ordinary_text_has_pieces(family, text):
    aligned, spans = align(PIECES[family], text)
    assert set(aligned.token.tolist()) == set(range(len(spans)))


@pytest.mark.parametrize("family", ["roberta", "modernbert"])
def test_leading_blank_belongs_to_no_word(family):
    pieces = PIECES[family]
    aligned, _ = align(pieces, "in   spring")
    strings = [pieces.tokenizer.id_to_token(i) for i in aligned.ids]
    by_token = [[strings[p] for p, t in zip(aligned.piece, aligned.token) if t == n] for n in range(3)]
    # The tokens are "in", "  " and "spring".
    assert by_token[1]
    assert not "".join(by_token[1]).strip("Ġ")
    assert "".join(by_token[2]).lstrip("Ġ") == "spring"


def test_mark_without_a_blank_covers_nothing():
    pieces = PIECES["xlm-roberta"]
    mark = pieces.tokenizer.token_to_id(BLANK_MARK)
    aligned, _ = align(pieces, "撒马")
    assert mark in aligned.ids
    assert mark not in aligned.ids[aligned.piece]
    literal, _ = align(pieces, BLANK_MARK)
    assert len(literal.piece)


def test_shared_pieces_go_to_each_token():
    """A piece over two characters belongs to both when each is a token."""
    pieces = PIECES["xlm-roberta"]
    text = "天安门"
    spans = np.array([(i, i + 1) for i in range(3)])
    (aligned,) = pieces.align([text], [spans])
    assert any(len(set(aligned.token[aligned.piece == p].tolist())) > 1 for p in aligned.piece)


def test_first_pieces_keeps_one_pair_a_token():
    aligned, _ = align(PIECES["bert"], SENTENCES[0])
    first = aligned.first_pieces()
    assert first.token.tolist() == sorted(set(aligned.token.tolist()))
    assert [aligned.piece[aligned.token == t].min() for t in first.token] == first.piece.tolist()
    assert len(first.token) < len(aligned.token)


@pytest.mark.parametrize("family", FAMILIES)
def test_special_pieces_are_those_of_the_tokenizer(family):
    pieces, tokenizer = PIECES[family], TOKENIZERS[family]
    framed = tokenizer.encode(SENTENCES[3]).ids
    (aligned,) = pieces.align([SENTENCES[3]], [np.zeros((0, 2), dtype=np.int64)])
    assert [*pieces.prefix, *aligned.ids.tolist(), *pieces.suffix] == framed
    assert pieces.n_special == 2


def framing_tokenizer(vocab, normalizer=None):
    """Word-pieces without an unknown piece: what the vocabulary lacks is dropped."""
    tokenizer = Tokenizer(BPE(vocab={"[CLS]": 0, "[SEP]": 1, **vocab}, merges=[]))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    frame = [("[CLS]", 0), ("[SEP]", 1)]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=frame)
    return tokenizer


def test_special_pieces_of_a_tokenizer_that_drops_latin():
    """The text was probed with "a": both special pieces came before it."""
    pieces = WordPieces.from_tokenizer(framing_tokenizer({"北": 2, "京": 3}))
    assert (pieces.prefix, pieces.suffix) == ([0], [1])
    bare = framing_tokenizer({"北": 2})
    bare.post_processor = None
    assert WordPieces.from_tokenizer(bare).n_special == 0


def test_S335_tokenizer_without_a_piece_for_text():
    with pytest.raises(ValueError, match=r"\[S335\].*\[CLS\] \[SEP\]"):
        WordPieces.from_tokenizer(framing_tokenizer({"北": 2}, Replace(Regex("."), "")))


def test_truncation_and_padding_of_the_tokenizer_are_ignored():
    tokenizer = make_tokenizer("bert").backend_tokenizer
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    pieces = WordPieces.from_tokenizer(tokenizer)
    assert align(pieces, SENTENCES[0])[0].ids.tolist() == align(PIECES["bert"], SENTENCES[0])[0].ids.tolist()
    assert align(pieces, "a")[0].ids.size == 1
    assert pieces.n_special == 2
    assert tokenizer.truncation is not None


@pytest.mark.parametrize("family", FAMILIES)
def test_json_round_trip(family):
    pieces = PIECES[family]
    loaded = WordPieces.from_json(pieces.to_json())
    assert (loaded.prefix, loaded.suffix, loaded.pad) == (pieces.prefix, pieces.suffix, pieces.pad)
    assert loaded.vocab_size == pieces.vocab_size
    for text in SENTENCES:
        old, new = align(pieces, text)[0], align(loaded, text)[0]
        assert old.ids.tolist() == new.ids.tolist()
        assert old.piece.tolist() == new.piece.tolist()
    assert WordPieces.from_json(WordPieces().to_json()).tokenizer is None


def test_from_pretrained_reads_the_folder(tmp_path):
    pieces = WordPieces.from_pretrained(str(save_tokenizer("roberta", tmp_path)))
    assert pieces.tokenizer.token_to_id("<pad>") == pieces.pad
    assert align(pieces, SENTENCES[1])[0].ids.tolist() == align(PIECES["roberta"], SENTENCES[1])[0].ids.tolist()


def test_alphabet_of_byte_level_models_is_complete():
    assert all(TOKENIZERS["roberta"].token_to_id(char) is not None for char in ByteLevel.alphabet())


def test_S320_tokenizer_cannot_be_loaded(tmp_path):
    with pytest.raises(OSError, match=r"\[S320\] Cannot load the tokenizer of") as info:
        WordPieces.from_pretrained(str(tmp_path / "nowhere"))
    assert "\n" not in str(info.value)


def test_S322_tokenizer_not_loaded():
    with pytest.raises(ValueError, match="S322"):
        WordPieces().align(["a"], [np.array([[0, 1]])])


def test_S324_tokenizer_without_offsets(tmp_path):
    from transformers import CanineTokenizer

    CanineTokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "canine"}))
    with pytest.raises(ValueError, match=r"\[S324\].*CanineTokenizer"):
        WordPieces.from_pretrained(str(tmp_path))
