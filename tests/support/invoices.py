# ruff: noqa: E501 - tables of data read better unbroken
"""Invented invoices, drawn by `examples/draw.py`, to measure extraction with: `python tests/unit/workers/invoices.py 60`."""

import datetime as dt
import importlib.util
import io
import random
import sys
from collections import Counter
from pathlib import Path

from hocket.core.work import Document, Work

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("examples_draw", ROOT / "examples" / "draw.py")
draw = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = draw
_spec.loader.exec_module(draw)

NAMES = {
    "en": ("Marlow & Sons Ltd", "Pinnacle Office Supplies Ltd", "Brookfield Software Inc.", "Harper Logistics LLC", "Oakridge Catering", "Silverline Print Co."),
    "de": ("Müller Maschinenbau GmbH", "Hansen & Söhne KG", "Nordlicht Software AG", "Bäckerei Weiß e.K.", "Grünwald Elektrotechnik GmbH", "Büro König"),
    "fr": ("Atelier Lefèvre SARL", "Société Générale de Câblage SAS", "Boulangerie Périgord", "Éditions du Marais SA", "Transports Béranger SAS", "Menuiserie Côté Bois"),
}  # fmt: skip
PLACES = {
    "en": (("8 Mill Lane", "Leeds LS1 4AP"), ("220 Market Street", "Manchester M1 1PN"), ("5 Queen Square", "London EC1A 1BB")),
    "de": (("Hauptstraße 17", "80331 München"), ("Am Alten Markt 3", "50667 Köln"), ("Gartenweg 112", "04109 Leipzig")),
    "fr": (("12 rue des Lilas", "75011 Paris"), ("4 avenue Jean Jaurès", "69007 Lyon"), ("27 quai de la Fosse", "44000 Nantes")),
}  # fmt: skip
THINGS = {
    "en": ("Consulting, per day", "Office chair, black", "Software licence", "Paper A4, 500 sheets", "Delivery", "Training course"),
    "de": ("Beratung, je Tag", "Bürostuhl, schwarz", "Softwarelizenz", "Kopierpapier A4", "Anlieferung", "Schulung"),
    "fr": ("Conseil, par jour", "Chaise de bureau", "Licence logicielle", "Papier A4, 500 feuilles", "Livraison", "Formation"),
}  # fmt: skip
NUMBERS = ("INV-{y}-{n:04d}", "{y}/{n:05d}", "R{y}{n:04d}", "{n:06d}", "FA-{n:05d}", "RE-{y}-{n}")
IBANS = ("DE89 3704 0044 0532 0130 00", "GB29 NWBK 6016 1331 9268 19", "FR14 2004 1010 0505 0001 3M02 606")


def invent(seed: int):
    dice = random.Random(seed)
    language = ("en", "de", "fr")[seed % 3]
    issued = dt.date(2026, 1, 1) + dt.timedelta(days=dice.randrange(330))
    vendor, customer = dice.sample(NAMES[language], 2)
    here, there = dice.sample(PLACES[language], 2)
    items = tuple(
        (thing, dice.randint(1, 40), dice.choice((dice.randrange(100, 9000), dice.randrange(10_000, 400_000))))
        for thing in dice.sample(THINGS[language], dice.randint(1, 5))
    )
    return draw.Invoice(
        vendor=vendor,
        vendor_address=here,
        customer=customer,
        customer_address=there,
        number=dice.choice(NUMBERS).format(y=2026, n=dice.randrange(1, 9999)),
        order=f"{dice.choice(('PO', 'A', 'B'))}-{dice.randrange(1000, 99999)}",
        issued=issued,
        due=issued + dt.timedelta(days=dice.choice((7, 14, 30, 45))),
        items=items,
        tax_rate=dice.choice((7, 19, 20)),
        iban=dice.choice(IBANS),
        currency=dice.choice(("EUR", "EUR", "GBP", "USD", "CHF")) if language == "en" else "EUR",
        language=language,
        layout=("classic", "boxes", "letter")[(seed // 3) % 3],
        dates=dice.choice(("long", "dots", "slashes", "iso"))
        if language != "de"
        else dice.choice(("long", "dots", "iso")),
    )


def truth(invoice) -> dict:
    return {
        "number": invoice.number,
        "vendor": invoice.vendor,
        "customer": invoice.customer,
        "total": invoice.total / 100,
        "net": invoice.net / 100,
        "tax": invoice.tax / 100,
        "currency": invoice.currency,
        "issue_date": invoice.issued.isoformat(),
        "due_date": invoice.due.isoformat(),
    }


def picture(image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def work(data: bytes, name: str = "invoice.png", media_type: str = "image/png", **options) -> Work:
    document = Document(name=name, media_type=media_type, data=data)
    return Work(task_id="extract", specialty="extraction", instruction="", documents=(document,), options=options)


def measure(count: int, start: int = 0) -> None:
    from services.workers.extraction.local import run

    right, wrong = Counter(), Counter()
    for seed in range(start, start + count):
        invoice = invent(seed)
        skew = random.Random(seed).uniform(-3, 3)
        record = run(work(picture(draw.draw_invoice(invoice, seed=seed, skew=skew)), kind="invoice"))
        misses = {name: (value, record[name]) for name, value in truth(invoice).items() if record[name] != value}
        for name in truth(invoice):
            (wrong if name in misses else right)[name] += 1
        if misses:
            print(seed, invoice.language, invoice.layout, invoice.dates, misses)
    print({name: f"{right[name]}/{right[name] + wrong[name]}" for name in truth(invent(0))})
    print(f"{right.total() / (right.total() + wrong.total()):.1%} of fields")


if __name__ == "__main__":
    measure(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
