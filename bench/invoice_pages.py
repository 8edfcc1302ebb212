# ruff: noqa: E501 - tables and drawings read better unbroken
"""Invented invoices laid out and put on paper: seven layouts; plain text, PDF, Word, scan, scanned PDF.

A layout places texts on A4 pages in millimetres; every medium is made from the same placed texts. The order of the
table's columns, the words, the spacing and what stands between differ from seed to seed.
"""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from bench.invoice_facts import Facts
from bench.invoice_words import LABELS
from hocket.core.work import Document

_FONTS = Path("/usr/share/fonts/truetype/dejavu")
_MM = 72 / 25.4


@dataclass(frozen=True, kw_only=True)
class Text:
    """A run of text; `y` is measured from the top of the page, `right` puts its end at `x`."""

    page: int
    x: float
    y: float
    text: str
    size: float = 9.5
    bold: bool = False
    right: bool = False


@dataclass
class Sheet:
    """Pages being written."""

    facts: Facts
    dice: random.Random
    texts: list[Text] = field(default_factory=list)
    page: int = 0

    def put(self, x: float, y: float, text: str, size: float = 9.5, *, bold: bool = False, right: bool = False) -> None:
        self.texts.append(Text(page=self.page, x=x, y=y, text=text, size=size, bold=bold, right=right))

    def lines(self, x: float, y: float, lines: list[str], step: float = 5) -> float:
        for line in lines:
            self.put(x, y, line)
            y += step
        return y


def _vendor(f: Facts) -> list[str]:
    return [f.vendor.name, f.vendor.street, f.vendor.town, f"{f.word('phone')} {f.phone}"]


def _customer(f: Facts) -> list[str]:
    return [f.customer.name, f.customer.street, f.customer.town]


def _meta(f: Facts, dice: random.Random) -> list[tuple[str, str]]:
    pairs = [(f.word("number"), f.number), (f.word("date"), f.day(f.issued))]
    if not f.by_terms:
        pairs.append((f.word("due"), f.day(f.due)))
    pairs.append((f.word("order"), f.order))
    if dice.random() < 0.5:
        pairs.insert(dice.randint(1, len(pairs)), (f.word("delivery"), f.day(f.delivered)))
    return pairs


def _table(s: Sheet, y: float, bottom: float = 240) -> float:
    """The items; the columns in one of several orders; over several pages if there are many."""
    f = s.facts
    orders = (("description", "quantity", "price", "amount"), ("quantity", "description", "price", "amount"),
              ("index", "description", "price", "quantity", "amount"), ("index", "quantity", "description", "price", "amount"))  # fmt: skip
    order = s.dice.choice(orders)
    places = _places(order)
    _table_head(s, order, places, y)
    y += 7
    carried = 0
    for number, (thing, count, price) in enumerate(f.items, start=1):
        if y > bottom:
            s.put(150, y, f.word("carry"), right=True)
            s.put(190, y, f.money(carried), right=True)
            s.page += 1
            s.put(20, 20, f"{f.vendor.name}  -  {f.number}" if s.dice.random() < 0.3 else f.vendor.name, 8)
            y = 35
            _table_head(s, order, places, y)
            y += 7
        carried += count * price
        cells = {"index": str(number), "description": thing, "quantity": str(count), "price": f.money(price), "amount": f.money(count * price)}  # fmt: skip
        for name in order:
            s.put(places[name], y, cells[name], right=name in ("price", "amount"))
        y += 5.5
    return y + 4


def _places(order: tuple[str, ...]) -> dict[str, float]:
    x, places = 20.0, {}
    for name in order:
        width = {"index": 12, "description": 68, "quantity": 22, "price": 40, "amount": 38}[name]
        places[name] = x + width - 5 if name in ("price", "amount") else x
        x += width
    places["amount"] = 190.0
    return places


def _table_head(s: Sheet, order: tuple[str, ...], places: dict[str, float], y: float) -> None:
    for name in order:
        word = "Pos." if name == "index" else s.facts.word(name)
        s.put(places[name], y, word, bold=True, right=name in ("price", "amount"))


def _sums(f: Facts) -> list[tuple[str, str]]:
    return [
        (f.word("net"), f.money(f.net)),
        (f.word("tax").format(rate=f.rate), f.money(f.tax)),
        (f.word("total"), f.money(f.net + f.tax)),
    ]


