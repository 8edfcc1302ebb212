# ruff: noqa: E501 - tables of data read better unbroken
"""Draw the example documents again: `python examples/draw.py`. The same seed gives the same pages.

`draw_invoice` also draws others, in three languages and three layouts, for tests and for measuring extraction.
"""

import datetime as dt
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reportlab
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1240, 1754  # A4 at 150 dpi
LEFT, RIGHT = 110, 1130

LABELS = {
    "en": {
        "title": "INVOICE", "number": "Invoice no.", "date": "Invoice date", "due": "Due date", "order": "Order no.",
        "to": "Bill to", "description": "Description", "quantity": "Qty", "price": "Unit price", "amount": "Amount",
        "net": "Subtotal", "tax": "VAT {rate} %", "total": "Total due", "pay": "Please transfer the amount to:",
        "thanks": "Thank you for your business.",
    },
    "de": {
        "title": "RECHNUNG", "number": "Rechnungsnummer", "date": "Rechnungsdatum", "due": "Fällig am",
        "order": "Bestellnummer", "to": "Rechnungsempfänger", "description": "Beschreibung", "quantity": "Menge",
        "price": "Einzelpreis", "amount": "Betrag", "net": "Nettobetrag", "tax": "MwSt. {rate} %",
        "total": "Gesamtbetrag", "pay": "Bitte überweisen Sie den Betrag auf:", "thanks": "Vielen Dank für Ihren Auftrag.",
    },
    "fr": {
        "title": "FACTURE", "number": "Facture n°", "date": "Date de facture", "due": "Date d'échéance",
        "order": "N° de commande", "to": "Facturé à", "description": "Désignation", "quantity": "Qté",
        "price": "Prix unitaire", "amount": "Montant HT", "net": "Total HT", "tax": "TVA {rate} %",
        "total": "Total TTC", "pay": "Merci de régler par virement :", "thanks": "Nous vous remercions de votre confiance.",
    },
}  # fmt: skip
MONTHS = {
    "en": [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
    "de": [
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ],
    "fr": [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ],
}
MARKS = {"en": (",", "."), "de": (".", ","), "fr": (" ", ",")}


@dataclass(frozen=True, kw_only=True)
class Invoice:
    """What is printed; amounts in cents."""

    vendor: str
    vendor_address: tuple[str, ...]
    customer: str
    customer_address: tuple[str, ...]
    number: str
    order: str
    issued: dt.date
    due: dt.date
    items: tuple[tuple[str, int, int], ...]  # description, quantity, price of one
    tax_rate: int
    iban: str
    currency: str = "EUR"
    language: str = "en"
    layout: str = "classic"  # classic | boxes | letter
    dates: str = "long"  # long | dots | slashes | iso

    @property
    def net(self) -> int:
        return sum(quantity * price for _, quantity, price in self.items)

    @property
    def tax(self) -> int:
        return round(self.net * self.tax_rate / 100)

    @property
    def total(self) -> int:
        return self.net + self.tax


EXAMPLE = Invoice(
    vendor="Northgate Instruments Ltd",
    vendor_address=("14 Harbour Road, Bristol BS1 5TY", "United Kingdom", "accounts@northgate-instruments.example", "VAT no. GB 482 1179 03"),
    customer="Alder & Finch GmbH",
    customer_address=("Attn. Accounts Payable", "Lindenstrasse 22", "10969 Berlin", "Germany"),
    number="INV-2026-0417",
    order="PO-88213",
    issued=dt.date(2026, 10, 15),
    due=dt.date(2026, 11, 14),
    items=(
        ("Pressure transmitter PT-300, 0-16 bar", 12, 38_450),
        ("Calibration certificate ISO 17025", 12, 6_500),
        ("Mounting bracket, stainless steel", 24, 1_875),
        ("Commissioning on site, per day", 3, 94_000),
        ("Freight and insurance", 1, 18_600),
    ),
    tax_rate=20,
    iban="GB29 NWBK 6016 1331 9268 19",
)  # fmt: skip


def money(cents: int, language: str) -> str:
    group, point = MARKS[language]
    whole, rest = divmod(cents, 100)
    return f"{whole:,}".replace(",", group) + f"{point}{rest:02d}"


def day(date: dt.date, invoice: Invoice) -> str:
    name = MONTHS[invoice.language][date.month - 1]
    return {
        "long": f"{date.day}{'.' if invoice.language == 'de' else ''} {name} {date.year}",
        "dots": f"{date:%d.%m.%Y}",
        "slashes": f"{date:%d/%m/%Y}",
        "iso": date.isoformat(),
    }[invoice.dates]


def font(size: int, language: str, *, bold: bool = False) -> Any:
    """Pillow's own font for English; reportlab's Vera, which has accents, for the others."""
    if language == "en":
        return ImageFont.load_default(size)
    name = "VeraBd.ttf" if bold else "Vera.ttf"
    return ImageFont.truetype(str(Path(reportlab.__file__).parent / "fonts" / name), round(size * 0.86))


class Sheet:
    """A page under the pen."""

    def __init__(self, language: str) -> None:
        self.image = Image.new("L", (WIDTH, HEIGHT), 252)
        self.pen = ImageDraw.Draw(self.image)
        self.language = language

    def write(self, x: int, y: int, text: str, size: int = 22, *, right: bool = False, bold: bool = False) -> None:
        self.pen.text(
            (x, y), text, font=font(size, self.language, bold=bold), fill=25, anchor="ra" if right else "la",
            stroke_width=0.4 if bold and self.language == "en" else 0, stroke_fill=25,
        )  # fmt: skip

    def line(self, y: int, left: int = LEFT, right: int = RIGHT, width: int = 1) -> None:
        self.pen.line((left, y, right, y), fill=90, width=width)


def draw_invoice(invoice: Invoice, *, seed: int = 1, skew: float = 1.5, noise: float = 1.0) -> Image.Image:
    """The page as a scanner gives it: turned by `skew` degrees, a little blurred, with specks and a shadow."""
    sheet = Sheet(invoice.language)
    labels = LABELS[invoice.language]
    y = {"classic": _head_classic, "boxes": _head_boxes, "letter": _head_letter}[invoice.layout](sheet, invoice, labels)
    y = _items(sheet, invoice, labels, y)
    y = _sums(sheet, invoice, labels, y)
    _foot(sheet, invoice, labels, y)
    return _scanned(sheet.image, random.Random(seed), skew, noise)


def _meta(invoice: Invoice, labels: dict[str, str]) -> list[tuple[str, str]]:
    return [
        (labels["number"], invoice.number),
        (labels["date"], day(invoice.issued, invoice)),
        (labels["order"], invoice.order),
        (labels["due"], day(invoice.due, invoice)),
    ]


def _lines(sheet: Sheet, x: int, y: int, lines: tuple[str, ...], size: int = 22) -> int:
    for line in lines:
        sheet.write(x, y, line, size)
        y += round(size * 1.45)
    return y


def _head_classic(sheet: Sheet, invoice: Invoice, labels: dict[str, str]) -> int:
    """A letterhead with a mark, the addressee on the left, a column of label and value on the right."""
    sheet.pen.polygon([(LEFT, 150), (LEFT + 34, 92), (LEFT + 68, 150)], fill=70)
    sheet.write(LEFT + 92, 98, invoice.vendor, 38, bold=True)
    _lines(sheet, LEFT + 92, 152, invoice.vendor_address, 19)
    sheet.line(284, width=2)
    sheet.write(LEFT, 322, labels["title"], 46, bold=True)
    sheet.write(LEFT, 420, labels["to"], 20, bold=True)
    _lines(sheet, LEFT, 452, (invoice.customer, *invoice.customer_address))
    for number, (label, value) in enumerate(_meta(invoice, labels)):
        sheet.write(700, 420 + 40 * number, label)
        sheet.write(RIGHT, 420 + 40 * number, value, right=True)
    return 690


def _head_boxes(sheet: Sheet, invoice: Invoice, labels: dict[str, str]) -> int:
    """The title on the left, the sender on the right, and a strip of boxes with each label above its value."""
    sheet.write(LEFT, 100, labels["title"], 48, bold=True)
    sheet.write(RIGHT, 100, invoice.vendor, 30, right=True, bold=True)
    for number, line in enumerate(invoice.vendor_address):
        sheet.write(RIGHT, 148 + 28 * number, line, 19, right=True)
    sheet.write(LEFT, 300, f"{labels['to']}:", 20)
    _lines(sheet, LEFT, 332, (invoice.customer, *invoice.customer_address))
    for number, (label, value) in enumerate(_meta(invoice, labels)):
        x = LEFT + 258 * number
        sheet.pen.rectangle((x, 530, x + 246, 620), outline=120)
        sheet.write(x + 12, 542, label, 18)
        sheet.write(x + 12, 576, value, 22)
    return 690


def _head_letter(sheet: Sheet, invoice: Invoice, labels: dict[str, str]) -> int:
    """A letter: sender's line, address window without a label, then `label: value` line by line."""
    sheet.write(RIGHT, 90, invoice.vendor, 34, right=True, bold=True)
    sheet.write(LEFT, 230, " · ".join((invoice.vendor, *invoice.vendor_address[:2])), 15)
    _lines(sheet, LEFT, 268, (invoice.customer, *invoice.customer_address))
    sheet.write(LEFT, 480, labels["title"].capitalize(), 34, bold=True)
    _lines(sheet, LEFT, 540, tuple(f"{label}: {value}" for label, value in _meta(invoice, labels)))
    return 710


def _items(sheet: Sheet, invoice: Invoice, labels: dict[str, str], y: int) -> int:
    columns = ((LEFT, "description", False), (760, "quantity", True), (940, "price", True), (RIGHT, "amount", True))
    sheet.pen.rectangle((LEFT - 10, y - 8, RIGHT + 10, y + 34), fill=226)
    for x, name, right in columns:
        sheet.write(x, y, labels[name], 21, right=right, bold=True)
    for description, quantity, price in invoice.items:
        y += 52
        sheet.write(LEFT, y, description)
        sheet.write(760, y, str(quantity), right=True)
        sheet.write(940, y, money(price, invoice.language), right=True)
        sheet.write(RIGHT, y, money(quantity * price, invoice.language), right=True)
        sheet.line(y + 38)
    return y + 70


def _sums(sheet: Sheet, invoice: Invoice, labels: dict[str, str], y: int) -> int:
    for name, cents in (("net", invoice.net), ("tax", invoice.tax)):
        sheet.write(700, y, labels[name].format(rate=invoice.tax_rate))
        sheet.write(RIGHT, y, money(cents, invoice.language), right=True)
        y += 42
    sheet.line(y, left=690, width=2)
    amount = money(invoice.total, invoice.language)
    sheet.write(700, y + 12, labels["total"], 26, bold=True)
    before = invoice.language == "en"
    total = f"{invoice.currency} {amount}" if before else f"{amount} {invoice.currency.replace('EUR', '€')}"
    sheet.write(RIGHT, y + 12, total, 26, right=True, bold=True)
    return y + 110


def _foot(sheet: Sheet, invoice: Invoice, labels: dict[str, str], y: int) -> None:
    sheet.write(LEFT, y, labels["pay"])
    sheet.write(LEFT, y + 36, f"IBAN {invoice.iban}")
    sheet.write(LEFT, y + 100, labels["thanks"])
    sheet.line(1640)
    sheet.write(LEFT, 1655, " · ".join((invoice.vendor, *invoice.vendor_address[:1])), 16)


def _scanned(page: Image.Image, dice: random.Random, skew: float, noise: float) -> Image.Image:
    page = page.filter(ImageFilter.GaussianBlur(0.6))
    page = page.rotate(skew, resample=Image.Resampling.BICUBIC, fillcolor=246)
    shadow = Image.linear_gradient("L").resize(page.size).point(lambda value: 255 - value // 16)
    page = Image.composite(page, Image.new("L", page.size, 200), shadow)
    pen = ImageDraw.Draw(page)
    for _ in range(round(1400 * noise)):
        x, y, size = dice.randrange(page.width), dice.randrange(page.height), dice.choice((0, 0, 0, 1))
        pen.ellipse((x, y, x + size, y + size), fill=dice.choice((110, 150, 190)))
    # Sixteen greys, as office scanners give, keep the file small.
    return page.point(lambda value: value // 17 * 17)


CONTRACT = (
    ("SERVICES AGREEMENT", (
        ('This Services Agreement (the "Agreement") is made on 1 September 2026 by and between Northgate Instruments Ltd, '
        'a company registered in England (the "Provider"), and Alder & Finch GmbH, Lindenstrasse 22, 10969 Berlin, '
        'Germany (the "Customer").'),
        "Contract no. SA-2026-031",
        ("1. Services. The Provider shall inspect and calibrate the pressure instruments listed in Annex A at the "
        "Customer's site in Berlin. Each instrument shall be inspected twice a year. The Provider shall issue a "
        "calibration certificate within ten working days after each inspection."),
        ("2. Fees. The Customer shall pay an annual fee of EUR 18,400.00 plus VAT. The fee is invoiced in two equal parts on "
        "1 October 2026 and 1 April 2027. Invoices are payable within 30 days. Late payment bears interest at 8 percent a year."),
        ("3. Term. This Agreement starts on 1 October 2026 and runs for 24 months. It renews for further periods of 12 "
        "months unless either party gives notice in writing three months before its end."),
    )),
    ("", (
        ("4. Liability. The Provider's total liability under this Agreement is limited to EUR 50,000.00 in each contract "
        "year. Nothing in this Agreement limits liability for wilful misconduct or gross negligence."),
        ("5. Confidentiality. Each party keeps the other's documents confidential for five years after the end of this "
        "Agreement. This does not apply to information that is public without a breach of this clause."),
        ("6. Termination. Either party may terminate this Agreement with immediate effect if the other commits a material "
        "breach and does not remedy it within 30 days of a written notice. The Customer pays for all services performed "
        "up to the date of termination."),
        ("7. Governing law. This Agreement is governed by the laws of England and Wales. The courts of London have "
        "exclusive jurisdiction."),
        "Signed for the Provider: Helen Marsh, Managing Director",
        "Signed for the Customer: Jonas Albrecht, Head of Procurement",
    )),
)  # fmt: skip


def draw_contract(path: Path) -> None:
    """Two pages with a text layer; `invariant` leaves out the time of drawing."""
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    canvas.setTitle("Services Agreement")
    for number, (title, paragraphs) in enumerate(CONTRACT, start=1):
        y = A4[1] - 80
        if title:
            canvas.setFont("Helvetica-Bold", 16)
            canvas.drawString(72, y, title)
            y -= 34
        canvas.setFont("Helvetica", 11)
        for paragraph in paragraphs:
            for line in _wrapped(canvas, paragraph, A4[0] - 144):
                canvas.drawString(72, y, line)
                y -= 15.5
            y -= 12
        canvas.drawCentredString(A4[0] / 2, 40, f"Page {number} of {len(CONTRACT)}")
        canvas.showPage()
    canvas.save()


def _wrapped(canvas: Canvas, text: str, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if canvas.stringWidth(longer, "Helvetica", 11) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


if __name__ == "__main__":
    draw_invoice(EXAMPLE, seed=1).save(HERE / "invoice.png", optimize=True, bits=4, dpi=(150, 150))
    draw_contract(HERE / "contract.pdf")
