"""Pages as pictures and as PDF: cells with their boxes, by PDFium where there is a text layer, by OCR where not.

PDFium is loaded at the first PDF and must not be called from two threads at once, so it has a lock. OCR runs in a
process of its own; no picture is ever decoded here.
"""

import threading
from typing import Any

from hocket.core.work import BadInput, Document
from hocket.documents.layout import Cell
from hocket.documents.scan_reader import shared

MAX_PAGES = 100
MAX_SCANNED_PAGES = 20
_WRITTEN = 20
"""A page with fewer characters of text than this is a scan."""

_pdf_lock = threading.Lock()


def cells_of_picture(document: Document) -> list[Cell]:
    """Read every frame of a PNG, JPEG or TIFF. Blocks for seconds. Raises BadInput, EngineLost."""
    return shared.read(document)


def cells_of_pdf(document: Document) -> list[Cell]:
    """Read the text layer; OCR the pages that have none. Blocks. Raises BadInput, EngineLost."""
    import pypdfium2

    with _pdf_lock:
        try:
            pdf = pypdfium2.PdfDocument(document.data)
        except pypdfium2.PdfiumError as error:
            reason = "is encrypted: send it without a password" if "password" in str(error).lower() else "is broken"
            raise BadInput(f"{document.name} is not a readable PDF: it {reason}.") from error
        try:
            if len(pdf) > MAX_PAGES:
                raise BadInput(f"{document.name} has more than {MAX_PAGES} pages: send it in parts.")
            pages = [_written(pdf[number], number) for number in range(len(pdf))]
        finally:
            pdf.close()
    scanned = [number for number, cells in enumerate(pages) if sum(len(cell.text) for cell in cells) < _WRITTEN]
    if len(scanned) > MAX_SCANNED_PAGES:
        raise BadInput(f"{document.name} has more than {MAX_SCANNED_PAGES} scanned pages: send it in parts.")
    cells = [cell for number, written in enumerate(pages) if number not in scanned for cell in written]
    return cells + (shared.read(document, scanned) if scanned else [])


def _written(page: Any, number: int) -> list[Cell]:
    text = page.get_textpage()
    top = page.get_height()
    cells: list[Cell] = []
    for index in range(text.count_rects()):
        left, bottom, right, upper = text.get_rect(index)
        words = " ".join(text.get_text_bounded(left, bottom, right, upper).split())
        if words:
            cells.append(Cell(text=words, x0=left, y0=top - upper, x1=right, y1=top - bottom, page=number))
    return cells