def _totals(s: Sheet, y: float) -> float:
    """One of three: label and sum at the right; label left of the page; a grid with the labels above."""
    rows = _sums(s.facts)
    kind = s.dice.choice(("right", "right", "wide", "grid"))
    if y > 250:
        s.page += 1
        y = 40
    if kind == "grid":
        for x, (label, value) in zip((90, 140, 190), rows, strict=True):
            s.put(x, y, label, bold=True, right=True)
            s.put(x, y + 6, value, right=True)
        return y + 16
    for label, value in rows:
        s.put(120 if kind == "right" else 20, y, label + s.dice.choice(("", ":")), bold=label == rows[-1][0])
        s.put(190, y, value, bold=label == rows[-1][0], right=True)
        y += 6
    return y + 6


def _payment(s: Sheet, y: float) -> None:
    f = s.facts
    if f.money_style == "bare":
        s.put(20, y, LABELS[f.language]["only"].format(code=f.currency), 8.5)
        y += 6
    if f.by_terms:
        s.put(20, y, f.word("terms").format(n=(f.due - f.issued).days))
        y += 6
    s.put(20, y, f.word("pay"))
    s.put(20, y + 5.5, f"IBAN{s.dice.choice((':', ''))} {f.iban}")
    s.put(20, y + 11, "BIC: NTSBDEB1XXX" if f.language == "de" else "BIC: AGRIFRPP882", 8.5)


def _window(s: Sheet) -> None:
    """A business letter: the sender in one small line above the address, the facts in a block at the right."""
    f = s.facts
    s.put(120, 20, f.vendor.name, 15, bold=True)
    s.put(20, 45, s.dice.choice((" · ", ", ", " - ")).join((f.vendor.name, f.vendor.street, f.vendor.town)), 6.5)
    s.lines(20, 52, _customer(f))
    y = 50.0
    for label, value in _meta(f, s.dice):
        s.put(120, y, f"{label}:")
        s.put(s.dice.choice((160, 160, 162)), y, value)
        y += 5.5
    s.put(120, y + 2, f"{f.word('phone')} {f.phone}", 8.5)
    s.put(20, 95, f.word("title"), 14, bold=True)
    _payment(s, _totals(s, _table(s, 110)))


def _boxes(s: Sheet) -> None:
    """A band on top, then boxes side by side with the label above its value."""
    f = s.facts
    s.put(20, 20, f.word("title"), 22, bold=True)
    y = 15.0
    for line in _vendor(f):
        s.put(190, y, line, 12 if y == 15 else 8.5, bold=y == 15, right=True)
        y += 5.5
    pairs = _meta(f, s.dice)
    for x, (label, value) in zip((20, 57, 94, 131, 166), pairs, strict=False):
        s.put(x, 50, label, 7.5)
        s.put(x, 55, value, 9)
    s.put(20, 68, f.word("to"), 8, bold=True)
    s.lines(20, 73, _customer(f))
    _payment(s, _totals(s, _table(s, 98)))


def _columns(s: Sheet) -> None:
    """From and To side by side, and the facts in a third column or below as lines with their label."""
    f = s.facts
    s.put(105 - len(f.word("title")), 20, f.word("title"), 18, bold=True)
    s.put(20, 36, f.word("from"), bold=True)
    s.put(85, 36, f.word("to"), bold=True)
    s.lines(20, 42, _vendor(f))
    s.lines(85, 42, _customer(f))
    below = s.dice.random() < 0.5
    y = 68.0 if below else 42.0
    for label, value in _meta(f, s.dice):
        if below:
            s.put(20, y, label)
            s.put(75, y, value)
        else:
            s.put(145, y, f"{label}: {value}", 8)
        y += 5.5
    _payment(s, _totals(s, _table(s, max(y, 68) + 8)))


def _prose(s: Sheet) -> None:
    """A letter that says in sentences what others put into boxes; the items follow without a table of sums."""
    f = s.facts
    y = s.lines(20, 20, _vendor(f))
    y = s.lines(20, y + 8, _customer(f))
    s.put(190, y + 6, f"{f.vendor.town.split(',')[0].split()[-1]}, {f.day(f.issued)}", right=True)
    s.put(20, y + 16, f"{f.word('title')} {f.number}", 12, bold=True)
    said = {"number": f.number, "date": f.day(f.issued), "due": f.day(f.due), "net": f.money(f.net), "tax": f.money(f.tax), "total": f.money(f.net + f.tax)}  # fmt: skip
    y = s.lines(20, y + 28, [LABELS[f.language]["prose"][0].format(**said), f"{f.word('order')}: {f.order}"], 6)
    y = _table(s, y + 6)
    y = s.lines(20, y + 2, [_without_vat(f, line).format(**said) for line in LABELS[f.language]["prose"][1:]], 6)
    _payment(s, y + 4)


