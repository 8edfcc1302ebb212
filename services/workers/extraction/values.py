# ruff: noqa: RUF001 - typographic dashes and quotation marks are what is read here
"""Amounts, dates and account numbers as people write them in English, German and French. Pure.

Nothing here guesses: what cannot be read for sure is not a value.
"""

import calendar
import datetime as dt
import functools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from hocket.documents.userfiles import Rules

patterns = Rules(Path(__file__).with_name("patterns.toml"), "extraction")
"""The rules that count here: labels, months, currencies, kinds, contracts."""


def fold(text: str) -> str:
    """Lower case without accents, one character for one character, so that positions still hold."""
    return "".join(_folded(character) for character in text)


@functools.lru_cache(maxsize=4096)
def _folded(character: str) -> str:
    if character in "’‘´`":
        return "'"
    if character in "–—−‑":
        return "-"
    if character in "°º":
        return "o"
    base = unicodedata.normalize("NFD", character)[0].lower()
    return {"ß": "s", "œ": "o", "æ": "a"}.get(base, base if len(base) == 1 else character)


# --- numbers and money -------------------------------------------------------------------------------------------

_BLANK = "[ \u00a0\u202f\u2009]"
_GROUPS = {",": r"\.", r"\.": ",", _BLANK: "[.,]", "['’]": "[.,]"}
"""A thousands mark and the decimal marks that may go with it."""
_NUMBER = "|".join(
    [rf"\d{{1,3}}(?:{mark}\d{{3}})+(?:{decimal}\d{{1,2}})?(?!\d)" for mark, decimal in _GROUPS.items()]
    + [r"\d+[.,]\d{1,2}(?!\d)", r"\d+"]
)
NUMBER = re.compile(
    rf"(?<![\w.,])(?P<sign>[-−–+]{_BLANK}?)?(?P<digits>{_NUMBER})(?:[.,][-–]{{1,2}})?(?![\w])(?![.,]\d)"
)


def number(text: str) -> Decimal | None:
    """Read a text that is one number in any of the styles 1,234.56 / 1.234,56 / 1 234,56 / 1'234.56."""
    match = NUMBER.fullmatch(text.strip())
    return _decimal(match) if match else None


def _decimal(match: re.Match[str]) -> Decimal:
    digits = match["digits"]
    tail = re.search(r"[.,](\d{1,2})$", digits)
    whole = digits[: tail.start()] if tail else digits
    value = Decimal(re.sub(r"\D", "", whole) + (f".{tail[1]}" if tail else ""))
    return -value if (match["sign"] or "").strip() in ("-", "−", "–") else value


@dataclass(frozen=True, kw_only=True)
class Money:
    """An amount as it stands in a text. `exact`: with a currency or with two decimals, so surely money."""

    text: str
    value: Decimal
    currency: str | None
    exact: bool
    start: int
    end: int


@patterns.built
def _signs() -> dict[str, str]:
    return {sign.casefold(): code for code, signs in patterns()["currencies"].items() for sign in signs}


@patterns.built
def _money() -> re.Pattern[str]:
    signs = "|".join(re.escape(sign) for sign in sorted(_signs(), key=len, reverse=True))
    before = rf"(?P<before>(?<![^\W\d_])(?:{signs}){_BLANK}{{0,2}})?"
    after = rf"(?(before)|(?P<after>{_BLANK}{{0,2}}(?:{signs})(?![^\W\d_]))?)"
    body = NUMBER.pattern.replace(r"(?![\w])", r"(?!\d)")
    # A currency may touch the number ("€1,234.50", "1.234,50EUR"), anything else may not.
    body = body.replace(r"(?<![\w.,])", r"(?<![\d.,'’/-])(?<!\d[;:])")
    return re.compile(rf"{before}(?P<number>{body}){after}(?P<rate>\s?%)?", re.IGNORECASE)


_VERSION = re.compile(r"(?i)\b(?:version|release|firmware|v)\.? ?\Z")


def amounts(text: str) -> Iterator[Money]:
    """Every number of a text that can be an amount: no percentages, no parts of words, dates or longer codes."""
    taken = [(match.start(), match.end()) for match, _ in _date_matches(text, month_first=False)]
    for match in _money().finditer(text):
        sign = match["before"] or match["after"]
        start, end = match.span()
        touching = text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()
        versioned = not sign and _VERSION.search(text, max(0, start - 12), start)
        if match["rate"] or touching or versioned or any(start < upto and end > since for since, upto in taken):
            continue
        exact = bool(sign) or re.search(r"[.,](\d\d|[-–]{1,2})$", match["number"]) is not None
        yield Money(
            text=match.group().strip(),
            value=_decimal(match),
            currency=_signs()[sign.strip().casefold()] if sign else None,
            exact=exact,
            start=start,
            end=end,
        )


def currency_in(text: str) -> str | None:
    """The first currency a text names, by symbol or code."""
    words = re.finditer(r"[A-Z]{3}\b|[^\w\s]+\$|[$€£¥₹]|(?<!\w)[A-Z]{1,2}\$|Kč|zł|[Ee]uros?\b|S?Fr\.", text)
    codes = (_signs().get(match.group().casefold()) for match in words)
    return next((code for code in codes if code), None)


