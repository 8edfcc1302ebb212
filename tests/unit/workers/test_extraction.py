# ruff: noqa: E501 - tables of data read better unbroken
"""services/workers/extraction/local.py"""

import io
import json
from pathlib import Path

import fastavro.schema
import fastavro.validation
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.invoice_pages import Text, as_docx
from hocket.core.work import BadInput, Document, Input, Work
from services.workers.extraction.local import run
from tests.support import invoices

EXAMPLES = invoices.ROOT / "examples"
SCHEMA = fastavro.schema.parse_schema(json.loads((invoices.ROOT / "schemas/outputs/extraction.avsc").read_text()))


def of_file(name: str, **options) -> dict:
    return run(invoices.work((EXAMPLES / name).read_bytes(), name, "", **options))


def of_text(text: str, **options) -> dict:
    record = run(Work(task_id="extract", specialty="extraction", instruction="", text=text, options=options))
    fastavro.validation.validate(record, SCHEMA, strict=True)
    return record


def test_the_scanned_invoice_gives_exactly_what_is_printed_on_it():
    record = of_file("invoice.png")
    assert fastavro.validation.validate(record, SCHEMA, strict=True)
    expected = invoices.truth(invoices.draw.EXAMPLE)
    assert {name: record[name] for name in expected} == expected
    assert record["kind"] == "invoice"
    assert record["total_text"] == "EUR 10,620.00"
    assert record["ibans"] == ["GB29NWBK60161331926819"]
    assert {"label": "order", "value": "PO-88213"} in record["ids"]
    assert [item["amount"] for item in record["line_items"]] == [4614, 780, 450, 2820, 186]
    assert record["missing"] == []


def test_the_evidence_is_verbatim_in_the_text():
    record = of_file("invoice.png")
    assert set(record["evidence"]) == set(invoices.truth(invoices.draw.EXAMPLE))
    for field, snippet in record["evidence"].items():
        assert snippet in record["text"], field


def test_the_contract_gives_its_parties_and_number():
    record = of_file("contract.pdf")
    assert record["kind"] == "contract"
    assert record["number"] == "SA-2026-031"
    assert record["parties"] == ["Northgate Instruments Ltd", "Alder & Finch GmbH"]
    assert record["issue_date"] == "2026-09-01"
    assert [amount["value"] for amount in record["amounts"]] == [18400, 50000]


def test_the_complaint_gives_sender_order_amount_and_telephone():
    record = of_file("complaint.eml")
    assert record["kind"] == "email"
    assert record["issue_date"] == "2026-11-09"
    assert record["ids"] == [{"label": "order", "value": "KH-20418"}]
    assert record["amounts"][0] == {"text": "£1,849.00", "value": 1849.0, "currency": "GBP"}
    assert record["phones"] == ["+44 117 496 0182"]
    assert record["parties"][0].startswith("Margaret Doyle")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200, 209))
def test_other_invoices_are_read_too(seed):
    """Three languages by three layouts; `python tests/unit/workers/invoices.py 200` measures more."""
    invoice = invoices.invent(seed)
    record = run(invoices.work(invoices.picture(invoices.draw.draw_invoice(invoice, seed=seed)), kind="invoice"))
    wrong = {name for name, value in invoices.truth(invoice).items() if record[name] != value}
    assert len(wrong) <= 2, (wrong, record)
    assert not wrong & {"total", "currency"}, record


