"""The local extraction engine: typed fields out of invoices, receipts, mails, contracts and other texts, by rule."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hocket.core.work import Work
from hocket.documents.language import language_of
from hocket.documents.reading import Reading, readings
from services.workers.extraction.fields import fields_of, ids_of
from services.workers.extraction.items import items_of
from services.workers.extraction.pairing import labels_of
from services.workers.extraction.parties import contract_parties
from services.workers.extraction.values import amounts, dates, fold, ibans, is_month_first, patterns

MAX_LIST = 500
_LISTS = ("parties", "dates", "amounts", "emails", "phones", "ibans", "ids", "line_items")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_PHONE = re.compile(
    r"(?<![\w/.-])(?P<number>(?:\+|00)[1-9]\d{0,2}[ ().\d/-]{6,18}\d|\(\d{2,5}\) ?\d[\d -]{4,10}\d|"
    r"\d{3}[-. ]\d{3}[-. ]\d{4}|0\d(?:[ .]\d{2}){4}|"
    # National, with its area code apart: 020 7946 0018, 0431 / 123456, 0171-1234567.
    r"0[1-9]\d{1,3}(?: ?/ ?|[ -])\d{3,8}(?:[ -]\d{2,5}){0,2})(?![\w/-])(?![.,]\d)",
)
_LABELLED_PHONE = re.compile(
    r"\b(?:tel|phone|telefon|telephone|téléphone|tél|fon|mobile|mobil|portable|handy|call (?:me|us) (?:on|at)|"
    r"reach (?:me|us) (?:on|at)|"
    r"(?:rufen sie|erreichen sie|erreichbar)[^.\d\n]{0,40}|(?:joindre|appelez|joignable)[^.\d\n]{0,40}|t(?=:))\b"
    r"[.:\s]*(?P<number>[+(\d][\d ()/.-]{5,18}\d)",
    re.IGNORECASE,
)


def run(work: Work) -> dict[str, Any]:
    """Extract from everything the task was given; the first document that has a field gives it."""
    forced = work.options.get("kind")
    with patterns.of(work.workflow):
        known = patterns()["kinds"]
        return _merged([_extract(reading, forced if forced in known else None) for reading in readings(work)])


def _extract(reading: Reading, forced: str | None) -> dict[str, Any]:
    text = reading.text
    language = language_of(text)
    kind = forced or _kind(reading)
    month_first = is_month_first(text, language)
    labels = labels_of(reading.rows)
    fields, evidence = fields_of(reading, labels, kind, month_first=month_first)
    wanted = patterns()["kinds"][kind]["fields"]
    days = dates(text, month_first=month_first)
    return {
        "kind": kind,
        "text": text,
        "language": language,
        **fields,
        "parties": _parties(reading, kind, fields),
        "dates": _unique(day.date.isoformat() for day in days),
        "amounts": [
            {"text": money.text, "value": float(money.value), "currency": money.currency}
            for money in amounts(text)
            if money.exact
        ][:MAX_LIST],
        "emails": _unique(match.group().rstrip(".") for match in _EMAIL.finditer(text)),
        "phones": _phones(text),
        "ibans": ibans(text),
        "ids": _ids(reading, labels),
        "line_items": items_of(reading.rows, labels) if kind in ("invoice", "receipt") else [],
        "evidence": evidence,
        "missing": [name for name in wanted if fields.get(name) is None],
    }


def _unique(found: Any) -> list[str]:
    return list(dict.fromkeys(found))[:MAX_LIST]


def _kind(reading: Reading) -> str:
    if reading.headers:
        return "email"
    text = fold(reading.body)
    head = fold(" ".join(cell.text for row in reading.rows[:14] for cell in row))
    scores = {
        kind: sum(_times(word, text) + 2 * _times(word, head) for word in data["words"])
        for kind, data in patterns()["kinds"].items()
    }
    best = max(scores, key=lambda kind: scores[kind])
    return best if scores[best] >= 3 else "other"


def _times(word: str, text: str) -> int:
    return min(3, len(re.findall(rf"(?<![a-z]){re.escape(fold(word))}(?![a-z])", text)))


def _parties(reading: Reading, kind: str, fields: Mapping[str, Any]) -> list[str]:
    if kind == "contract":
        return contract_parties(reading.body)
    if reading.headers:
        people = [reading.headers[name] for name in ("From", "To", "Cc") if name in reading.headers]
        return _unique(person.strip() for line in people for person in re.split(r",(?![^<\"]*[\">])", line))
    return _unique(fields[name] for name in ("vendor", "customer") if fields.get(name))


def _phones(text: str) -> list[str]:
    found: list[str] = []
    for code in ibans(text):  # whose groups would pass for numbers of phones
        text = re.sub(r"[ \u00a0.-]?".join(code), " ", text)
    text = re.sub(r"[ \t]{2,}", "\n", text)  # cells that stand side by side
    for match in sorted([*_LABELLED_PHONE.finditer(text), *_PHONE.finditer(text)], key=lambda match: match.start()):
        number = match["number"].strip(" .-/")
        digits = re.sub(r"\D", "", number)
        if (
            7 <= len(digits) <= 15
            and not dates(number)
            and not any(number in other or other in number for other in found)
        ):
            found.append(number)
    return _unique(found)


def _ids(reading: Reading, labels: Sequence[Any]) -> list[dict[str, str]]:

    return ids_of(reading.rows, labels)[:MAX_LIST]


def _merged(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    merged = dict(records[0])
    for record in records[1:]:
        for name, value in record.items():
            if name in _LISTS:
                merged[name] = [*merged[name], *(item for item in value if item not in merged[name])][:MAX_LIST]
            elif merged[name] is None:
                merged[name] = value
        merged["text"] = f"{merged['text']}\n\n{record['text']}"
        merged["evidence"] = {**record["evidence"], **merged["evidence"]}
    wanted = dict.fromkeys(name for record in records for name in patterns()["kinds"][record["kind"]]["fields"])
    merged["missing"] = [name for name in wanted if merged[name] is None]
    return merged