def _without_vat(f: Facts, line: str) -> str:
    return line.replace("VAT", "sales tax") if f.american else line


def _long(s: Sheet) -> None:
    """Many items: sums are carried over from page to page, the total stands on the last."""
    f = s.facts
    s.put(20, 18, f.vendor.name, 14, bold=True)
    s.lines(20, 25, _vendor(f)[1:], 4.5)
    s.put(120, 18, f.word("to"), 8)
    s.lines(120, 23, _customer(f))
    s.put(20, 48, f.word("title"), 13, bold=True)
    y = 56.0
    for label, value in _meta(f, s.dice):
        s.put(20, y, f"{label}: {value}")
        y += 5.5
    y = _totals(s, _table(s, y + 5, bottom=265))
    if y > 255:
        s.page += 1
        y = 40
    _payment(s, y)
    last = s.page
    for s.page in range(last + 1):
        s.put(190, 287, LABELS[f.language]["page"].format(n=s.page + 1, m=last + 1), 7.5, right=True)


def _summary(s: Sheet) -> None:
    """What is to be paid, and until when, in a box on top; the details below."""
    f = s.facts
    s.put(20, 20, f.vendor.name, 13, bold=True)
    s.lines(20, 26, _vendor(f)[1:], 4.5)
    s.put(120, 20, f.word("total"), 9)
    s.put(120, 27, f.money(f.net + f.tax), 15, bold=True)
    s.put(20, 52, f.word("to"))
    s.lines(20, 57, _customer(f))
    y = 52.0
    for label, value in _meta(f, s.dice):
        s.put(110, y, label)
        s.put(190, y, value, right=True)
        y += 5.5
    s.put(20, 84, f.word("title"), 12, bold=True)
    _payment(s, _totals(s, _table(s, 94)))


def _footer(s: Sheet) -> None:
    """The sender's address and bank in three columns at the foot of the page, only its name on top."""
    f = s.facts
    s.put(190, 18, f.vendor.name, 16, bold=True, right=True)
    s.put(20, 40, f.word("to"), 8)
    s.lines(20, 45, _customer(f))
    s.put(20, 72, f"{f.word('title')}", 15, bold=True)
    y = 80.0
    for label, value in _meta(f, s.dice):
        s.put(20, y, label)
        s.put(s.dice.choice((70, 70, 72)), y, value)
        y += 5.5
    y = _totals(s, _table(s, y + 6, 215))
    if f.money_style == "bare":
        s.put(20, y, LABELS[f.language]["only"].format(code=f.currency), 8.5)
    if f.by_terms:
        s.put(20, y + 6, f.word("terms").format(n=(f.due - f.issued).days))
    s.lines(20, 270, [f.vendor.name, f.vendor.street, f.vendor.town], 4)
    s.lines(90, 270, [f"{f.word('phone')} {f.phone}", "www.example.com"], 4)
    s.lines(135, 270, [f"IBAN {f.iban}", "BIC GENODEF1XXX"], 4)


_LAYOUTS: dict[str, Callable[[Sheet], None]] = {
    "window": _window, "boxes": _boxes, "columns": _columns, "prose": _prose, "long": _long, "summary": _summary,
    "footer": _footer,
}  # fmt: skip


def placed(facts: Facts) -> list[Text]:
    """The invoice's texts at their places."""
    sheet = Sheet(facts=facts, dice=random.Random(f"layout/{facts.seed}"))
    _LAYOUTS[facts.layout](sheet)
    return sheet.texts


