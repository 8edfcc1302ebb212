"""The typed fields of a document, each with the place it was read from. Pure."""

import datetime as dt
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeVar

from hocket.documents.layout import Row
from hocket.documents.reading import Reading
from services.workers.extraction.pairing import INLINE, RIGHT, Found, Label, Reader, values
from services.workers.extraction.parties import customer_of, vendor_of
from services.workers.extraction.values import Money, amounts, currency_in, dates, fold, patterns

T = TypeVar("T")
_TOKEN = re.compile(r"(?:[A-Za-z]{1,8}[-/. ]{0,2})?[A-Za-z0-9]*\d[A-Za-z0-9]*(?:[-/_.]+[A-Za-z0-9]+)*")
_NAMES = ("number", "vendor", "customer", "total", "total_text", "net", "tax", "currency", "issue_date", "due_date")


def fields_of(
    reading: Reading, labels: Sequence[Label], kind: str, *, month_first: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields (null where not found) and, for each one found, the exact text it was read from."""
    rows = reading.rows
    found: dict[str, Found[Any] | None] = {"number": _first(values(rows, labels, "number", token_of))}
    if kind in ("invoice", "receipt"):
        found["customer"] = customer_of(rows, labels)
        customer = found["customer"].value if found["customer"] else None
        found["vendor"] = vendor_of(rows, labels, customer)
    found |= _sums(rows, labels)
    found |= _days(reading, labels, kind, month_first=month_first)
    record: dict[str, Any] = dict.fromkeys(_NAMES)
    evidence = {name: item.snippet for name, item in found.items() if item is not None}
    for name, item in found.items():
        if item is not None:
            value = item.value
            record[name] = float(value.value) if isinstance(value, Money) else value
    total = found.get("total")
    if total is not None:
        record["total_text"] = total.value.text
    record["currency"], source = _currency(reading.text, total.value if total else None, kind)
    if source:
        evidence["currency"] = source
    return record, evidence


def ids_of(rows: Sequence[Row], labels: Sequence[Label]) -> list[dict[str, str]]:
    """Every labelled identifier: order, customer, tax and reference numbers."""
    found = []
    for field in dict.fromkeys(label.field for label in labels if label.field.startswith("id:")):
        for item in values(rows, labels, field, token_of):
            one = {"label": field.removeprefix("id:"), "value": item.value}
            if one not in found:
                found.append(one)
    return found


def _first(found: Any) -> Any:
    return min(found, key=lambda item: (item.rank, item.where), default=None)


def token_of(text: str, where: int) -> tuple[str, int] | None:
    """A `Reader` for numbers of documents: a word with a digit in it that is neither a date nor a sum."""
    del where
    match = _TOKEN.match(text)
    if match is None:
        return None
    token = match.group().rstrip(".-/")
    if any(day.start == 0 for day in dates(text)) or re.match(r"\s?[€$£%]|[.,]\d", text[len(token) :]):
        return None
    return token, len(token)


def money_of(text: str, where: int) -> tuple[Money, int] | None:
    """A `Reader` for sums: the last one of a row, the first one of a sentence."""
    found = list(amounts(text))
    exact = [money for money in found if money.exact]
    usable = exact or (found if where != INLINE else [])
    if not usable:
        return None
    prose = where == INLINE and len(re.findall(r"[^\W\d_]{2,}", text)) > 4
    if prose and usable[0].start > 25:
        return None
    chosen = usable[0] if prose else usable[-1]
    return chosen, chosen.end


def _sums(rows: Sequence[Row], labels: Sequence[Label]) -> dict[str, Found[Money] | None]:
    """Total, net and tax; where several totals offer themselves, the one that is net plus tax."""
    totals = list(values(rows, labels, "total", money_of))
    nets = list(values(rows, labels, "net", money_of))
    taxes = list(values(rows, labels, "tax", money_of))
    for net in _ranked(nets):
        for tax in _ranked(taxes):
            for total in _ranked(totals):
                if (
                    tax.value.value < net.value.value
                    and tax.value.value
                    and abs(net.value.value + tax.value.value - total.value.value) < Decimal("0.015")
                ):
                    return {"total": total, "net": net, "tax": tax}
    return _third(rows, {"total": _top(totals), "net": _top(nets), "tax": _top(taxes)})


def _third(rows: Sequence[Row], known: dict[str, Found[Money] | None]) -> dict[str, Found[Money] | None]:
    """With two of total, net and tax known, the third is the printed amount that their sum or difference gives."""
    missing = [name for name, item in known.items() if item is None]
    if len(missing) != 1:
        return known
    of = {name: item.value.value for name, item in known.items() if item is not None}
    wanted = of["net"] + of["tax"] if missing == ["total"] else of["total"] - of.get("net", of.get("tax", Decimal(0)))
    if wanted <= 0:
        return known
    for number, row in reversed(list(enumerate(rows))):
        for cell in row:
            for money in amounts(cell.text):
                if money.exact and money.value == wanted:
                    found = Found(value=money, snippet=money.text, rank=9, where=INLINE, row=number)
                    return {**known, missing[0]: found}
    return known


def _ranked(found: Sequence[Found[T]]) -> list[Found[T]]:
    return sorted(found, key=lambda item: (item.rank, item.where, -item.row))[:12]


def _top(found: Sequence[Found[T]]) -> Found[T] | None:
    return next(iter(_ranked(found)), None)


def _currency(text: str, total: Money | None, kind: str) -> tuple[str | None, str | None]:
    """The total's own currency, else the one most amounts have, else the first that is named."""
    if total is not None and total.currency:
        return total.currency, total.text
    named = [money for money in amounts(text) if money.currency]
    if named:
        counts: dict[str, int] = {}
        for money in named:
            counts[str(money.currency)] = counts.get(str(money.currency), 0) + 1
        code = max(counts, key=lambda code: counts[code])
        return code, next(money.text for money in named if money.currency == code)
    code_named = currency_in(text) if total is not None or kind in ("invoice", "receipt") else None
    if code_named is None:
        return None, None
    signs = patterns()["currencies"][code_named]
    return code_named, next((sign for sign in signs if sign in text), None)


def _days(reading: Reading, labels: Sequence[Label], kind: str, *, month_first: bool) -> dict[str, Found[str] | None]:
    read = _day_reader(month_first=month_first)
    said = [*patterns()["terms"]["issued"], *(patterns()["contract"]["made"] if kind == "contract" else ())]
    issued = _first(values(reading.rows, labels, "issue_date", read))
    issued = issued or _said_day(reading.text, said, month_first=month_first)
    due = _first(values(reading.rows, labels, "due_date", read))
    if kind == "email" and issued is None:
        issued = _mail_date(reading)
    if issued is None and kind != "email":
        issued = _only_day(reading, due, month_first=month_first)
    if due is None and issued is not None and kind in ("invoice", "receipt"):
        due = _by_terms(reading.text, issued.value)
    return {"issue_date": issued, "due_date": due}


def _day_reader(*, month_first: bool) -> Reader[str]:
    def read(text: str, where: int) -> tuple[str, int] | None:
        found = dates(text, month_first=month_first)
        near = 40 if where == RIGHT else 18
        if not found or found[0].start > near:
            return None
        return found[0].date.isoformat(), found[0].end

    return read


def _mail_date(reading: Reading) -> Found[str] | None:
    header = reading.headers.get("Date", "")
    found = dates(header)
    if not found:
        return None
    return Found(value=found[0].date.isoformat(), snippet=found[0].text, rank=9, where=INLINE, row=0)


def _said_day(text: str, said: Sequence[str], *, month_first: bool) -> Found[str] | None:
    """ "our invoice 4711 dated 3 May 2026": a date that follows such words within a sentence."""
    folded = fold(text)
    for pattern in said:
        for match in re.finditer(fold_pattern(pattern), folded):
            found = [
                day for day in dates(text[match.end() : match.end() + 30], month_first=month_first) if not day.start
            ]
            if found:
                snippet = text[match.start() : match.end() + found[0].end]
                return Found(value=found[0].date.isoformat(), snippet=snippet, rank=9, where=INLINE, row=0)
    return None


def _only_day(reading: Reading, due: Found[str] | None, *, month_first: bool) -> Found[str] | None:
    """An unlabelled date is the date of issue if it is the only one beside the due date."""
    found = {day.date.isoformat(): day.text for day in dates(reading.text, month_first=month_first)}
    if due is not None:
        found.pop(due.value, None)
    if len(found) != 1:
        return None
    date, text = next(iter(found.items()))
    return Found(value=date, snippet=text, rank=9, where=INLINE, row=0)


def _by_terms(text: str, issued: str) -> Found[str] | None:
    """The due date that terms of payment give: "net 30", "zahlbar innerhalb von 14 Tagen", "à 30 jours"."""
    folded = fold(text)
    for pattern in patterns()["terms"]["days"]:
        match = re.search(fold_pattern(pattern), folded)
        if match and int(match[1]) <= 180:
            due = dt.date.fromisoformat(issued) + dt.timedelta(days=int(match[1]))
            return Found(value=due.isoformat(), snippet=text[match.start() : match.end()], rank=9, where=INLINE, row=0)
    for pattern in patterns()["terms"]["at_once"]:
        match = re.search(fold_pattern(pattern), folded)
        if match:
            return Found(value=issued, snippet=text[match.start() : match.end()], rank=9, where=INLINE, row=0)
    return None


def fold_pattern(pattern: str) -> str:
    """A regular expression for folded text: letters folded, escapes (`\\S`, `\\D`) left alone."""
    return "".join(part if part.startswith("\\") else fold(part) for part in re.split(r"(\\.)", pattern))
