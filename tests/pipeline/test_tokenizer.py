from __future__ import annotations

import builtins
import pickle
import random
import time
import tracemalloc
import unicodedata
from itertools import islice, permutations

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.pipeline.scripts import SCRIPT_LANGUAGES
from samarkand.pipeline.tokenizer import ScriptTokenizer
from spacy.symbols import NORM, ORTH
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry

LANGS = ("xx", "ar", "zh", "en")
SAMPLES = {
    "ar": "زارَ الرئيسُ شركة Apple في القاهرة، ثم سافر إلى بيروت. كم؟ ٣٫٥ مليون!",
    "zh": "在Google工作的iPhone手机用户超过3.5亿。《红楼梦》很好！",
    "en": "I don't think U.K. shares fell 3.5% (see https://example.com/a?b=c). Can't we?\n\tYes:  no.",
    "xx": "COVID-19疫情 في 2023 — नमस्ते दुनिया। 안녕하세요, 세계! 👨‍👩‍👧 e\u0301",
}
MIXED = st.text(
    st.one_of(
        st.sampled_from(
            "aZ'n.t,-é中文か\u3099ﾞ，《１．شركةَّ،٣٫हि\u093c।ก한ᄀ👨\u200d👩🏽🇸🇦\ufe0f\u200e\u202b\u2069\u200c\u0301\ufeff\xad"
        ),
        st.sampled_from(" \n\t\u3000\xa0\u2028\x1f\x85\r"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=80,
)
BLOCKS = st.lists(
    st.sampled_from(
        ["word", "don't", "U.S.", ":-)", "شركة", "مُحَمَّدٌ", "手机", "한국어", "हिन्दी", " ", "  ", "\n", "-", "/", "3.5",
         "１，０００", "。", "\u0301", "\u200f", "👨‍👩‍👧", "https://a.b/", "@x", "漢\ufe00", "ab" * 70, "C++"]
    ),
    max_size=12,
).map("".join)  # fmt: skip


def blank(lang: str = "xx", **settings) -> spacy.Language:
    tokenizer = {"@tokenizers": "samarkand.ScriptTokenizer.v1", **settings}
    return spacy.blank(lang, config={"nlp": {"tokenizer": tokenizer}})


def words(doc: Doc) -> list[str]:
    return [token.text for token in doc]


def annotation(doc: Doc) -> list[tuple[str, str, str]]:
    return [(token.text, token.whitespace_, token.norm_) for token in doc]


@pytest.fixture(scope="module")
def nlps() -> dict[str, spacy.Language]:
    return {lang: blank(lang) for lang in LANGS}


@registry.misc("samarkand_tests.pair_segmenter")
def create_pair_segmenter():
    return cut_pairs


@registry.misc("samarkand_tests.lossy_segmenter")
def create_lossy_segmenter():
    return cut_nothing


def cut_pairs(text: str) -> list[str]:
    return [text[i : i + 2] for i in range(0, len(text), 2)]


def cut_nothing(text: str) -> list[str]:
    return [text[1:]]


@given(text=st.one_of(MIXED, BLOCKS), lang=st.sampled_from(LANGS))
@settings(max_examples=300, deadline=None)
def test_text_is_kept_and_marks_stay_with_their_base(nlps, text: str, lang: str) -> None:
    doc = nlps[lang].tokenizer(text)
    assert doc.text == text
    for token in doc:
        assert token.text
        before = text[token.idx - 1 : token.idx]
        if before and not before.isspace():
            assert unicodedata.category(token.text[0])[0] != "M"
            assert token.text[0] != "\u200d"
        assert token.norm_


@given(text=st.one_of(MIXED, BLOCKS))
@settings(max_examples=150, deadline=None)
def test_blanks_are_tokens_but_for_one_space(nlps, text: str) -> None:
    doc = nlps["xx"].tokenizer(text)
    for token in doc:
        assert token.is_space or not any(char.isspace() for char in token.text)
        if token.is_space and token.i > 0:
            assert not doc[token.i - 1].is_space
            assert doc[token.i - 1].whitespace_ or token.text[0] != " "


@given(text=st.one_of(MIXED, BLOCKS))
@settings(max_examples=150, deadline=None)
def test_tokens_do_not_depend_on_what_was_seen_before(nlps, text: str) -> None:
    used = nlps["xx"].tokenizer
    first = annotation(used(text))
    assert annotation(used(text)) == first
    used._flush()
    assert annotation(used(text)) == first


@pytest.mark.parametrize("text", ["", " ", "  ", "\n", " a", "a ", "a  ", " a \n b", "a\n b", "\ta\u3000b "])
def test_blanks_as_in_spacy(nlps, text: str) -> None:
    expected = spacy.blank("en")(text)
    doc = nlps["en"](text)
    assert [(t.text, t.whitespace_) for t in doc] == [(t.text, t.whitespace_) for t in expected]


@pytest.mark.parametrize("lang", ["en", "de", "it", "ru", "hi"])
def test_rules_and_norms_are_those_of_the_language(lang: str) -> None:
    texts = {
        "en": "Mr. O'Neil's can't-miss (U.S.A.) deal: $3.5m, 20km/h; e-mail a.b@c.com... “Who's”? gonna :-) I'm 5'4\".",
        "de": "Z.B. die Straßenbahn-Linie, d.h. 3,5% „schnell“.",
        "it": "L'acqua dell'Adige, p.es. quest'anno: po' 3,5 €.",
        "ru": "Т.е. «Газпром» и Санкт-Петербург, 3,5%.",
        "hi": "नमस्ते दुनिया, यह हिन्दी है।",
    }
    plain, ours = spacy.blank(lang)(texts[lang]), blank(lang, norm="none")(texts[lang])
    assert annotation(ours) == annotation(plain)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("iPhone手机", "iPhone 手 机"),
        ("在Google工作", "在 Google 工 作"),
        ("COVID-19疫情", "COVID-19 疫 情"),
        ("3.5亿", "3.5 亿"),
        ("2023年", "2023 年"),
        ("２０２３年", "２０２３ 年"),
        ("GPT-4o模型", "GPT-4o 模 型"),
        ("C++程序", "C++ 程 序"),
        ("《红楼梦》，「好」。", "《 红 楼 梦 》 ， 「 好 」 。"),
        ("“Google”说", "“ Google ” 说"),
        ("شركةApple", "شركة Apple"),
        ("القاهرة،بيروت؛لماذا؟", "القاهرة ، بيروت ؛ لماذا ؟"),
        ("(مُحَمَّدٌ).", "( مُحَمَّدٌ ) ."),
        ("وبالقاهرة", "وبالقاهرة"),
        ("٣٫٥ ١٬٠٠٠ ۱۲۳ ٥٠٪ ٢٠٢٠.", "٣٫٥ ١٬٠٠٠ ۱۲۳ ٥٠ ٪ ٢٠٢٠ ."),
        ("٣،٥", "٣،٥"),
        ("१२३ हिन्दी।", "१२३ हिन्दी ।"),
        ("ለዓለም።ሰላም፣", "ለዓለም ። ሰላም ፣"),
        ("می‌خواهم", "می‌خواهم"),
        ("안녕하세요, 세계!", "안녕하세요 , 세계 !"),
        ("https://ar.wikipedia.org/wiki/القاهرة،", "https://ar.wikipedia.org/wiki/القاهرة ،"),
        ("访问https://t.co/abc。好", "访 问 https://t.co/abc 。 好"),
        ("a.b@c.com", "a.b@c.com"),
        ("@user #تاج", "@user # تاج"),
        ("😀👨‍👩‍👧🇸🇦1️⃣", "😀 👨‍👩‍👧 🇸🇦 1️⃣"),
        ("don't手机", "do n't 手 机"),
    ],
)
def test_tokens(nlps, text: str, tokens: str) -> None:
    assert words(nlps["xx"](text)) == tokens.split(" ")


