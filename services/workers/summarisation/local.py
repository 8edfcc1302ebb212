# ruff: noqa: RUF001 - typographic dashes and quotation marks are what is read here
"""The local summarisation engine: picks the sentences that say most of what the others say, verbatim (LexRank)."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hocket.core.work import BadInput, Work
from hocket.documents.language import WORDS, language_of
from hocket.documents.reading import readings
from hocket.documents.sentences import sentences

MAX_SENTENCES = 400
"""Sentences compared with each other; of a longer text the beginning, for the comparison grows with the square."""
_ROUNDS = 40
_DAMPING = 0.85
_ALIKE = 0.08
_REPEATED = 0.6
_SALUTATION = re.compile(
    r"(?i)^(?:dear|hello|hi|to whom|sehr geehrte|hallo|guten tag|liebe|bonjour|madame|cher|chère|kind regards|regards|"
    r"best regards|yours|sincerely|mit freundlichen|cordialement|page \d|seite \d)\b"
)


def run(work: Work) -> dict[str, Any]:
    """Summarise the outputs of the dependencies, else the documents, else the request's text."""
    source = _source(work)
    max_words = _option(work.options, "max_words", None, 100_000)
    # Whoever gives only a number of words wants them used.
    count = _option(work.options, "sentences", 3 if max_words is None else 50, 50)
    text = "\n\n".join(body for _, body in source)
    language = language_of(text)
    found = [sentence for _, body in source for sentence in sentences(body)]
    if not found:
        raise BadInput("There is nothing to summarise: the text has no sentence.")
    chosen = _choose(found, _scores(found[:MAX_SENTENCES], language), int(count or 3), max_words)
    return {
        "summary": " ".join(item["text"] for item in chosen),
        "sentences": chosen,
        "language": language,
        "source_words": sum(len(sentence.split()) for sentence in found),
        "of": ", ".join(name for name, _ in source),
    }


def _source(work: Work) -> list[tuple[str, str]]:
    """Name and text of what is to be summarised. A mail counts by its body, its headers say nothing."""
    given = [
        (item.task_id, text)
        for item in work.inputs
        if isinstance(text := item.output.get("text"), str) and text.strip()
    ]
    if given:
        return [(name, _bodies(text)) for name, text in given]
    return [(reading.name, reading.body) for reading in readings(work)]


def _bodies(text: str) -> str:
    """The text without the mail headers that extraction puts at its head."""
    head, _, rest = text.partition("\n\n")
    if rest and all(re.match(r"(?:From|To|Cc|Date|Subject): ", line) for line in head.splitlines()):
        return rest
    return text


def _option(options: Mapping[str, Any], name: str, default: int | None, most: int) -> int | None:
    value = options.get(name, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= most:
        raise BadInput(f"The option {name} must be a number from 1 to {most}.")
    return int(value)


def _scores(found: Sequence[str], language: str) -> list[float]:
    """LexRank with a prior for the place: 1 is the most central sentence."""
    bags = [_bag(sentence, language) for sentence in found]
    weights = _weights(bags)
    vectors = [{word: times * weights[word] for word, times in bag.items()} for bag in bags]
    lengths = [math.sqrt(sum(weight * weight for weight in vector.values())) for vector in vectors]
    near: list[list[tuple[int, float]]] = [[] for _ in found]
    for one in range(len(found)):
        for other in range(one):
            alike = _cosine(vectors[one], vectors[other], lengths[one] * lengths[other])
            if alike > _ALIKE:
                near[one].append((other, alike))
                near[other].append((one, alike))
    ranks = _ranks(near)
    lead = next((position for position, sentence in enumerate(found) if _form(sentence) > 0.5), 0)
    scores = [
        rank * _place(position, lead, len(found)) * _form(sentence)
        for position, (rank, sentence) in enumerate(zip(ranks, found, strict=True))
    ]
    top = max(scores) or 1.0
    return [score / top for score in scores]


def _bag(sentence: str, language: str) -> Counter[str]:
    common = WORDS.get(language, frozenset())
    words = re.findall(r"[^\W_]{2,}", sentence.lower())
    # A crude stem: enough for plurals and German cases to meet.
    return Counter(word[:6] for word in words if word not in common)


def _weights(bags: Sequence[Counter[str]]) -> dict[str, float]:
    spread = Counter(word for bag in bags for word in bag)
    return {word: math.log(1 + len(bags) / times) for word, times in spread.items()}


def _cosine(one: Mapping[str, float], other: Mapping[str, float], lengths: float) -> float:
    if not lengths:
        return 0.0
    small, large = sorted((one, other), key=len)
    return sum(weight * large.get(word, 0.0) for word, weight in small.items()) / lengths


def _ranks(near: Sequence[Sequence[tuple[int, float]]]) -> list[float]:
    totals = [sum(alike for _, alike in others) or 1.0 for others in near]
    ranks = [1.0] * len(near)
    for _ in range(_ROUNDS):
        ranks = [
            (1 - _DAMPING) + _DAMPING * sum(ranks[other] * alike / totals[other] for other, alike in others)
            for others in near
        ]
    return ranks


def _place(position: int, lead: int, count: int) -> float:
    """Texts say what they are about in their first whole sentence, and often what they want last."""
    if position == lead:
        return 1.8
    return 1.0 + 0.3 * max(0.0, 1 - position / max(1, count * 0.25)) + (0.1 if position >= count - 2 else 0.0)


def _form(sentence: str) -> float:
    """Salutations, headings and scraps are no sentences worth quoting."""
    words = len(sentence.split())
    if _SALUTATION.match(sentence) or words < 4:
        return 0.05
    whole = sentence.rstrip("\"'”’»)").endswith((".", "!", "?", "…"))
    return (1.0 if whole else 0.4) * (0.6 if words < 6 else 1.0) * (0.7 if words > 60 else 1.0)


def _choose(found: Sequence[str], scores: Sequence[float], count: int, max_words: int | None) -> list[dict[str, Any]]:
    """The best sentences that do not repeat each other, in the order of the text."""
    taken: list[int] = []
    words = 0
    for position in sorted(range(len(scores)), key=lambda index: (-scores[index], index)):
        length = len(found[position].split())
        # One sentence must be there even if it is longer than what was asked for: half of one would be no quotation.
        fits = max_words is None or words + length <= max_words or not taken
        if fits and not any(_repeats(found[position], found[other]) for other in taken):
            taken.append(position)
            words += length
        if len(taken) == count:
            break
    return [
        {"text": found[position], "position": position, "score": round(scores[position], 4)}
        for position in sorted(taken)
    ]


def _repeats(one: str, other: str) -> bool:
    first, second = ({*re.findall(r"\w+", text.lower())} for text in (one, other))
    return len(first & second) > _REPEATED * min(len(first), len(second)) and len(first & second) > 3
