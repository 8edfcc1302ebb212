# ruff: noqa: RUF001 - typographic apostrophes are what is read here
"""How a sentence feels, from -1 to 1, by lists of words: VADER with corrections for English, own lists for German and
French. Pure, apart from loading VADER's lexicon at the first English sentence.

German and French follow VADER's method (Hutto and Gilbert 2014): weights add up, a word of negation shortly before
turns and weakens one (in French also "ne … pas" around it), a booster strengthens it, and the sum s becomes
s / sqrt(s² + 15).
"""

import functools
import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TURNED = -0.74
_BOOSTED = 0.293
_WINDOW = 3
_NORM = 15
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """A language's lists. `exact` and `stems` are words; `phrases` are longer and count before them."""

    exact: Mapping[str, float]
    stems: Mapping[str, float]
    phrases: Sequence[tuple[re.Pattern[str], float]]
    negation: re.Pattern[str]
    boost: re.Pattern[str]
    damp: re.Pattern[str]


def lexicon_of(rules: Mapping[str, Any]) -> Lexicon:
    """The lists of one language as the file gives them."""
    words: Mapping[str, float] = rules.get("words", {})
    phrases = rules.get("phrases", {})
    return Lexicon(
        exact={word.lower(): float(weight) for word, weight in words.items() if not word.endswith("*")},
        stems={word[:-1].lower(): float(weight) for word, weight in words.items() if word.endswith("*")},
        phrases=[
            (_any_of([phrase]), float(weight)) for phrase, weight in sorted(phrases.items(), key=lambda p: -len(p[0]))
        ],
        negation=_any_of(rules.get("negation", ())),
        boost=_any_of(rules.get("boost", ())),
        damp=_any_of(rules.get("damp", ())),
    )


def _any_of(words: Sequence[str]) -> re.Pattern[str]:
    parts = [re.escape(word.lower()).replace(r"\*", r"\w*") for word in words]
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)" if parts else r"(?!)")


def by_lists(sentence: str, lists: Lexicon) -> float:
    """A German or French sentence's score."""
    text = sentence.lower().replace("’", "'")
    total = 0.0
    for pattern, weight in lists.phrases:
        text, times = pattern.subn(lambda match: "_" * len(match.group()), text)
        total += weight * times
    found = list(_WORD.finditer(text))
    for position, match in enumerate(found):
        weight = _weight(match.group(), lists)
        if weight:
            total += _in_place(weight, text, found, position, lists)
    total *= 1 + 0.1 * min(3, sentence.count("!"))
    return total / math.sqrt(total * total + _NORM)


def _weight(word: str, lists: Lexicon) -> float:
    word = re.sub(r"^[cdjlmnstq]u?'", "", word)
    if word in lists.exact:
        return lists.exact[word]
    return next((lists.stems[word[:end]] for end in range(len(word), 2, -1) if word[:end] in lists.stems), 0.0)


def _in_place(weight: float, text: str, found: Sequence[re.Match[str]], position: int, lists: Lexicon) -> float:
    """The weight as the words before it make it; a comma ends their reach."""
    start = found[max(0, position - _WINDOW)].start()
    before = re.split(r"[,;:]", text[start : found[position].start()])[-1]
    side = 1 if weight > 0 else -1
    if lists.boost.search(before):
        weight += side * _BOOSTED * 2
    if lists.damp.search(before):
        weight -= side * _BOOSTED
    return weight * _TURNED if lists.negation.search(before) else weight


def english(sentence: str, rules: Mapping[str, Any]) -> float:
    """An English sentence's score: VADER, its lexicon corrected by the rules, phrases first."""
    text = sentence.replace("’", "'")
    extra = 0.0
    for phrase, weight in sorted(rules.get("phrases", {}).items(), key=lambda p: -len(p[0])):
        text, times = re.subn(rf"(?i)(?<!\w){re.escape(phrase)}(?!\w)", " , ", text)
        extra += float(weight) * times
    with _lock:
        analyser = _analyser(tuple(sorted(rules.get("words", {}).items())))
    compound = float(analyser.polarity_scores(text)["compound"]) if re.search(r"\w", text) else 0.0
    if not extra:
        return compound
    # VADER's last step undone, the phrases added, and done again.
    inner = compound * math.sqrt(_NORM / max(1e-6, 1 - compound * compound)) + extra
    return inner / math.sqrt(inner * inner + _NORM)


@functools.lru_cache(maxsize=8)
def _analyser(corrections: tuple[tuple[str, float], ...]) -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyser = SentimentIntensityAnalyzer()
    for word, weight in corrections:
        if weight:
            analyser.lexicon[word.lower()] = float(weight)
        else:
            analyser.lexicon.pop(word.lower(), None)
    return analyser
