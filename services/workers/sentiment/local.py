# ruff: noqa: RUF001 - typographic apostrophes are what is read here
"""The local sentiment engine: sentence by sentence, by lists of words, in English, German and French.

Other languages need a model, and it says so.
"""

import functools
from pathlib import Path
from typing import Any

from hocket.core.work import BadInput, NeedsModel, Work
from hocket.documents.language import language_of
from hocket.documents.reading import readings
from hocket.documents.sentences import sentences
from hocket.documents.userfiles import files_of, merged_rules
from services.workers.sentiment.scoring import Lexicon, by_lists, english, lexicon_of

MAX_SENTENCES = 2_000
_REASONS = 5
_LABELLED = 0.05  # VADER's own limits of "neutral"
_STRONG, _WEAK = 0.6, 0.3
_WORDS = Path(__file__).with_name("words.toml")
_GROUPS = Path(__file__).with_name("groups.toml")
_LANGUAGES = ("en", "de", "fr")
_Files = tuple[tuple[str, int], ...]


def run(work: Work) -> dict[str, Any]:
    """Judge the mail's or text's own words: a quoted price list or a header has no sentiment."""
    found = [sentence for reading in readings(work) for sentence in sentences(reading.body)][:MAX_SENTENCES]
    if not found:
        raise BadInput("There is no sentence whose sentiment could be judged.")
    language = language_of(" ".join(found))
    files = ((str(_GROUPS), 0), *files_of(_WORDS, "sentiment", work.workflow))
    language, scores = _judged(found, language, files)
    if not language:
        raise NeedsModel("The local sentiment engine reads English, German and French, and knows no word of this text.")
    score = _overall(scores)
    label = "negative" if score <= -_LABELLED else "positive" if score >= _LABELLED else "neutral"
    return {
        "label": label,
        "score": round(score, 4),
        "intensity": _intensity(score, scores, label),
        "reasons": _reasons(found, scores, label),
        "language": language,
        "confidence": _confidence(score, label, found, _lists(files, language)),
    }


@functools.lru_cache(maxsize=24)
def _lists(files: _Files, language: str) -> Lexicon:
    return lexicon_of(merged_rules(files)[language])


def _judged(found: list[str], language: str, files: _Files) -> tuple[str, list[float]]:
    """The language that is taken, empty if none is known, and each sentence's score.

    A text too short to tell its language by is judged by the first of the three that knows a word of it.
    """
    for one in (language,) if language in _LANGUAGES else _LANGUAGES:
        score = english if one == "en" else by_lists
        lists = _lists(files, one)
        scores = [score(sentence, lists) for sentence in found]
        if language == one or any(scores):
            return one, scores
    return "", []


def _overall(scores: list[float]) -> float:
    """The mean weighted by strength: ten plain sentences of fact do not calm one angry one."""
    weight = sum(abs(score) for score in scores)
    return sum(score * abs(score) for score in scores) / weight if weight else 0.0


def _confidence(score: float, label: str, found: list[str], lists: Lexicon) -> float:
    """How sure the label is. A text in which nothing was found is surely neutral only if it says something that mails
    of routine say; else it may be a complaint in plain facts, which lists of words do not see."""
    if label != "neutral":
        return round(0.6 + 0.35 * min(1.0, abs(score) / _STRONG), 4)
    return 0.85 if any(lists.routine.search(sentence.lower().replace("’", "'")) for sentence in found) else 0.4


def _intensity(score: float, scores: list[float], label: str) -> str:
    """How strongly it is said, by the overall score and the three strongest sentences that agree with it."""
    if label == "neutral":
        return "low"
    side = sorted((abs(one) for one in scores if one * score > 0), reverse=True)[:3]
    strength = (abs(score) + sum(side) / len(side)) / 2
    return "high" if strength >= _STRONG else "medium" if strength >= _WEAK else "low"


def _reasons(found: list[str], scores: list[float], label: str) -> list[dict[str, Any]]:
    """The sentences that pull most towards the label, strongest first; for a neutral text, those that pull at all."""
    sign = {"negative": -1, "positive": 1}.get(label)
    pulling = [
        (score, position)
        for position, score in enumerate(scores)
        if abs(score) >= _LABELLED and (sign is None or score * sign > 0)
    ]
    pulling.sort(key=lambda item: (-abs(item[0]), item[1]))
    return [{"text": found[position], "score": round(score, 4)} for score, position in pulling[:_REASONS]]
