"""Workbooks (.xlsx): the values of each sheet, row by row, and the same as text.

Of a formula the value that was last calculated. Pictures, charts and macros are not read.
"""

from __future__ import annotations

import datetime as dt
import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import ParseError

from hocket.core.work import BadInput, Document

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MEDIA_TYPES = (MEDIA_TYPE, "application/vnd.ms-excel.sheet.macroenabled.12")
MAX_CELLS = 1_000_000
MAX_UNPACKED = 200 * 1024 * 1024

# openpyxl reports a broken workbook by any of these (its own InvalidFileException only judges names of files);
# RuntimeError: the archive is encrypted.
_BROKEN = (zipfile.BadZipFile, zlib.error, ParseError, EOFError, RuntimeError, KeyError, ValueError, OSError)
Value = str | float | dt.date
"""What stands in a cell; an empty one is an empty text."""
Sheet = tuple[str, list[tuple[Value, ...]]]
"""A sheet's title and its rows that are not empty."""


def sheets_of(document: Document) -> list[Sheet]:
    """The sheets that hold anything, in order. Raises BadInput for a broken workbook and for one that is too large."""
    import openpyxl

    try:
        with zipfile.ZipFile(io.BytesIO(document.data)) as archive:
            if sum(item.file_size for item in archive.infolist()) > MAX_UNPACKED:
                raise BadInput(f"{document.name} is too large when unpacked: send it in parts.")
        book = openpyxl.load_workbook(io.BytesIO(document.data), read_only=True, data_only=True)
        try:
            sheets = [(sheet.title, list(_rows(sheet, document.name))) for sheet in book.worksheets]
        finally:
            book.close()
    except _BROKEN as error:
        raise BadInput(f"{document.name} is not a readable workbook: save it again as .xlsx.") from error
    return [(title, rows) for title, rows in sheets if rows]


def sheets_text(document: Document) -> str:
    """One line a row, cells divided by tabs; of several sheets each under its title. Raises BadInput as sheets_of."""
    sheets = sheets_of(document)
    parts = ["\n".join("\t".join(map(_shown, row)).rstrip("\t") for row in rows) for _, rows in sheets]
    if len(parts) < 2:
        return "".join(parts)
    return "\n\n".join(f"{title}\n{part}" for (title, _), part in zip(sheets, parts, strict=True))


def _rows(sheet: Any, name: str) -> Iterator[tuple[Value, ...]]:
    cells = 0
    for row in sheet.iter_rows(values_only=True):
        cells += len(row)
        if cells > MAX_CELLS:
            raise BadInput(f"{name} has more than {MAX_CELLS} cells: send it in parts.")
        if any(value is not None for value in row):
            yield tuple(_plain(value) for value in row)


def _plain(value: Any) -> Value:
    if value is None or isinstance(value, str):
        return "" if value is None else value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, dt.datetime):
        return value.date()
    return value if isinstance(value, dt.date) else str(value)


def _shown(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.15g}"
    # A line break or a tab within a cell would pass for the end of it.
    return value.isoformat() if isinstance(value, dt.date) else " ".join(value.split())
