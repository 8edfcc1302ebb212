# ruff: noqa: RUF001 - dashes and narrow blanks as they are written
"""Dates, numbers and currencies written anew as another locale writes them; everything else stays. Pure.

A value is touched only if it can be read in one way in the locale it comes from: 12 stays 12, 2026 stays 2026, and an
IBAN, a version or a telephone number is none.
"""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_NARROW = "\u202f"
_HARD = "\u00a0"
_MONTHS = {
    language: names.split()
    for language, names in {
        "en": "January February March April May June July August September October November December",
        "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    }.items()
}
_SIGNS = "€$£"
_CODES = "EUR|USD|GBP|CHF|JPY|CAD|AUD|SEK|NOK|DKK|PLN|CZK"
_CURRENCY = rf"(?:[{_SIGNS}]|\b(?:{_CODES})\b)"


@dataclass(frozen=True, kw_only=True)
class Locale:
    """How one place writes numbers (`group`, `point`), dates and currencies (`before` the amount or after it)."""

    name: str
    language: str
    group: str
    point: str
    numeric: str
    named: str
    before: bool
    groups_read: str


_EN = {"language": "en", "group": ",", "point": ".", "before": True, "groups_read": ","}
_DE = {"language": "de", "group": ".", "point": ",", "before": False, "groups_read": r"\."}
_FR = {"language": "fr", "group": _NARROW, "point": ",", "before": False, "groups_read": rf"[ {_HARD}{_NARROW}]"}
_WRITTEN: dict[str, dict[str, Any]] = {
    "en-US": {**_EN, "numeric": "{m:02}/{d:02}/{y}", "named": "{n} {d}, {y}"},
    "en-GB": {**_EN, "numeric": "{d:02}/{m:02}/{y}", "named": "{d} {n} {y}"},
    "de-DE": {**_DE, "numeric": "{d:02}.{m:02}.{y}", "named": "{d}. {n} {y}"},
    "fr-FR": {**_FR, "numeric": "{d:02}/{m:02}/{y}", "named": "{d} {n} {y}"},
}
LOCALES = {name: Locale(name=name, **how) for name, how in _WRITTEN.items()}
SHORT = {"en": "en-US", "de": "de-DE", "fr": "fr-FR"}

Change = dict[str, str]


def rewritten(text: str, source: Locale, target: Locale) -> tuple[str, list[Change]]:
    """The text as the target writes it, and every value that changed, in order."""
    changes: list[Change] = []

    def replace(match: re.Match[str]) -> str:
        kind = str(match.lastgroup)
        before = match.group()
        after = _WRITERS[kind](match, source, target)
        if after is None or after == before:
            return before
        changes.append({"kind": kind, "before": before, "after": after})
        return after

    return _pattern(source).sub(replace, text), changes


def doubtful(text: str) -> list[str]:
    """Dates such as 03/04/2026, which are other days in London than in New York."""
    return [m.group() for m in re.finditer(r"(?<![\w/])(\d{1,2})/(\d{1,2})/\d{4}(?![\w/])", text) if _either(m)]


def _either(match: re.Match[str]) -> bool:
    return int(match[1]) != int(match[2]) and max(int(match[1]), int(match[2])) <= 12


def _pattern(source: Locale) -> re.Pattern[str]:
    point = re.escape(source.point)
    number = rf"[-−]?\d{{1,3}}(?:{source.groups_read}\d{{3}})+(?:{point}\d+)?|[-−]?\d+{point}\d+"
    whole = rf"(?:{number}|[-−]?\d+)"
    months = "|".join(m for names in _MONTHS.values() for m in names)
    date = (
        r"\d{4}-\d{2}-\d{2}|\d{1,2}\.\d{1,2}\.\d{4}|\d{1,2}/\d{1,2}/\d{4}|"
        rf"\d{{1,2}}(?:\.|st|nd|rd|th|er)? (?:{months}) \d{{4}}|(?:{months}) \d{{1,2}},? \d{{4}}"
    )
    free, ends = r"(?<![\w.,/:-])", r"(?![\w/:-]|[.,]\d)"
    return re.compile(
        rf"{free}(?P<date>{date}){ends}"
        rf"|(?P<currency>(?<![\w.,]){_CURRENCY}[ {_HARD}{_NARROW}]?{whole}{ends}"
        rf"|{free}{whole}[ {_HARD}{_NARROW}]?{_CURRENCY}(?!\w))"
        rf"|{free}(?P<number>{number}){ends}",
        re.IGNORECASE,
    )


def _date(match: re.Match[str], source: Locale, target: Locale) -> str | None:
    said = match.group()
    month_first = source.name == "en-US"
    parts = [int(part) for part in re.findall(r"\d+", said)]
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", said):
            day = dt.date(*parts)
        elif "." in said and len(parts) == 3:
            day = dt.date(parts[2], parts[1], parts[0])
        elif "/" in said:
            if source.language == "en" and max(parts[:2]) > 12:
                month_first = parts[1] > 12
            day = dt.date(parts[2], parts[0], parts[1]) if month_first else dt.date(parts[2], parts[1], parts[0])
        else:
            return _named(said, parts, target)
    except ValueError:
        return None
    return target.numeric.format(d=day.day, m=day.month, y=day.year)


def _named(said: str, parts: list[int], target: Locale) -> str | None:
    small = said.casefold()
    number = next(
        (
            n
            for names in _MONTHS.values()
            for n, name in enumerate(names)
            if re.search(rf"\b{name.casefold()}\b", small)
        ),
        None,
    )
    if number is None:
        return None
    try:
        day = dt.date(parts[1], number + 1, parts[0])
    except ValueError:
        return None
    return target.named.format(d=day.day, n=_MONTHS[target.language][number], y=day.year)


def _number(match: re.Match[str], source: Locale, target: Locale) -> str | None:
    return _digits(match.group(), source, target)


def _digits(said: str, source: Locale, target: Locale) -> str:
    sign = "-" if said[:1] in "-−" else ""
    plain = re.sub(rf"[-−]|{source.groups_read}", "", said)
    whole, _, decimals = plain.partition(source.point)
    grouped = f"{Decimal(whole):,}".replace(",", target.group)
    # 1234,5 came without groups and stays without.
    kept = grouped if re.search(source.groups_read, said) else whole
    return f"{sign}{kept}{target.point}{decimals}" if decimals else f"{sign}{kept}"


def _currency(match: re.Match[str], source: Locale, target: Locale) -> str | None:
    said = match.group()
    unit = re.search(_CURRENCY, said, re.IGNORECASE)
    assert unit is not None  # noqa: S101 - the pattern that matched holds one
    amount = _digits((said[: unit.start()] + said[unit.end() :]).strip(f" {_HARD}{_NARROW}"), source, target)
    sign = unit.group()
    if not target.before:
        return f"{amount}{_HARD}{sign}"
    if sign not in _SIGNS:
        return f"{sign} {amount}"
    return f"-{sign}{amount[1:]}" if amount.startswith("-") else f"{sign}{amount}"


_Writer = Callable[[re.Match[str], Locale, Locale], str | None]
_WRITERS: dict[str, _Writer] = {"date": _date, "number": _number, "currency": _currency}


def locale_named(value: Any) -> Locale | None:
    """The locale of a name such as de, de-DE or de_DE."""
    if not isinstance(value, str):
        return None
    name = value.strip().replace("_", "-")
    known = {key.casefold(): key for key in LOCALES} | SHORT
    return LOCALES.get(known.get(name.casefold(), ""))