@pytest.mark.parametrize(("lang", "text"), SAMPLES.items())
def test_tokens_joined_with_blanks_are_cut_into_the_same_tokens(nlps, lang: str, text: str) -> None:
    tokens = [token.text for token in nlps["xx"](text) if not token.is_space]
    assert words(nlps["xx"](" ".join(tokens))) == tokens


def test_norm_levels() -> None:
    text = "مُحَمَّد أحمد ＡＢＣ don't"
    norms = {level: [token.norm_ for token in blank(norm=level)(text)] for level in ("none", "light", "full")}
    assert norms["none"][:3] == ["مُحَمَّد", "أحمد", "ａｂｃ"]
    assert norms["light"][:3] == ["محمد", "أحمد", "abc"]
    assert norms["full"][:3] == ["محمد", "احمد", "abc"]
    assert [values[-2:] for values in norms.values()] == [["do", "not"]] * 3


def test_norms_of_exceptions_do_not_pile_up() -> None:
    """Those of each sentence with ideographs, which is not cached, were kept for ever."""
    nlp = blank()
    sentences = ["".join(chars) * 2 + "don't" for chars in islice(permutations("我爱北京天安门上太阳升起来"), 3000)]
    nlp.make_doc(sentences[0])
    tracemalloc.start()
    try:
        for sentence in sentences:
            assert nlp.make_doc(sentence)[-1].norm_ == "not"
        assert tracemalloc.get_traced_memory()[0] < 2**17
    finally:
        tracemalloc.stop()


