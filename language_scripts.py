"""What languages are written in, as ISO 15924 codes of scripts. A language that is not here is not known."""

from __future__ import annotations

LANGUAGE_SCRIPTS: dict[str, tuple[str, ...]] = {
    # "Zzzz" is any script that has no rules of its own.
    "xx": (),
    "bo": ("Zzzz",),
    "he": ("Hebr",),
    "bn": ("Beng",),
    "gu": ("Gujr",),
    "ta": ("Taml",),
    "te": ("Telu",),
    "kn": ("Knda",),
    "ml": ("Mlym",),
    "si": ("Sinh",),
    "hy": ("Armn",),
    "th": ("Thai",),
    "ko": ("Hang",),
    "sr": ("Cyrl", "Latn"),
    "ja": ("Hani", "Hira", "Kana"),
    **dict.fromkeys(("zh", "yue", "lzh"), ("Hani", "Bopo")),
    **dict.fromkeys(("ar", "arz", "fa", "ur", "ug", "ps", "sd", "ckb"), ("Arab",)),
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "kk", "ky", "tt", "mn"), ("Cyrl",)),
    **dict.fromkeys(("el", "grc"), ("Grek",)),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), ("Deva",)),
    **dict.fromkeys(("am", "ti"), ("Ethi",)),
    **dict.fromkeys(("de", "ee", "en", "es", "ff", "fr", "ha", "ig", "it", "kab", "lg", "luo", "om"), ("Latn",)),
    **dict.fromkeys(("pcm", "pt", "rw", "sn", "sw", "tn", "tr", "wo", "yo", "zu"), ("Latn",)),
}
