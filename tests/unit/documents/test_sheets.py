"""documents/sheets.py: a workbook's sheets as text, for models and for every local engine that reads documents."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from email.message import EmailMessage

import pytest

from hocket.contracts.specialties import load_specialties
from hocket.core.work import BadInput, Document, Work
from hocket.documents import sheets
from hocket.documents.reading import read
from services.workers.extraction.local import run as extract
from services.workers.question import question_of
from services.workers.research.local import run as research
from services.workers.translation.local import run as translate

ORDERS = [
    ["Item", "Sold on", "Amount", "Note"],
    ["Bolts", dt.datetime(2026, 3, 2), 12.5, "two\nlines"],  # noqa: DTZ001 - as a workbook has it
    [],
    ["Nuts", dt.date(2026, 3, 9), 7, None],
]
TEXT = "Item\tSold on\tAmount\tNote\nBolts\t2026-03-02\t12.5\ttwo lines\nNuts\t2026-03-09\t7"


def workbook(**given: list[list[object]]) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for title, rows in given.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def document(data: bytes, media_type: str = "") -> Document:
    return Document(name="sales.xlsx", media_type=media_type, data=data)


@pytest.mark.parametrize("media_type", ["", sheets.MEDIA_TYPE, "application/octet-stream"])
def test_a_sheet_is_read_row_by_row(media_type: str) -> None:
    given = document(workbook(Orders=ORDERS, Empty=[]), media_type)
    assert sheets.sheets_text(given) == TEXT
    [reading] = read(given)
    assert [[cell.text for cell in row] for row in reading.rows] == [line.split("\t") for line in TEXT.splitlines()]


def test_of_several_sheets_each_stands_under_its_title() -> None:
    text = sheets.sheets_text(document(workbook(Orders=ORDERS, Staff=[["Ann"], ["Ben"]])))
    assert text == f"Orders\n{TEXT}\n\nStaff\nAnn\nBen"


def test_models_get_the_text_of_a_workbook() -> None:
    task = Work(task_id="t", specialty="analysis", instruction="Why?", documents=(document(workbook(Orders=ORDERS)),))
    asked = question_of(load_specialties()["analysis"], task)
    assert "Bolts" in asked.call.prompt
    assert "2026-03-02" in asked.call.prompt
    assert "cannot be shown" not in asked.call.prompt
    assert any("Nuts" in text for text in asked.texts), "the checks look at it"


def test_local_engines_that_read_documents_read_workbooks() -> None:
    rows = [["Invoice number", "INV-2026-77"], ["The warranty period is", "24 months"], ["Total", "119.00 EUR"]]
    given = (document(workbook(Sheet=rows)),)

    def work(instruction: str, **more: object) -> Work:
        return Work(task_id="t", specialty="x", instruction=instruction, documents=given, options=dict(more))

    assert extract(work("Read it."))["number"] == "INV-2026-77"
    assert "24 months" in str(research(work("How long is the warranty period?"))["passages"])
    assert "INV-2026-77" in translate(work("Convert it.", to="html"))["text"]


def test_a_workbook_that_is_attached_to_a_mail_is_read_too() -> None:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "a@example.com", "Orders"
    mail.set_content("See the sheet.")
    main, sub = sheets.MEDIA_TYPE.split("/")
    mail.add_attachment(workbook(Orders=ORDERS), maintype=main, subtype=sub, filename="orders.xlsx")
    found = read(Document(name="m.eml", media_type="message/rfc822", data=mail.as_bytes()))
    assert [r.name for r in found] == ["m.eml", "orders.xlsx"]
    assert "Nuts" in found[1].text


def test_what_is_no_workbook_or_too_large_is_the_clients_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = workbook(Orders=ORDERS)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(out, "w") as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name)[:-20] if "sheet1" in name else source.read(name))
    for broken in (b"no archive", whole[:-30], out.getvalue()):
        with pytest.raises(BadInput, match=r"sales\.xlsx is not a readable workbook"):
            read(document(broken))
    monkeypatch.setattr(sheets, "MAX_CELLS", 7)
    with pytest.raises(BadInput, match="more than 7 cells"):
        read(document(whole))
