"""Tables out of CSV and XLSX: which character divides, where the header stands, which rows only add up others."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hocket.core.work import BadInput, Document, Work
from hocket.documents.sheets import MAX_CELLS, sheets_of
from hocket.documents.sheets import MEDIA_TYPES as XLSX_TYPES
from services.workers.analysis.values import Raw, is_missing, looks_numeric, words
from services.workers.texts import decoded

MAX_COLUMNS = 200
CSV_TYPES = ("text/csv", "text/tab-separated-values", "application/csv")
_DELIMITERS = (",", ";", "\t", "|")
_DIVIDES = 0.5
"""A character that divides fewer lines than this share of them is no delimiter beside another."""
_HEADER_WITHIN = 20
"""In how many rows the header must stand: titles and dates may come before it."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as it was sent: text as text, a workbook's numbers and dates as such."""

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[Raw, ...], ...]
    delimiter: str | None = None
    notes: tuple[str, ...] = ()


def tables(work: Work) -> list[Table]:
    """The tables among the task's documents, in order. Raises BadInput for one that is broken or too large."""
    found: list[Table] = []
    for document in work.documents:
        kind = _kind(document)
        if kind == "csv":
            found.append(of_csv(document.name, decoded(document)))
        elif kind == "xlsx":
            found += of_workbook(document)
    return [table for table in found if table.rows]


def _kind(document: Document) -> str | None:
    declared = document.media_type.partition(";")[0].strip().lower()
    name = document.name.lower()
    if document.data.startswith(b"PK") and (declared in XLSX_TYPES or name.endswith((".xlsx", ".xlsm"))):
        return "xlsx"
    if declared in XLSX_TYPES or name.endswith(".xls"):
        raise BadInput(f"{document.name} is not an .xlsx workbook: save it as .xlsx or .csv.")
    # A browser on Windows declares a CSV as Excel's own.
    return "csv" if declared in CSV_TYPES or name.endswith((".csv", ".tsv")) else None


def of_csv(name: str, text: str) -> Table:
    """The table in a CSV text."""
    first, _, rest = text.partition("\n")
    said = first.strip().lower()
    if said.startswith("sep=") and len(said) == 5:  # Excel's own first line
        delimiter, text = said[4], rest
    else:
        delimiter = _delimiter(text)
    return _table(name, _parsed(text, delimiter), delimiter=delimiter)


def _parsed(text: str, delimiter: str) -> list[tuple[Raw, ...]]:
    csv.field_size_limit(1_000_000)
    try:
        return [tuple(field.strip() for field in row) for row in csv.reader(io.StringIO(text), delimiter=delimiter)]
    except csv.Error as error:
        raise BadInput(f"The CSV cannot be read: {error}. Check its quotation marks.") from error


def _delimiter(text: str) -> str:
    """The character that divides most lines into one and the same number of fields; of several, the most fields.

    A comma that only ever stands between digits is a decimal one, if another character divides the lines.
    """
    sample = "\n".join(text.splitlines()[:200])

    decimal = re.search(r"(?<!\d),|,(?!\d)", sample) is None

    def fit(delimiter: str) -> tuple[bool, float, int, float]:
        widths = Counter(len(row) for row in csv.reader(io.StringIO(sample), delimiter=delimiter) if row)
        width, times = max(((w, n) for w, n in widths.items() if w > 1), key=lambda pair: pair[1], default=(1, 0))
        share = times / max(1, widths.total())
        return (share >= _DIVIDES and not (decimal and delimiter == ","), round(share, 1), width, share)

    return max(_DELIMITERS, key=fit)


def of_workbook(document: Document) -> list[Table]:
    """One table per sheet that has one; of a formula the value that was last calculated."""
    filled = sheets_of(document)
    if len(filled) == 1:
        return [_table(document.name, filled[0][1])]
    return [_table(f"{document.name}, {title}", rows) for title, rows in filled]


def _table(name: str, rows: Sequence[tuple[Raw, ...]], delimiter: str | None = None) -> Table:
    rows = [row for row in rows if any(not is_missing(cell) for cell in row)]
    if sum(len(row) for row in rows) > MAX_CELLS:
        raise BadInput(f"{name} has more than {MAX_CELLS} cells: send it in parts.")
    top = _header_at(rows)
    if top is None:
        width = max((len(row) for row in rows), default=0)
        header, body = tuple(f"column {n}" for n in range(1, width + 1)), rows
    else:
        header, body = _names(rows[top]), rows[top + 1 :]
        width = len(header)
    if width > MAX_COLUMNS:
        raise BadInput(f"{name} has more than {MAX_COLUMNS} columns: send the ones that matter.")
    notes = [] if top is not None else [f"{name} has no header; its columns are named by their number."]
    kept = [row for row in body if not _adds_up(row)]
    if len(kept) < len(body):
        notes.append(f"{name}: {len(body) - len(kept)} total row(s) left out.")
    if any(len(row) > width and any(not is_missing(cell) for cell in row[width:]) for row in kept):
        notes.append(f"{name}: cells to the right of the last header were left out.")
    squared = tuple((*row[:width], *([""] * (width - len(row)))) for row in kept)
    return Table(name=name, header=header, rows=squared, delimiter=delimiter, notes=tuple(notes))


def _header_at(rows: Sequence[tuple[Raw, ...]]) -> int | None:
    """The first row as wide as most, if nothing in it is a number or a date."""
    widths = Counter(_width(row) for row in rows[:200])
    usual = max(widths, key=lambda width: (widths[width], width), default=0)
    for number, row in enumerate(rows[:_HEADER_WITHIN]):
        if _width(row) >= max(1, usual - 1) and (usual < 2 or sum(not is_missing(cell) for cell in row) > usual / 2):
            return None if any(looks_numeric(cell) for cell in row) else number
    return None


def _width(row: tuple[Raw, ...]) -> int:
    return max((n for n, cell in enumerate(row, start=1) if not is_missing(cell)), default=0)


def _names(row: tuple[Raw, ...]) -> tuple[str, ...]:
    """Every column with a name of its own."""
    names: list[str] = []
    for number, cell in enumerate(row[: _width(row)], start=1):
        name = " ".join(str(cell).split()) or f"column {number}"
        names.append(name if name not in names else f"{name} ({number})")
    return tuple(names)


def _adds_up(row: tuple[Raw, ...]) -> bool:
    first = next((cell for cell in row if not is_missing(cell)), "")
    return isinstance(first, str) and first.casefold().rstrip(":").strip() in words()["totals"]
