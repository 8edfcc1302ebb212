"""The text of a Word document (.docx): its paragraphs and tables in order, cells of a row divided by tabs. Pure.

Only the parts with text are unpacked, and never more than `MAX_UNPACKED` bytes of them, whatever the archive claims.
Headers come first and footers last. Text boxes are read where they are anchored; pictures are not.
"""

import io
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from hocket.core.work import BadInput, Document

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
MAX_UNPACKED = 40 * 1024 * 1024
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def word_text(document: Document) -> str:
    """Raises BadInput for what is no Word document, and for one that unpacks to too much."""
    try:
        with zipfile.ZipFile(io.BytesIO(document.data)) as packed:
            names = packed.namelist()
            if "word/document.xml" not in names:
                raise BadInput(f"{document.name} is not a Word document (.docx).")
            parts = [
                *sorted(n for n in names if n.startswith("word/header") and n.endswith(".xml")),
                "word/document.xml",
                *sorted(n for n in names if n.startswith("word/footer") and n.endswith(".xml")),
            ]
            return "\n".join(_part(packed, name, document.name) for name in parts)
    except (zipfile.BadZipFile, ET.ParseError, RuntimeError, EOFError, OSError) as error:
        # RuntimeError: the archive is encrypted
        raise BadInput(
            f"{document.name} is not a readable Word document: save it again, without a password."
        ) from error


def _part(packed: zipfile.ZipFile, name: str, title: str) -> str:
    with packed.open(name) as opened:
        data = opened.read(MAX_UNPACKED + 1)
    if len(data) > MAX_UNPACKED:
        raise BadInput(f"{title} unpacks to more than {MAX_UNPACKED // 1024 // 1024} MB: send it in parts.")
    if b"<!DOCTYPE" in data[:2048] or b"<!ENTITY" in data:
        raise BadInput(f"{title} is not a Word document: its parts declare entities, which Word's never do.")
    root = ET.fromstring(data)  # noqa: S314 - no entities, and bounded
    body = root.find(f"{_W}body")
    return "\n".join(_blocks(root if body is None else body))


def _blocks(parent: ET.Element) -> Iterator[str]:
    for child in parent:
        if child.tag == f"{_W}p":
            yield _line(child)
        elif child.tag == f"{_W}tbl":
            for row in child.iter(f"{_W}tr"):
                yield "\t".join(" ".join(_blocks(cell)).strip() for cell in row.findall(f"{_W}tc"))
        elif child.tag in (f"{_W}sdt", f"{_W}sdtContent"):
            yield from _blocks(child)


def _line(paragraph: ET.Element) -> str:
    """The runs of a paragraph; what a change deleted is not `w:t` but `w:delText`, and so stays out."""
    skipped = {id(inner) for fallback in paragraph.iter(_FALLBACK) for inner in fallback.iter()}
    parts: list[str] = []
    for element in paragraph.iter():
        if id(element) in skipped:
            continue
        if element.tag == f"{_W}t":
            parts.append(element.text or "")
        elif element.tag == f"{_W}tab":
            parts.append("\t")
        elif element.tag in (f"{_W}br", f"{_W}cr"):
            parts.append("\n")
    return "".join(parts)