def test_norms_hold_for_words_that_the_tokenizer_did_not_cut(nlps) -> None:
    nlp = nlps["ar"]
    assert Doc(nlp.vocab, words=["كـتـاب"])[0].norm_ == "كتاب"


def test_exception_norms_survive_in_a_chunk_with_ideographs(nlps) -> None:
    assert [token.norm_ for token in nlps["xx"]("手don't机")] == ["手", "do", "not", "机"]


def test_pipeline_language_comes_first_and_settings_before_it() -> None:
    text = "l'acqua dell'Adige"
    italian = words(spacy.blank("it")(text))
    assert words(blank("it")(text)) == italian
    assert words(blank("xx")(text)) != italian
    assert words(blank("xx", languages={"Latn": "it"})(text)) == italian
    assert words(blank("it", languages={"Latn": "en"})(text)) == words(spacy.blank("en")(text))


def test_ideographs_by_word() -> None:
    nlp = blank(han="samarkand_tests.pair_segmenter")
    doc = nlp("研究生命起源，don't Apple手机")
    assert words(doc) == ["研究", "生命", "起源", "，", "do", "n't", "Apple", "手机"]
    assert doc[5].norm_ == "not"
    assert words(nlp("好")) == ["好"]
    assert words(nlp("中文\ufe00字")) == ["中文\ufe00", "字"]
    loaded = pickle.loads(pickle.dumps(nlp.tokenizer))
    assert words(loaded("研究生命")) == ["研究", "生命"]


def test_special_cases() -> None:
    nlp = blank()
    nlp.tokenizer.add_special_case("gimme", [{ORTH: "gim", NORM: "give"}, {ORTH: "me"}])
    assert annotation(nlp("gimme手机!"))[:2] == [("gim", "", "give"), ("me", "", "me")]
    other = blank().from_bytes(nlp.to_bytes())
    assert annotation(other("gimme")) == annotation(nlp("gimme"))


@pytest.mark.parametrize("string", ["手机", "a手", "a b", "appleشركة", "😀"])
def test_special_case_that_can_never_match(nlps, string: str) -> None:
    with pytest.raises(ValueError, match=r"\[S107\].*cut into"):
        nlps["xx"].tokenizer.add_special_case(string, [{ORTH: string}])