def document_of(facts: Facts) -> Document:
    """The invoice in its medium."""
    texts = placed(facts)
    if facts.medium == "text":
        return Document(name="invoice.txt", media_type="text/plain", data=as_text(texts).encode())
    if facts.medium == "docx":
        kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
        return Document(name="invoice.docx", media_type=kind, data=as_docx(texts))
    pdf = as_pdf(texts, random.Random(f"font/{facts.seed}"))
    if facts.medium == "pdf":
        return Document(name="invoice.pdf", media_type="application/pdf", data=pdf)
    pages = scanned(pdf, random.Random(f"scan/{facts.seed}"))
    first, rest = pages[0], pages[1:]
    out = io.BytesIO()
    if facts.medium == "scan" and not rest:
        first.save(out, "JPEG", quality=82)
        return Document(name="scan.jpg", media_type="image/jpeg", data=out.getvalue())
    first.save(out, "PDF", save_all=True, append_images=rest, resolution=150)
    return Document(name="scan.pdf", media_type="application/pdf", data=out.getvalue())


def as_text(texts: list[Text]) -> str:
    """As a program prints it: in columns, each line of the page a line; two blanks at the least between columns."""
    lines: list[str] = []
    last: tuple[int, float] | None = None
    for page, y in sorted({(t.page, t.y) for t in texts}):
        if last is not None and (page != last[0] or y - last[1] > 8):
            lines.append("")
        line = ""
        for t in sorted((t for t in texts if (t.page, t.y) == (page, y)), key=lambda t: t.x):
            start = round(t.x * 0.62) - (len(t.text) if t.right else 0)
            line = line.ljust(max(start, len(line) + 2 if line else 0)) + t.text
        lines.append(line.rstrip())
        last = (page, y)
    return "\n".join(lines) + "\n"


def as_docx(texts: list[Text]) -> bytes:
    """As a word processor keeps it: a line with several columns is a row of a table, every other a paragraph."""
    body: list[str] = []
    for page, y in sorted({(t.page, t.y) for t in texts}):
        row = sorted((t for t in texts if (t.page, t.y) == (page, y)), key=lambda t: t.x)
        cells = [f"<w:p><w:r><w:t xml:space='preserve'>{escape(t.text)}</w:t></w:r></w:p>" for t in row]
        if len(cells) == 1:
            body += cells
        else:
            body.append(f"<w:tbl><w:tr>{''.join(f'<w:tc>{c}</w:tc>' for c in cells)}</w:tr></w:tbl>")
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(
            "[Content_Types].xml", "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>"
        )
        packed.writestr("word/document.xml", f"<?xml version='1.0' encoding='UTF-8'?><w:document xmlns:w='{space}'><w:body>{''.join(body)}</w:body></w:document>")  # fmt: skip
    return out.getvalue()


def as_pdf(texts: list[Text], dice: random.Random) -> bytes:
    """With a text layer, in one of three typefaces."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas

    face = dice.choice(("DejaVuSans", "DejaVuSerif", "DejaVuSansCondensed"))
    for name in (face, f"{face}-Bold"):
        pdfmetrics.registerFont(TTFont(name, str(_FONTS / f"{name}.ttf")))
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(210 * _MM, 297 * _MM))
    for page in range(max(t.page for t in texts) + 1):
        for t in (t for t in texts if t.page == page):
            canvas.setFont(f"{face}-Bold" if t.bold else face, t.size * 0.92)
            (canvas.drawRightString if t.right else canvas.drawString)(t.x * _MM, (297 - t.y) * _MM, t.text)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def scanned(pdf: bytes, dice: random.Random) -> list:
    """The pages as a scanner gives them: 140 to 200 dpi, turned by up to 3 degrees, grey, grainy, a little soft."""
    import numpy as np
    import pypdfium2
    from PIL import Image, ImageFilter

    pages = []
    opened = pypdfium2.PdfDocument(pdf)
    for number in range(len(opened)):
        image = opened[number].render(scale=dice.choice((140, 150, 170, 200)) / 72, grayscale=True).to_pil()
        image = image.rotate(dice.uniform(-3, 3), resample=Image.Resampling.BICUBIC, expand=True, fillcolor=250)
        image = image.filter(ImageFilter.GaussianBlur(dice.uniform(0.2, 0.7)))
        grain = np.random.default_rng(dice.randrange(2**32)).normal(0, dice.uniform(3, 12), (image.height, image.width))
        pixels = np.asarray(image, dtype=float) * dice.uniform(0.88, 1.0) + grain
        pages.append(Image.fromarray(np.clip(pixels, 0, 255).astype("uint8")))
    opened.close()
    return pages
