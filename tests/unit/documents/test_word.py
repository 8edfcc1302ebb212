"""libs/hocket/documents/word.py"""

import io
import zipfile

import pytest

from bench.invoice_pages import Text, as_docx
from hocket.core.work import BadInput, Document
from hocket.documents.reading import read


def word(data: bytes, name: str = "letter.docx") -> Document:
    return Document(name=name, media_type="", data=data)


def test_paragraphs_and_cells_come_in_order():
    texts = [
        Text(page=0, x=20, y=10, text="Rechnung & Co"),
        Text(page=0, x=20, y=20, text="Menge"),
        Text(page=0, x=80, y=20, text="Betrag"),
    ]
    rows = read(word(as_docx(texts)))[0].rows
    assert [[cell.text for cell in row] for row in rows] == [["Rechnung & Co"], ["Menge", "Betrag"]]


def test_what_is_no_word_document_is_the_clients_to_change():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("other.txt", "x")
    for data in (b"no archive", out.getvalue()):
        with pytest.raises(BadInput, match=r"letter\.docx"):
            read(word(data))


def test_entities_are_refused():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("word/document.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>")
    with pytest.raises(BadInput, match="entities"):
        read(word(out.getvalue()))
