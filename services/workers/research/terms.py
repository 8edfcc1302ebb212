"""Words as they are compared: folded, without stop words, cut to a light stem. English, German, French. Pure.

The stemmers are light on purpose: they take off endings of inflection (plurals, cases, common verb forms), after
Savoy, "Light stemming approaches for the French, Portuguese, German and Hungarian languages" (2006), and Harman's
S-stemmer for English with -ing and -ed added. They never need to give a word, only the same piece for its forms.
"""

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from hocket.documents.userfiles import Rules

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")  # noqa: RUF001 - the typographic apostrophe is meant
_ELISION = re.compile(r"^(?:l|d|j|m|n|s|t|c|qu|jusqu|lorsqu|puisqu)['’](?=\w)")  # noqa: RUF001
_VOWEL = re.compile(r"[aeiouy]")
_DE = ("ungen", "heiten", "keiten", "ung", "heit", "keit", "ern", "est", "em", "en", "er", "es", "st", "e", "n", "s")
_FR = (
    "issements", "issement", "ements", "ement", "ations", "ation", "euses", "euse", "eurs", "eur", "iques", "ique",
    "ables", "able", "antes", "ants", "ante", "ant", "ees", "ee", "es", "er", "ez", "ait", "aient", "ent",
    "e", "s", "x",
)  # fmt: skip


words = Rules(Path(__file__).with_name("words.toml"), "research")
"""Which words say nothing."""


@words.built
def _lists() -> dict[str, dict[str, frozenset[str]]]:
    return {
        kind: {
            language: frozenset(_fold(w) for line in lines for w in line.split())
            for language, lines in words()[kind].items()
        }
        for kind in ("stop", "asking")
    }


def _fold(word: str) -> str:
    """Small letters without accents; ß is ss."""
    return "".join(c for c in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(c))


def words_of(text: str) -> list[str]:
    """The words of a text, folded, in order; French elisions are taken off."""
    folded = (_fold(match.group()) for match in _WORD.finditer(text))
    return [re.sub(r"['’]s?$", "", _ELISION.sub("", word)) for word in folded]  # noqa: RUF001


def terms_of(text: str, language: str) -> list[str]:
    """What counts of a document's text: stems of its words, stop words left out."""
    stop = _stop("stop", language)
    return [stem(word, language) for word in words_of(text) if word not in stop]


def asked_for(question: str, language: str) -> list[str]:
    """The words of a question that say what is looked for, each once, in order."""
    silent = _stop("stop", language) | _stop("asking", language)
    by_stem: dict[str, str] = {}
    for word in words_of(question):
        if word not in silent and (len(word) > 1 or word.isdigit()):
            by_stem.setdefault(stem(word, language), word)
    subject = _subject(question, language)
    found = [word for key, word in by_stem.items() if key not in subject]
    return found or list(by_stem.values())


def _subject(question: str, language: str) -> set[str]:
    """Stems of what the question calls the documents: "the offers" of "What do the offers say about ...?" """
    folded = _fold(question)
    matches = (re.search(form, folded) for form in words()["subject"].get(language, ()))
    return {stem(match[1], language) for match in matches if match}


def _stop(kind: str, language: str) -> frozenset[str]:
    lists = _lists()[kind]
    # Of a language that is not known, nothing but what is a stop word in all of them.
    return lists[language] if language in lists else frozenset.intersection(*lists.values())


def stem(word: str, language: str) -> str:
    """The piece that a word's forms share. Numbers and short words stay."""
    if len(word) < 4 or any(c.isdigit() for c in word):
        return word
    by_language: dict[str, Callable[[str], str]] = {"en": _english, "de": _german, "fr": _french}
    return by_language[language](word) if language in by_language else word


def _english(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("sses"):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if word.endswith("ion") and len(word) > 7:
        return word[:-3]  # termination and terminate
    for ending in ("ing", "ed"):
        cut = word[: -len(ending)]
        if word.endswith(ending) and len(cut) >= 3 and _VOWEL.search(cut):
            word = cut[:-1] if cut[-1] == cut[-2] and cut[-1] not in "lsz" else cut
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


def _german(word: str) -> str:
    for _ in range(2):  # an ending of derivation may stand before one of inflection
        for ending in _DE:
            if word.endswith(ending) and len(word) - len(ending) >= 4:
                word = word[: -len(ending)]
                break
    return word


def _french(word: str) -> str:
    if word.endswith("aux") and len(word) > 5:
        return word[:-2] + "l"
    for ending in _FR:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word
