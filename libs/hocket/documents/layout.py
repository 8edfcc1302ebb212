"""Where text stands on a page: cells, rows, and reading order. Pure.

Every reader (plain text, PDF, OCR) gives the same shape, so that a label finds its value by position, to its right
or below it, whatever the document came from. Units are the reader's own; only ratios of them are compared.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_SAME_ROW = 0.55
"""Two cells share a row if their middles are closer than this part of the smaller cell's height."""
_SAME_CELL = 0.45
"""Two cells of a row are one if the gap is below this part of their height: a bold word inside a sentence."""
_COLUMN = re.compile(r"\t+|\s*\|\s*|[  ]{2,}")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A run of text and its box; y grows downwards, `page` counts from 0."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    page: int = 0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def middle(self) -> float:
        return (self.y0 + self.y1) / 2


Row = tuple[Cell, ...]


def rows_of(cells: Iterable[Cell]) -> tuple[Row, ...]:
    """Put cells into rows from top to bottom, each from left to right."""
    rows: list[list[Cell]] = []
    for cell in sorted(cells, key=lambda cell: (cell.page, cell.middle, cell.x0)):
        last = rows[-1] if rows else None
        if last is not None and last[0].page == cell.page and _share_row(last, cell):
            last.append(cell)
        else:
            rows.append([cell])
    return tuple(_joined(sorted(row, key=lambda cell: cell.x0)) for row in rows)


def _share_row(row: Sequence[Cell], cell: Cell) -> bool:
    nearest = min(row, key=lambda other: abs(other.x0 - cell.x0))
    return abs(nearest.middle - cell.middle) < _SAME_ROW * min(nearest.height, cell.height)


def _joined(row: Sequence[Cell]) -> Row:
    joined: list[Cell] = []
    for cell in row:
        last = joined[-1] if joined else None
        if last is not None and cell.x0 - last.x1 < _SAME_CELL * min(last.height, cell.height):
            joined[-1] = Cell(
                text=f"{last.text} {cell.text}",
                x0=last.x0,
                y0=min(last.y0, cell.y0),
                x1=max(last.x1, cell.x1),
                y1=max(last.y1, cell.y1),
                page=cell.page,
            )
        else:
            joined.append(cell)
    return tuple(joined)


def rows_of_text(text: str) -> tuple[Row, ...]:
    """Rows of a plain text: a run of blanks, a tab or a bar ends a cell. Empty lines leave a vertical gap."""
    rows: list[Row] = []
    for number, line in enumerate(text.splitlines()):
        if line.strip():
            rows.append(tuple(_cells_of_line(line, number)))
    return tuple(row for row in rows if row)


def _cells_of_line(line: str, number: int) -> Iterable[Cell]:
    by_index = "\t" in line or "|" in line
    at = 0
    index = 0
    for part in [*_COLUMN.split(line), ""]:
        start = line.find(part, at) if part else at
        at = start + len(part)
        if not part.strip():
            continue
        # Columns cut by tabs or bars line up by their number; columns cut by blanks by the character they start at.
        x0 = index * 40.0 if by_index else start * 0.5
        yield Cell(text=part.strip(), x0=x0, y0=number * 1.5, x1=x0 + len(part) * 0.5, y1=number * 1.5 + 1)
        index += 1


def text_of(rows: Iterable[Row]) -> str:
    """The rows as text: two blanks between cells, an empty line where a paragraph's gap or a page ends."""
    lines: list[str] = []
    previous: Row | None = None
    for row in rows:
        if previous is not None and _gap(previous, row):
            lines.append("")
        lines.append("  ".join(cell.text for cell in row))
        previous = row
    return "\n".join(lines)


def _gap(above: Row, below: Row) -> bool:
    if above[0].page != below[0].page:
        return True
    space = min(cell.y0 for cell in below) - max(cell.y1 for cell in above)
    return space > 1.1 * min(above[0].height, below[0].height)
