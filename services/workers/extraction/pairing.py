# ruff: noqa: RUF001 - typographic dashes and quotation marks are what is read here
"""Finding the value that belongs to a label: inside its cell, to its right, or below it. Pure.

The labels come from `patterns.toml`. A cell may hold several; the longest match at a place holds, so that "total" is
not seen inside "total excl. VAT".
"""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from hocket.documents.layout import Cell, Row
from services.workers.extraction.values import fold, patterns

T = TypeVar("T")

INLINE, RIGHT, BELOW = 0, 1, 2
_REACH = 3.2
"""How far below its label a value may stand, in heights of the label."""
_ALONE = frozenset({"from", "von", "de"})
"""Words too common to be a label, unless they are all that stands in a cell."""
_MARKS = " \t:.#-–—=>*|"  # what may stand between a label and its value


@dataclass(frozen=True, kw_only=True)
class Label:
    """A known label at a place. `rank` is its place in its list: 0 is the most telling."""

    field: str
    rank: int
    row: int
    column: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Found(Generic[T]):
    """A value, the source text it was read from, and where it stood."""

    value: T
    snippet: str
    rank: int
    where: int
    row: int
    end: int = 0


Reader = Callable[[str, int], tuple[T, int] | None]
"""Reads a value from the text that follows a label, told where that text stands (INLINE, RIGHT, BELOW).

It returns the value and where it ends in the text.
"""


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9#]", "", fold(text))


@patterns.built
def _lexicon() -> dict[str, tuple[str, int]]:
    """Label to (field, rank); identifiers are fields named `id:<which>`."""
    data = patterns()
    known: dict[str, tuple[str, int]] = {}
    for field, labels in [*data["labels"].items(), *((f"id:{name}", labels) for name, labels in data["ids"].items())]:
        for rank, label in enumerate(labels):
            known.setdefault(_key(label), (field, rank))
    return known


@patterns.built
def _pattern() -> re.Pattern[str]:
    data = patterns()
    labels = {fold(label) for group in ("labels", "ids") for labels in data[group].values() for label in labels}
    # OCR adds and loses blanks, hyphens and full stops, so that none of them counts.
    tolerant = [
        r"[\s.\-]*".join(re.escape(word) for word in re.split(r"[\s.\-]+", label) if word)
        for label in sorted(labels, key=len, reverse=True)
    ]
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(tolerant)})(?![a-z])")


def labels_of(rows: Sequence[Row]) -> list[Label]:
    """Every label of the rows, in reading order; those that head a table of items are left out."""
    found: list[Label] = []
    for number, row in enumerate(rows):
        if not is_header(row):
            for column, cell in enumerate(row):
                known = list(_labels_of_cell(cell, number, column))
                found += known or _misread_label(cell, number, column)
    return found


def _misread_label(cell: Cell, row: int, column: int) -> list[Label]:
    """A long label with a letter wrong, as OCR gives it, if it stands alone or before a colon."""
    head = cell.text.partition(":")[0]
    key = _key(head)
    if not 9 <= len(key) <= 30:
        return []
    near = difflib.get_close_matches(key, _long_labels(), n=1, cutoff=0.9)
    if not near:
        return []
    field, rank = _lexicon()[near[0]]
    return [Label(field=field, rank=rank, row=row, column=column, start=0, end=len(head))]


@patterns.built
def _long_labels() -> list[str]:
    return [label for label in _lexicon() if len(label) >= 9]


def _labels_of_cell(cell: Cell, row: int, column: int) -> Iterator[Label]:
    folded = fold(cell.text)
    for match in _pattern().finditer(folded):
        field, rank = _lexicon()[_key(match.group())]
        before = folded[: match.start()].strip(_MARKS + "(")
        # Inside a sentence a short word ("due", "date") is no label unless its value follows at once.
        last = not folded[match.end() :].strip(_MARKS + ")") and len(folded) < 40  # "zzgl. 19 % MwSt."
        if match.group() in _ALONE and folded.strip(_MARKS) != match.group():
            continue
        weak = bool(before) and len(match.group()) < 8 and not last
        if not weak or re.match(r"[\s:.#]{0,3}\S*\d", folded[match.end() :]):
            yield Label(field=field, rank=rank, row=row, column=column, start=match.start(), end=match.end())


