"""Tokens for the small encoder's pretraining, in the script that the encoder will read."""

from __future__ import annotations

import lzma

import pytest
import spacy
from samarkand.corpora.pretraining import main
from samarkand.models.token_corpus import TokenCorpus
from samarkand.models.transliterated_tok2vec import transliterated_twin
from samarkand.models.transliteration import Transliterator

TEXT = "ئەو لە هەولێر دەژی، Erbil 2024."
TABLES = {"Arab": "ckb-kmr"}


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "ckb.txt.xz").write_bytes(lzma.compress(f"{TEXT}\n{TEXT}\n".encode()))
    return tmp_path


def words(folder) -> list[str]:
    corpus = TokenCorpus.load(folder)
    return [corpus.tokens[i] for i in corpus.ids.tolist()]


def test_tokens_are_those_that_a_transliterated_encoder_reads(raw):
    main([str(raw), str(raw / "plain"), "ckb=1"])
    main([str(raw), str(raw / "latin"), "ckb=1", "--tables", "Arab=ckb-kmr"])
    tokenizer = {"@tokenizers": "samarkand.ScriptTokenizer.v1", "norm": "full"}
    doc = spacy.blank("xx", config={"nlp": {"tokenizer": tokenizer}}).make_doc(TEXT)
    twin = transliterated_twin(doc, Transliterator(TABLES))
    assert words(raw / "plain") == 2 * [token.norm_.lower() for token in doc]
    assert words(raw / "latin") == 2 * [token.norm_.lower() for token in twin]
    assert "hewlêr" in words(raw / "latin")


def test_a_table_needs_its_script(raw, capsys):
    with pytest.raises(SystemExit):
        main([str(raw), str(raw / "latin"), "ckb=1", "--tables", "ckb-kmr"])
    assert "'ckb-kmr' is not SCRIPT=TABLE" in capsys.readouterr().err