# --- dates -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Day:
    """A date as it stands in a text."""

    text: str
    date: dt.date
    start: int
    end: int


@patterns.built
def _months() -> dict[str, int]:
    names = enumerate(patterns()["months"].values(), start=1)
    return {fold(word): month for month, words in names for word in words}


@patterns.built
def _date_patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    names = "|".join(sorted(_months(), key=len, reverse=True))
    year, gap = r"(?P<y>\d{4}|'?\d{2}(?!\d))", r"[\s.\-/]*"
    head, tail = r"(?<![\d.,/\-])", r"(?![\d/\-]|[.,]\d)"
    return tuple(
        (kind, re.compile(head + body + tail))
        for kind, body in (
            ("ymd", r"(?P<y>\d{4})(?P<s>[-/.])(?P<m>\d{1,2})(?P=s)(?P<d>\d{1,2})"),
            ("dmy", r"(?P<d>\d{1,2})\.\s?(?P<m>\d{1,2})\.\s?(?P<y>\d{4}|\d{2})"),
            ("any", r"(?P<a>\d{1,2})(?P<s>[/-])(?P<b>\d{1,2})(?P=s)(?P<y>\d{4}|\d{2})"),
            ("name", rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th|er)?{gap}(?:of )?(?P<n>{names})(?![a-z]){gap},?\s*{year}"),
            ("name", rf"\b(?P<n>{names})\.?\s*(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[\s,.]+{year}"),
        )
    )


def dates(text: str, *, month_first: bool = False) -> list[Day]:
    """Every date of a text, in the order of the text. `month_first` reads 11/14/2026; dots are always day first."""
    found: list[Day] = []
    for match, date in _date_matches(text, month_first=month_first):
        if not any(match.start() < day.end and match.end() > day.start for day in found):
            found.append(Day(text=text[match.start() : match.end()], date=date, start=match.start(), end=match.end()))
    return sorted(found, key=lambda day: day.start)


def _date_matches(text: str, *, month_first: bool) -> Iterator[tuple[re.Match[str], dt.date]]:
    folded = fold(text)
    for kind, pattern in _date_patterns():
        for match in pattern.finditer(folded):
            parts = match.groupdict()
            if kind == "any":
                day, month = int(parts["a"]), int(parts["b"])
                # A month above 12 cannot be one, whatever the document's habit.
                if (month_first and day <= 12) or month > 12:
                    day, month = month, day
            else:
                day = int(parts["d"])
                month = _months()[parts["n"]] if kind == "name" else int(parts["m"])
            year = int(parts["y"].lstrip("'"))
            date = _date(year + 2000 if year < 100 else year, month, day)
            if date is not None:
                yield match, date


def _date(year: int, month: int, day: int) -> dt.date | None:
    if 1900 <= year <= 2100 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]:
        return dt.date(year, month, day)
    return None


def is_month_first(text: str, language: str) -> bool:
    """Decide how 04/05/2026 is meant in a document: by a date that can be read one way only, else by its origin."""
    pairs = [(int(a), int(b)) for a, b in re.findall(r"(?<![\d./-])(\d{1,2})/(\d{1,2})/\d{2,4}(?![\d/])", text)]
    if any(a > 12 for a, _ in pairs):
        return False
    if any(b > 12 for _, b in pairs):
        return True
    american = re.search(r"\bUSD\b|\bUS\$|(?<![A-Z])\$|\b[A-Z]{2} \d{5}\b|\bEIN\b|\+1[ (-]", text)
    return language == "en" and american is not None and not re.search(r"\bVAT\b|\bGBP\b|£|€", text)


# --- account numbers ---------------------------------------------------------------------------------------------

_IBAN_LENGTH = dict(
    part.split(":")
    for part in [
        "AT:20",
        "BE:16",
        "BG:22",
        "CH:21",
        "CY:28",
        "CZ:24",
        "DE:22",
        "DK:18",
        "EE:20",
        "ES:24",
        "FI:18",
        "FR:27",
        "GB:22",
        "GR:27",
        "HR:21",
        "HU:28",
        "IE:22",
        "IS:26",
        "IT:27",
        "LI:21",
        "LT:20",
        "LU:20",
        "LV:21",
        "MC:27",
        "MT:31",
        "NL:18",
        "NO:15",
        "PL:28",
        "PT:25",
        "RO:24",
        "SE:24",
        "SI:19",
        "SK:24",
        "SM:27",
        "TR:26",
    ]
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[  ]?\d{2}(?=(?P<rest>[A-Z0-9  .-]{11,45}))")


def is_iban(code: str) -> bool:
    """Whether a code without blanks has an IBAN's length and check digits (ISO 13616, mod 97)."""
    if len(code) != int(_IBAN_LENGTH.get(code[:2], "0")) or not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]+", code):
        return False
    moved = code[4:] + code[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def ibans(text: str) -> list[str]:
    """The valid IBANs of a text, without blanks. What follows one on its line is cut off by the country's length."""
    found: list[str] = []
    for match in _IBAN.finditer(text):
        code = re.sub(r"[^A-Z0-9]", "", match[0] + match["rest"])
        code = code[: int(_IBAN_LENGTH.get(code[:2], "0"))]
        if is_iban(code) and code not in found:
            found.append(code)
    return found
