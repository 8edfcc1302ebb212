# ruff: noqa: RUF001 - typographic apostrophes are what is read here
"""How a sentence feels, from -1 to 1, by lists of words, phrases and patterns: VADER with corrections for English, own
lists for German and French. Pure, apart from loading VADER's lexicon at the first English sentence.

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
    """A language's lists. `exact` and `stems` are words; phrases are longer and count before them; `patterns` are
    regular expressions that count once each; `routine` is what mails say that only ask or tell."""

    exact: Mapping[str, float]
    stems: Mapping[str, float]
    phrase: re.Pattern[str]
    phrases: Mapping[str, float]
    patterns: Sequence[tuple[re.Pattern[str], float]]
    negation: re.Pattern[str]
    boost: re.Pattern[str]
    damp: re.Pattern[str]
    routine: re.Pattern[str]

    def taken_out(self, text: str) -> tuple[str, float]:
        """The text with its phrases blanked, and what these weigh."""
        total = 0.0

        def weigh(match: re.Match[str]) -> str:
            nonlocal total
            found = match.group()
            total += self.phrases[found] if found in self.phrases else self._stem_weight(found)
            return "_" * len(found)

        text = self.phrase.sub(weigh, text)
        return text, total

    def _stem_weight(self, found: str) -> float:
        fits = [name for name in self.phrases if name.endswith("*") and found.startswith(name[:-1])]
        return self.phrases[max(fits, key=len)] if fits else 0.0

    def of_patterns(self, text: str) -> float:
        """What the patterns that the text holds weigh together."""
        return sum(weight for pattern, weight in self.patterns if pattern.search(text))


def lexicon_of(rules: Mapping[str, Any]) -> Lexicon:
    """The lists of one language as the files give them: groups first, single words and phrases on top."""
    weights = {name.lower(): float(key) for key, names in rules.get("groups", {}).items() for name in names}
    weights |= {name.lower(): float(weight) for name, weight in rules.get("words", {}).items()}
    weights |= {name.lower(): float(weight) for name, weight in rules.get("phrases", {}).items()}
    words = {name: weight for name, weight in weights.items() if " " not in name}
    phrases = {name: weight for name, weight in weights.items() if " " in name or name in rules.get("phrases", {})}
    return Lexicon(
        exact={word: weight for word, weight in words.items() if not word.endswith("*")},
        stems={word[:-1]: weight for word, weight in words.items() if word.endswith("*")},
        phrase=_any_of(sorted(phrases, key=len, reverse=True)),
        phrases=phrases,
        patterns=[(re.compile(pattern), float(weight)) for pattern, weight in rules.get("patterns", {}).items()],
        negation=_any_of(rules.get("negation", ())),
        boost=_any_of(rules.get("boost", ())),
        damp=_any_of(rules.get("damp", ())),
        routine=re.compile("|".join(rules.get("routine", ())) or "(?!)"),
    )


def _any_of(words: Sequence[str]) -> re.Pattern[str]:
    parts = [re.escape(word.lower()).replace(r"\*", r"\w*") for word in words]
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)" if parts else r"(?!)")


def by_lists(sentence: str, lists: Lexicon) -> float:
    """A German or French sentence's score."""
    text = sentence.lower().replace("’", "'")
    total = lists.of_patterns(text)
    text, phrases = lists.taken_out(text)
    total += phrases
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


def english(sentence: str, lists: Lexicon) -> float:
    """An English sentence's score: VADER, its lexicon corrected by the lists, phrases and patterns first."""
    text = sentence.replace("’", "'")
    low = text.lower()
    extra = lists.of_patterns(low)
    blanked, phrases = lists.taken_out(low)
    extra += phrases
    text = "".join(" " if mark == "_" and mark != old else old for mark, old in zip(blanked, text, strict=True))
    with _lock:
        analyser = _analyser(tuple(sorted(lists.exact.items())))
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
