# ruff: noqa: RUF001 - dashes, quotation marks and blanks as they stand in real tables
"""Numbers and dates as they are written in English, German and French tables. Pure.

How numbers are written is decided for a whole table, by the cells that can be read in one way only; "1,234" alone
could be either.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hocket.documents.userfiles import Rules

_LARGEST = 1e100
"""Larger ones are no quantities, and their squares would overflow."""
_LONGEST = 60
"""Characters of a cell that can be a number."""
Raw = str | float | dt.date
_BLANK = " \u00a0\u202f\u2009"
_GROUPED = {
    "en": re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"),
    "de": re.compile(r"\d{1,3}(?:[.'’]\d{3})+(?:,\d+)?|\d+(?:,\d+)?"),
    "fr": re.compile(rf"\d{{1,3}}(?:[{_BLANK}]\d{{3}})+(?:,\d+)?|\d+(?:,\d+)?"),
}
_SIGNS = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY", "%": "%"}
_CODES = ("EUR", "USD", "GBP", "CHF", "JPY", "SEK", "NOK", "DKK", "PLN", "CZK", "CAD", "AUD")
_UNIT = re.compile(rf"^(?:{'|'.join(_CODES)}|[€$£¥])\s*|\s*(?:{'|'.join(_CODES)}|[€$£¥%])$")
_DATES = (
    (re.compile(r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})(?:[T ]\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?Z?)?"), "iso"),
    (re.compile(r"(?P<y>\d{4})[-/](?P<m>\d{2})"), "iso"),
    (re.compile(r"(?P<d>\d{1,2})\.\s?(?P<m>\d{1,2})\.(?P<y>\d{4}|\d{2})"), "day first"),
    (re.compile(r"(?P<a>\d{1,2})[/-](?P<b>\d{1,2})[/-](?P<y>\d{4}|\d{2})"), "either"),
    (re.compile(r"(?:(?P<d>\d{1,2})(?:\.|st|nd|rd|th|er)?\s)?(?P<n>[^\W\d_]{3,9})\.?,?\s(?P<y>\d{4})"), "named"),
    (re.compile(r"(?P<n>[^\W\d_]{3,9})\.?\s(?P<d>\d{1,2})(?:st|nd|rd|th)?,\s(?P<y>\d{4})"), "named"),
)


words = Rules(Path(__file__).with_name("words.toml"), "analysis")
"""What the cells and headers of tables are read by."""


def is_missing(cell: Raw) -> bool:
    """Whether a cell says that there is no value."""
    return isinstance(cell, str) and cell.strip().casefold() in words()["missing"]


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number and the unit it carries."""

    value: float
    unit: str | None = None


def number(cell: Raw, locale: str) -> Number | None:
    """The number in a cell, None if there is none. Accountants' (5) and 5- are -5."""
    if isinstance(cell, dt.date):
        return None
    if isinstance(cell, float):
        return Number(value=cell) if abs(cell) < _LARGEST else None
    if len(cell) > _LONGEST:
        return None
    digits, unit, negative = _stripped(cell)
    if not _GROUPED.get(locale, _GROUPED["en"]).fullmatch(digits):
        return None
    plain = re.sub(rf"[{_BLANK}'’]", "", digits)
    plain = plain.replace(".", "").replace(",", ".") if locale in ("de", "fr") else plain.replace(",", "")
    return Number(value=-float(plain) if negative else float(plain), unit=unit)


def _stripped(cell: str) -> tuple[str, str | None, bool]:
    """The digits, the unit, and whether it is below nought."""
    text = cell.strip(_BLANK).replace("−", "-")
    negative = False
    unit = None
    for _ in range(3):  # a sign, a unit and brackets may stand in any order
        if text.startswith("(") and text.endswith(")"):
            text, negative = text[1:-1].strip(_BLANK), True
        if text[:1] in ("-", "+") or text[-1:] == "-":
            negative = negative or "-" in (text[:1], text[-1:])
            text = text.strip("+-").strip(_BLANK)
        found = _UNIT.search(text)
        if found and unit is None:
            sign = found.group().strip(_BLANK)
            unit = _SIGNS.get(sign, sign)
            text = (text[: found.start()] + text[found.end() :]).strip(_BLANK)
    return text, unit, negative


def locale_of(cells: Iterable[Raw], delimiter: str | None, language: str) -> tuple[str, bool]:
    """How a table's numbers are written, and whether that had to be guessed though it matters."""
    votes: Counter[str] = Counter()
    doubtful = False
    for cell in cells:
        if not isinstance(cell, str):
            continue
        digits, _, _ = _stripped(cell)
        able = [name for name, form in _GROUPED.items() if form.fullmatch(digits)]
        if able and not digits.isdigit():
            if "en" in able and len(able) > 1:
                doubtful = True
            elif able:
                votes.update(able)
    if votes:
        best = max(votes.values())
        able = [name for name, n in votes.items() if n == best]
        if len(able) == 1:
            return able[0], False
        return (language if language in able else "de"), False  # only the blanks differ: 1,5 is 1,5 in both
    if delimiter == ";" or language in ("de", "fr"):
        return (language if language in ("de", "fr") else "de") if doubtful else "plain", doubtful
    return "en" if doubtful else "plain", doubtful


def looks_numeric(cell: Raw) -> bool:
    """Whether a cell is a number or a date in any way of writing."""
    if not isinstance(cell, str):
        return True
    return any(number(cell, name) is not None for name in _GROUPED) or date(cell, day_first=True) is not None


def date(cell: Raw, *, day_first: bool) -> dt.date | None:
    """The date in a cell; a month alone is its first day."""
    if isinstance(cell, dt.date):
        return cell
    if isinstance(cell, float):
        return None
    for form, kind in _DATES:
        match = form.fullmatch(cell.strip())
        if match is not None:
            return _built(match.groupdict(), kind, day_first=day_first)
    return None


def _built(found: dict[str, str | None], kind: str, *, day_first: bool) -> dt.date | None:
    if kind == "either":
        a, b = found["a"], found["b"]
        found = {**found, "d": a if day_first else b, "m": b if day_first else a}
    month = _months().get((found.get("n") or "").casefold()) if kind == "named" else int(found["m"] or 0)
    year = int(found["y"] or 0)
    try:
        return dt.date(year + 2000 if year < 100 else year, month or 0, int(found.get("d") or 1))
    except ValueError:
        return None


@words.built
def _months() -> dict[str, int]:
    """Names of months and the beginnings that only one of a language's months has."""
    found: dict[str, int] = {}
    for names in words()["months"].values():
        begun = Counter(full[:n] for full in names for n in range(1, len(full) + 1))
        for number, full in enumerate(names, start=1):
            short = {full[:n]: number for n in range(1, len(full)) if begun[full[:n]] == 1}
            found = {full: number} | short | found
    return found


def day_first(cells: Sequence[Raw], locale: str) -> tuple[bool, bool]:
    """Whether 03/04 is 3 April, and whether that had to be guessed though it matters."""
    pairs = [m for c in cells if isinstance(c, str) and (m := _DATES[3][0].fullmatch(c.strip()))]
    if any(int(m["a"]) > 12 for m in pairs):
        return True, False
    if any(int(m["b"]) > 12 for m in pairs):
        return False, False
    return locale in ("de", "fr"), bool(pairs)