GERMAN = """Müller Maschinenbau GmbH
Hauptstraße 17, 80331 München

Rechnungsempfänger: Hansen & Söhne KG
Rechnung Nr.: 2026/00417
Rechnungsdatum: 14. Oktober 2026
Zahlbar innerhalb von 30 Tagen ohne Abzug

Beschreibung            Menge    Einzelpreis     Betrag
Beratung, je Tag            3         950,00   2.850,00
Anlieferung                 1          45,50      45,50

Zwischensumme                                  2.895,50
zzgl. 19 % MwSt.                                 550,15
Gesamtbetrag                                   3.445,65 EUR
"""
FRENCH = """Atelier Lefèvre SARL
12 rue des Lilas, 75011 Paris

Facturé à : Transports Béranger SAS
Facture n° FA-00118
Date de facture : 1er octobre 2026
Date d'échéance : 31/10/2026

Total HT      1 250,00 €
TVA 20 %        250,00 €
Net à payer   1 500,00 €
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            GERMAN,
            {"language": "de", "number": "2026/00417", "vendor": "Müller Maschinenbau GmbH", "customer": "Hansen & Söhne KG",
             "total": 3445.65, "net": 2895.5, "tax": 550.15, "currency": "EUR", "issue_date": "2026-10-14", "due_date": "2026-11-13"},
        ),
        (
            FRENCH,
            {"language": "fr", "number": "FA-00118", "vendor": "Atelier Lefèvre SARL", "customer": "Transports Béranger SAS",
             "total": 1500.0, "net": 1250.0, "tax": 250.0, "currency": "EUR", "issue_date": "2026-10-01", "due_date": "2026-10-31"},
        ),
    ],
)  # fmt: skip
def test_german_and_french_invoices_as_text(text, expected):
    record = of_text(text)
    assert {name: record[name] for name in expected} == expected
    assert record["kind"] == "invoice"


def test_a_column_headed_total_is_not_the_total():
    text = "Invoice no: 7\nDescription    Qty    Price    Total\nPen    2    1.00    2.00\nInk    1    8.00    8.00\nTotal due    $10.00"
    record = of_text(text)
    assert (record["total"], record["currency"]) == (10.0, "USD")
    assert [item["description"] for item in record["line_items"]] == ["Pen", "Ink"]


def test_what_is_not_there_is_null_and_named():
    record = of_text("Invoice 17\nThank you.", kind="invoice")
    assert record["total"] is None
    assert {"total", "currency", "due_date"} <= set(record["missing"])
    assert "total" not in record["evidence"]


def test_attachments_of_a_mail_are_read_and_merged():
    from email.message import EmailMessage

    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@x.example", "b@y.example", "Your invoice"
    message.set_content("Please find our invoice attached.")
    message.add_attachment(GERMAN.encode(), maintype="text", subtype="plain", filename="rechnung.txt")
    record = run(invoices.work(message.as_bytes(), "mail.eml", "message/rfc822"))
    assert record["number"] == "2026/00417"
    assert record["kind"] == "email"
    assert record["emails"] == ["a@x.example", "b@y.example"]


def test_html_is_read_by_its_visible_text():
    page = (
        b"<html><head><title>x</title><style>p{}</style></head><body><table><tr><td>Invoice no.</td><td>A-17</td></tr>"
    )
    page += b"<tr><td>Total due</td><td>&euro;1,200.50</td></tr></table><script>var total = 9.99</script></body></html>"
    record = run(invoices.work(page, "page.html", "text/html", kind="invoice"))
    assert (record["number"], record["total"], record["currency"]) == ("A-17", 1200.5, "EUR")
    assert "9.99" not in record["text"]


def test_a_scanned_pdf_is_rendered_and_read(tmp_path: Path):
    from PIL import Image

    out = io.BytesIO()
    Image.open(EXAMPLES / "invoice.png").convert("RGB").save(out, "PDF", resolution=150)
    record = run(invoices.work(out.getvalue(), "scan.pdf", "application/pdf"))
    assert record["total"] == 10620.0
    assert record["number"] == "INV-2026-0417"


def test_without_documents_the_inputs_are_read():
    source = Input(task_id="translate", specialty="translation", output={"text": FRENCH})
    record = run(Work(task_id="e", specialty="extraction", instruction="", text="ignored", inputs=(source,)))
    assert record["number"] == "FA-00118"


@pytest.mark.parametrize(
    ("text", "parties"),
    [
        ("between Smith and Sons Ltd and Mary Jones.", ["Smith and Sons Ltd", "Mary Jones"]),
        ("by and between (1) Harbour Ltd, a company, and (2) Smith and Sons Ltd", ["Harbour Ltd", "Smith and Sons Ltd"]),
        ("between Northgate\nInstruments Ltd, of Bristol and Alder &\nFinch GmbH, Am Markt 3", ["Northgate Instruments Ltd", "Alder & Finch GmbH"]),
        ("zwischen\nHerrn Karl Otto\nHauptstraße 5\n80331 München\nund\nReinhardt AG\nAm Markt 3", ["Herrn Karl Otto", "Reinhardt AG"]),
        ("Vermieter: Frau Ute Kern, Am Hang 2\nMieter: Kluge & Partner GbR\nMiete", ["Frau Ute Kern", "Kluge & Partner GbR"]),
        ("ENTRE :\nAtelier Lefèvre SARL\n12 rue des Lilas\nET :\nMme Claire Fontaine\n4 quai Haut", ["Atelier Lefèvre SARL", "Mme Claire Fontaine"]),
        ("Le bailleur : SCI Les Tilleuls, 3 rue Haute\nLe locataire : M. Jean Petit", ["SCI Les Tilleuls", "M. Jean Petit"]),
        ("The meeting is between nine and ten o'clock.", []),
    ],
)  # fmt: skip
def test_the_parties_of_a_contract_however_it_names_them(text, parties):
    assert of_text(text, kind="contract")["parties"] == parties


GERMAN_CONTRACT = """Dienstleistungsvertrag Nr. DV-2026-114

zwischen

Müller und Söhne Maschinenbau GmbH, Hauptstraße 17, 80331 München
(nachfolgend "Auftraggeber")

und

Reinhardt Gebäudeservice AG, Am Markt 3, 10115 Berlin

wird am 3. März 2026 folgender Vertrag geschlossen.

§ 2 Die Vergütung beträgt 1.250,00 EUR im Monat, auf DE89 3704 0044 0532 0130 00, Telefon 089 1234567.
§ 3 Der Vertrag beginnt am 01.04.2026 und kann mit einer Frist von drei Monaten gekündigt werden.
"""
FRENCH_CONTRACT = """CONTRAT DE PRESTATION N° CP-2026-07

Entre les soussignés :

La société Atelier Lefèvre SARL, 12 rue des Lilas, 75011 Paris,

et

Transports Béranger SAS, 4 quai de la Loire, 44000 Nantes,