def test_special_case_that_changes_the_text_leaves_the_tokenizer_as_it_was() -> None:
    nlp = blank()
    with pytest.raises(ValueError, match="E997"):
        nlp.tokenizer.add_special_case("gimme", [{ORTH: "give"}])
    assert words(nlp("gimme")) == ["gimme"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "heavy"}, r"\[S101\] .*'heavy'"),
        ({"languages": {"Latin": "en"}}, r"\[S102\] .*'Latin'.*Latn"),
        ({"languages": {"Latn": "qq"}}, r"\[S103\] .*'qq'.*'Latn'"),
        ({"han": "no_such_segmenter"}, r"\[S104\] .*'no_such_segmenter'"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        blank(**settings)


def test_jieba_is_named_when_it_is_missing(monkeypatch) -> None:
    importer = builtins.__import__

    def without_jieba(name: str, *args, **kwargs):
        if name == "jieba":
            raise ImportError(name)
        return importer(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_jieba)
    with pytest.raises(ImportError, match=r"\[S105\] .*pip install jieba"):
        blank(han="jieba")


def test_segmenter_that_changes_the_text() -> None:
    with pytest.raises(ValueError, match=r"\[S106\] .*lossy_segmenter.*'手机'.*'机'"):
        blank(han="samarkand_tests.lossy_segmenter")("手机")


@pytest.mark.parametrize("script", SCRIPT_LANGUAGES)
def test_rules_of_every_script_leave_letters_together(nlps, script: str) -> None:
    letters = {
        "Thai": "กขค",
        "Hang": "가나다",
        "Zzzz": "ᎠᎡᎢ",
        "Beng": "অআই",
        "Gujr": "અઆઇ",
        "Taml": "அஆஇ",
        "Telu": "అఆఇ",
    }
    letters |= {"Knda": "ಅಆಇ", "Mlym": "അആഇ", "Sinh": "අආඇ", "Armn": "աբգ", "Ethi": "ሀለሐ", "Deva": "अआइ", "Hebr": "אבג"}
    letters |= {"Latn": "xyz", "Arab": "ابت", "Cyrl": "абв", "Grek": "αβγ"}
    word = letters[script]
    assert words(nlps["xx"](f"({word}, {word}) {word}!")) == ["(", word, ",", word, ")", word, "!"]


@pytest.mark.parametrize("lang", LANGS)
def test_round_trips(lang: str, tmp_path) -> None:
    nlp = blank(lang, norm="full", languages={"Cyrl": "uk"})
    nlp.to_disk(tmp_path / "nlp")
    copies = [
        spacy.load(tmp_path / "nlp"),
        blank(lang).from_bytes(nlp.to_bytes()),
        pickle.loads(pickle.dumps(nlp)),
    ]
    tokenizer = ScriptTokenizer(nlp.vocab, lang=lang).from_bytes(nlp.tokenizer.to_bytes())
    for text in SAMPLES.values():
        expected = annotation(nlp(text))
        assert [annotation(copy(text)) for copy in copies] == [expected] * len(copies)
        assert annotation(tokenizer(text)) == expected


def test_vocabulary_loaded_anew_without_the_tokenizer(tmp_path) -> None:
    nlp = blank()
    nlp.vocab.to_disk(tmp_path / "vocab")
    text = SAMPLES["xx"]
    expected = annotation(nlp(text))
    nlp.vocab.from_disk(tmp_path / "vocab")
    assert annotation(nlp(text)) == expected


def test_memory_zone_leaves_nothing_behind() -> None:
    nlp = blank()
    nlp("known don't")
    size = len(nlp.vocab.strings)
    for text in SAMPLES.values():
        with nlp.memory_zone():
            inside = annotation(nlp(text))
        assert len(nlp.vocab.strings) == size
        assert annotation(blank()(text)) == inside
    assert annotation(nlp(SAMPLES["en"])) == annotation(blank()(SAMPLES["en"]))


def test_pipe_and_processes() -> None:
    nlp = blank()
    nlp.add_pipe("sentencizer")
    texts = list(SAMPLES.values()) * 3
    expected = [annotation(nlp(text)) for text in texts]
    assert [annotation(doc) for doc in nlp.tokenizer.pipe(texts)] == expected
    assert [annotation(doc) for doc in nlp.pipe(texts, n_process=2, batch_size=4)] == expected


def test_initialize_and_score() -> None:
    nlp = blank()
    nlp.add_pipe("ner")
    example = Example.from_dict(nlp.make_doc("شركة Apple手机"), {"entities": [(5, 10, "ORG")]})
    nlp.initialize(lambda: [example])
    nlp.update([example])
    assert nlp.tokenizer.score([example])["token_f"] == 1.0


@pytest.mark.parametrize(
    "unit",
    ["Hello, world! مرحبا بالعالم. 你好世界，3.5亿。\n", "a", "a.", "a-", "!", "\u0301", "\u0301\u0327",
     "中", "中\ufe00", "中-", "🇸", "👨\u200d", "http://", "1，", "１，", "ا\u064b،", " ", "\n "],
)  # fmt: skip
def test_a_million_characters_take_seconds(nlps, unit: str) -> None:
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    start = time.process_time()
    doc = nlps["xx"].tokenizer(text)
    assert time.process_time() - start < 10
    assert len(doc) > 0
    assert doc[-1].idx + len(doc[-1].text_with_ws) == len(text)


def test_cost_is_linear_for_random_runs_without_blanks(nlps) -> None:
    chars = random.Random(0).choices("abcxyz0189.,:;-_/@'\"()[]<>&=ابت،،\u0301中，", k=200_000)
    text = "".join(chars)
    start = time.process_time()
    doc = nlps["xx"].tokenizer(text)
    assert time.process_time() - start < 10
    assert doc.text == text
