"""The local research engine: the passages of the documents that fit a question best, quoted with their place.

Ranked by BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009) with k1 = 1.2
and b = 0.75 over light stems. It finds words, not sense: a passage that says the same in other words is not found, and
what it quotes it does not weigh.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hocket.core.work import BadInput, NeedsModel, Work
from hocket.documents.language import language_of
from services.workers.research.passages import Passage, passages, sources
from services.workers.research.terms import asked_for, stem, terms_of, words

_K1 = 1.2
_B = 0.75
_RELEVANT = 0.3
"""A passage is quoted if its score is at least this part of the best one's."""
_MOST = 20
_WORDS = {
    "en": ("passages of {documents} on: {question}", "page", "paragraph", "Not found in any of them: "),
    "de": ("Stellen in {documents} zu: {question}", "Seite", "Absatz", "In keinem davon gefunden: "),
    "fr": ("passages de {documents} sur : {question}", "page", "paragraphe", "Introuvable : "),
}


def run(work: Work) -> dict[str, Any]:
    """Quote up to `options.passages` (default 5) passages on `options.question`, else on what the task asks."""
    with words.of(work.workflow):
        return _found(work)


def _found(work: Work) -> dict[str, Any]:
    found = sources(work)
    if not found:
        raise NeedsModel("Research beyond the request's own documents needs a model: none with text is attached.")
    question = _question(work)
    language = language_of(question)
    if language == "other":
        language = language_of("\n".join(source.text for source in found))
    asked = asked_for(question, language)
    if not asked:
        raise BadInput("The question has no word that could be looked for: name what you want to know.")
    ranked, missing = _ranked(passages(found), asked, language)
    if not ranked:
        names = ", ".join(source.name for source in found)
        raise NeedsModel(
            f"No passage of {names} has a word of the question ({', '.join(asked)}): finding it by its sense "
            "needs a model."
        )
    return _record(ranked[: _count(work)], question, missing, [source.name for source in found], language)


def _question(work: Work) -> str:
    """A declared workflow's instruction is the same for every request: there the request's text is the question."""
    given = work.options.get("question")
    if given is not None and not isinstance(given, str):
        raise BadInput("The option question must be a text.")
    if given and given.strip():
        return given.strip()
    if work.workflow is not None and work.text.strip():
        return work.text.strip()
    return work.instruction.strip() or work.text.strip()


def _count(work: Work) -> int:
    value = work.options.get("passages", 5)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise BadInput(f"The option passages must be a whole number from 1 to {_MOST}.")
    return value


def _ranked(
    candidates: Sequence[Passage], asked: Sequence[str], language: str
) -> tuple[list[tuple[float, Passage]], list[str]]:
    """Passages worth quoting with their scores, best first, and the words that stand nowhere."""
    bags = [_bag(passage, language) for passage in candidates]
    average = sum(bag.total() for bag in bags) / max(1, len(bags))
    wanted = {word: stem(word, language) for word in asked}
    spread = {word: sum(wanted[word] in bag for bag in bags) for word in asked}
    weights = {w: math.log(1 + (len(bags) - n + 0.5) / (n + 0.5)) for w, n in spread.items()}
    scored = []
    for passage, bag in zip(candidates, bags, strict=True):
        length = 1 - _B + _B * bag.total() / (average or 1.0)
        times = ((weights[word], bag[wanted[word]]) for word in asked)
        score = sum(weight * n * (_K1 + 1) / (n + _K1 * length) for weight, n in times if n)
        if score > 0:
            scored.append((score, passage))
    scored.sort(key=lambda pair: -pair[0])  # stable: equal ones stay in the documents' order
    missing = [word for word in asked if not spread[word]]
    return _distinct([pair for pair in scored if pair[0] >= _RELEVANT * scored[0][0]]), missing


def _bag(passage: Passage, language: str) -> Counter[str]:
    return Counter(terms_of(passage.quote, language))


def _distinct(scored: Sequence[tuple[float, Passage]]) -> list[tuple[float, Passage]]:
    """A sentence that stands in every document is quoted from the first."""
    seen: dict[str, tuple[float, Passage]] = {}
    for score, passage in scored:
        seen.setdefault(" ".join(passage.quote.split()), (score, passage))
    return list(seen.values())


def _record(
    chosen: Sequence[tuple[float, Passage]], question: str, missing: list[str], names: list[str], language: str
) -> dict[str, Any]:
    return {
        "text": _text([passage for _, passage in chosen], question, missing, names, language),
        "passages": [
            {
                "quote": passage.quote,
                "document": passage.source.name,
                "page": passage.page,
                "paragraph": passage.paragraph,
                "start": passage.start,
                "end": passage.end,
                "score": round(score, 4),
            }
            for score, passage in chosen
        ],
        "question": question,
        "missing": missing,
        "documents": names,
        "language": language,
    }


def _text(chosen: Sequence[Passage], question: str, missing: list[str], names: list[str], language: str) -> str:
    head, page, paragraph, without = _WORDS.get(language, _WORDS["en"])
    asked = " ".join(question.split())
    asked = asked if len(asked) <= 200 else f"{asked[:197]}..."
    lines = [f"{len(chosen)} {head.format(documents=', '.join(names), question=asked)}", ""]
    for number, passage in enumerate(chosen, start=1):
        place = f"{page} {passage.page}, " if passage.page is not None else ""
        words = " ".join(passage.quote.split())
        lines.append(f'{number}. "{words}" ({passage.source.name}, {place}{paragraph} {passage.paragraph})')
    if missing:
        lines += ["", without + ", ".join(missing)]
    return "\n".join(lines)