il a été convenu ce qui suit, à Paris, le 5 mai 2026.

Article 1. Le prestataire assure l'entretien pour 1 250,00 € par an. Tél. 01 44 55 66 77
Article 2. Le contrat prend effet le 1er juin 2026. Résiliation avec préavis de trois mois.
"""


@pytest.mark.parametrize(
    ("text", "language", "number", "parties", "made", "phone"),
    [
        (GERMAN_CONTRACT, "de", "DV-2026-114", ["Müller und Söhne Maschinenbau GmbH", "Reinhardt Gebäudeservice AG"], "2026-03-03", "089 1234567"),
        (FRENCH_CONTRACT, "fr", "CP-2026-07", ["Atelier Lefèvre SARL", "Transports Béranger SAS"], "2026-05-05", "01 44 55 66 77"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("medium", ["text", "docx"])
def test_german_and_french_contracts(text, language, number, parties, made, phone, medium):
    record = of_text(text) if medium == "text" else run(invoices.work(written(text), "vertrag.docx", ""))
    assert (record["kind"], record["language"], record["number"]) == ("contract", language, number)
    assert (record["parties"], record["issue_date"], record["phones"]) == (parties, made, [phone])
    assert [amount["value"] for amount in record["amounts"]] == [1250.0]
    assert len(record["dates"]) == 2
    assert all(snippet in record["text"] for snippet in record["evidence"].values())


def written(text: str) -> bytes:
    """As a Word document."""
    return as_docx([Text(page=0, x=20, y=10.0 * n, text=line) for n, line in enumerate(text.splitlines()) if line])


RECEIPTS = {
    "en": "The Corner Store\n22 High Street, Leeds LS1 4AB\n\nRECEIPT No 00871\n14/11/2026 17:02\n\nMilk 2L     1.95\nBread     1.40\n\nTOTAL     £3.35\nCASH     £5.00\nCHANGE DUE     £1.65",
    "de": "Bäckerei Brandt\nLindenallee 4, 20255 Hamburg\n\nQuittung\nDatum: 14.11.2026  09:12\n\n2 x Brötchen     1,00\n1 x Kaffee     2,35\n\nSumme EUR     3,35\nMwSt 7 %     0,22\nBar gegeben     5,00\nRückgeld     1,65",
    "fr": "Café du Port\n3 quai des Belges, 13001 Marseille\nTICKET DE CAISSE\nLe 14/11/2026 12:31\n\n1 Café     1,95\n1 Pain     1,40\n\nTOTAL     3,35 €\ndont TVA 10 %     0,30\nEspèces     5,00\nRendu     1,65",
}


@pytest.mark.parametrize("language", RECEIPTS)
def test_receipts_in_three_languages(language):
    record = of_text(RECEIPTS[language])
    currency = "GBP" if language == "en" else "EUR"
    assert (record["kind"], record["vendor"]) == ("receipt", RECEIPTS[language].splitlines()[0])
    assert (record["total"], record["currency"], record["issue_date"]) == (3.35, currency, "2026-11-14")
    assert record["missing"] == []


@pytest.mark.parametrize(
    ("data", "name", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\nbroken", "a.png", "image/png"),
        (b"not a picture", "a.jpg", "image/jpeg"),
        (b"%PDF-1.7 garbage", "a.pdf", "application/pdf"),
        (b"garbage", "a.pdf", "application/pdf"),
        (b"", "a.txt", "text/plain"),
        (b"  \n ", "a.txt", "text/plain"),
        (b"\x00\x01\x02", "a.txt", "text/plain"),
        (b"no header at all", "a.eml", "message/rfc822"),
        (b"PK\x03\x04", "a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ],
)
def test_what_cannot_be_read_is_the_clients_to_change(data, name, media_type):
    with pytest.raises(BadInput, match=r"a\.\w+"):
        run(invoices.work(data, name, media_type))


def test_a_truncated_picture_is_bad_input():
    data = (EXAMPLES / "invoice.png").read_bytes()
    with pytest.raises(BadInput):
        run(invoices.work(data[: len(data) // 2]))


def test_an_encrypted_pdf_is_bad_input():
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, encrypt=StandardEncryption("secret"))
    canvas.drawString(72, 720, "Hidden")
    canvas.save()
    with pytest.raises(BadInput, match="password"):
        run(invoices.work(out.getvalue(), "a.pdf", "application/pdf"))


def test_a_blank_page_is_bad_input():
    from PIL import Image

    with pytest.raises(BadInput, match="No text"):
        run(invoices.work(invoices.picture(Image.new("L", (600, 800), 255))))


@given(st.text(max_size=400))
def test_any_text_gives_a_valid_record_or_bad_input(text):
    try:
        record = of_text(text, kind="invoice")
    except BadInput:
        return
    for snippet in record["evidence"].values():
        assert snippet in record["text"]


def test_the_same_document_gives_the_same_record():
    document = Document(name="complaint.eml", media_type="", data=(EXAMPLES / "complaint.eml").read_bytes())
    work = Work(task_id="e", specialty="extraction", instruction="", documents=(document,))
    assert run(work) == run(work)