@patterns.built
def _columns() -> dict[str, str]:
    return {_key(word): name for name, words in patterns()["columns"].items() for word in words}


def header_columns(row: Row) -> dict[int, str]:
    """Which cells of a row name a column of an items table."""
    named = {}
    for index, cell in enumerate(row):
        # "Unit price (EUR)" and "Amount in EUR" name the column as well as the bare word does.
        bare = re.sub(r"\(.*?\)|\bin [A-Z]{3}\b|\b(?:EUR|USD|GBP|CHF)\b|[€$£]", "", cell.text)
        name = _columns().get(_key(bare))
        if name is not None:
            named[index] = name
    return named


def is_header(row: Row) -> bool:
    """Whether a row heads a table of items: at least two columns, one of which no sum ever has."""
    named = set(header_columns(row).values())
    return len(named) >= 2 and bool(named & {"description", "quantity", "unit_price"})


def values(rows: Sequence[Row], labels: Sequence[Label], field: str, read: Reader[T]) -> Iterator[Found[T]]:
    """The value of each label of a field that has one: in its cell, else to its right, else below it."""
    for label in labels:
        if label.field == field:
            found = (
                _inline(rows, labels, label, read)
                or _right(rows, labels, label, read)
                or _below(rows, labels, label, read)
            )
            if found is not None:
                yield found


def _inline(rows: Sequence[Row], labels: Sequence[Label], label: Label, read: Reader[T]) -> Found[T] | None:
    text = rows[label.row][label.column].text
    later = (other.start for other in labels if _same_cell(other, label) and other.start >= label.end)
    rest = text[label.end : min(later, default=len(text))]
    skipped = len(rest) - len(rest.lstrip(_MARKS))
    got = read(rest[skipped:], INLINE)
    if got is None:
        return None
    snippet = text[label.start : label.end + skipped + got[1]]
    return Found(value=got[0], snippet=snippet, rank=label.rank, where=INLINE, row=label.row)


def _same_cell(one: Label, other: Label) -> bool:
    return (one.row, one.column) == (other.row, other.column)


def _right(rows: Sequence[Row], labels: Sequence[Label], label: Label, read: Reader[T]) -> Found[T] | None:
    row = rows[label.row]
    stops = [
        other.column for other in labels if other.row == label.row and other.column > label.column and other.start < 3
    ]
    cells = row[label.column + 1 : min(stops, default=len(row))]
    text = "  ".join(cell.text for cell in cells)
    skipped = len(text) - len(text.lstrip(_MARKS))
    got = read(text[skipped:], RIGHT) if text else None
    if got is None:
        return None
    snippet = f"{row[label.column].text}  {text[: skipped + got[1]]}"
    return Found(value=got[0], snippet=snippet, rank=label.rank, where=RIGHT, row=label.row)


def _below(rows: Sequence[Row], labels: Sequence[Label], label: Label, read: Reader[T]) -> Found[T] | None:
    cell = rows[label.row][label.column]
    if label.start > 2:
        return None
    for number in range(label.row + 1, len(rows)):
        row = rows[number]
        if row[0].page != cell.page or min(other.y0 for other in row) - cell.y1 > _REACH * cell.height:
            return None
        for column, under in enumerate(row):
            if not _aligned(cell, under):
                continue
            if any(other.row == number and other.column == column and other.start < 3 for other in labels):
                return None  # the next label of a list: this one has no value
            got = read(under.text, BELOW)
            if got is None:
                return None
            snippet = under.text[: got[1]]
            return Found(value=got[0], snippet=snippet, rank=label.rank, where=BELOW, row=number)
    return None


def _aligned(label: Cell, value: Cell) -> bool:
    slack = 1.5 * label.height
    left, right = abs(label.x0 - value.x0) < slack, abs(label.x1 - value.x1) < slack
    overlap = min(label.x1, value.x1) - max(label.x0, value.x0)
    return left or right or overlap > 0.5 * min(label.x1 - label.x0, value.x1 - value.x0)
