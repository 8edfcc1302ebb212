"""Invented invoices: what is true of one. The same seed gives the same one; nothing here knows of the extractor."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from typing import Any

from bench.invoice_words import (
    CURRENCIES,
    FIRST,
    FORMS,
    LABELS,
    MONTHS,
    SECOND,
    STREETS,
    SYMBOLS,
    THINGS,
    TOWNS,
)

TRAINING = range(10_000)
"""Look at these while working on the extractor."""
SCORING = range(100_000, 110_000)
"""The figure that is told."""
HOLD_OUT = range(900_000, 900_300)
"""Scored at the very end of a change, and never looked at."""

LAYOUTS = ("window", "boxes", "columns", "prose", "long", "summary", "footer")
MEDIA = ("text", "pdf", "docx", "pdf", "scan", "pdf", "text", "pdf", "scan", "scanned pdf")


@dataclass(frozen=True, kw_only=True)
class Party:
    """A company and where it is."""

    name: str
    street: str
    town: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything an invoice says, and how. Money is in cents."""

    seed: int
    language: str
    layout: str
    medium: str
    vendor: Party
    customer: Party
    number: str
    order: str
    issued: dt.date
    delivered: dt.date
    due: dt.date
    by_terms: bool
    items: tuple[tuple[str, int, int], ...]
    rate: int
    currency: str
    iban: str
    phone: str
    date_style: str
    number_style: str
    money_style: str

    @property
    def american(self) -> bool:
        """There is no VAT there, and the month stands first."""
        return self.currency in ("USD", "CAD")

    @property
    def net(self) -> int:
        return sum(count * price for _, count, price in self.items)

    @property
    def tax(self) -> int:
        return (self.net * self.rate + 50) // 100

    def word(self, which: str) -> str:
        """This invoice's word for a label: the same one each time."""
        words = LABELS[self.language][which]
        if self.american:
            words = ("Sales tax {rate}%", "Sales tax ({rate}%)") if which == "tax" else words
            words = tuple(word.replace("VAT", "tax") for word in words if word != "Tax point")
        return random.Random(f"{self.seed}/{which}").choice(words)

    def truth(self) -> dict[str, Any]:
        """The fields that are scored."""
        return {
            "number": self.number,
            "vendor": self.vendor.name,
            "customer": self.customer.name,
            "total": (self.net + self.tax) / 100,
            "net": self.net / 100,
            "tax": self.tax / 100,
            "currency": self.currency,
            "issue_date": self.issued.isoformat(),
            "due_date": self.due.isoformat(),
            "order": self.order,
            "iban": self.iban.replace(" ", ""),
            "phone": "".join(c for c in self.phone if c.isdigit()),
        }

    def money(self, cents: int) -> str:
        """With or without its currency, in this invoice's style."""
        number = number_text(cents, self.number_style)
        sign = SYMBOLS.get(self.currency, self.currency)
        return {
            "before": f"{sign}{number}" if len(sign) == 1 else f"{sign} {number}",
            "after": f"{number} {sign}",
            "code after": f"{number} {self.currency}",
            "code before": f"{self.currency} {number}",
            "bare": number,
        }[self.money_style]

    def day(self, date: dt.date) -> str:
        """In this invoice's style."""
        month = MONTHS[self.language][date.month - 1]
        return {
            "iso": date.isoformat(),
            "dots": f"{date:%d.%m.%Y}",
            "short dots": f"{date:%d.%m.%y}",
            "slashes": f"{date:%d/%m/%Y}",
            "us slashes": f"{date:%m/%d/%Y}",
            "long": {"en": f"{date.day} {month} {date.year}", "de": f"{date.day}. {month} {date.year}"}.get(
                self.language, f"{'1er' if date.day == 1 else date.day} {month} {date.year}"
            ),
            "us long": f"{month} {date.day}, {date.year}",
            "dashes": f"{date.day:02}-{month[:3]}-{date.year}",
        }[self.date_style]


def number_text(cents: int, style: str) -> str:
    """1234.56 as `style` writes it: a thousands mark, then the decimal mark."""
    group, decimal = {
        "uk": (",", "."),
        "de": (".", ","),
        "fr": ("\u00a0", ","),
        "fr thin": ("\u202f", ","),
        "blank": (" ", ","),
        "swiss": ("'", "."),
        "plain point": ("", "."),
        "plain comma": ("", ","),
    }[style]
    whole = f"{cents // 100:,}".replace(",", group)
    return f"{whole}{decimal}{cents % 100:02}"


def invent(seed: int) -> Facts:
    """The invoice of a seed."""
    dice = random.Random(f"invoice/{seed}")
    language = ("en", "de", "fr")[seed % 3]
    layout = dice.choice(LAYOUTS)
    issued = dt.date(2025, 1, 2) + dt.timedelta(days=dice.randrange(650))
    currency = dice.choice(CURRENCIES[language])
    american = currency in ("USD", "CAD")
    count = dice.randint(28, 60) if layout == "long" else dice.randint(1, 6)
    # An American address and no bank account of Europe: what tells a reader which way 04/05/2026 is meant.
    vendor, customer = _party(dice, language, american=american), _party(dice, language, american=american)
    return Facts(
        seed=seed,
        language=language,
        layout=layout,
        medium=dice.choice(MEDIA),
        vendor=vendor,
        customer=customer,
        number=_number(dice, issued.year),
        order=f"{dice.choice(('PO-', 'B', 'AB-', '', '45'))}{dice.randrange(10_000, 999_999)}",
        issued=issued,
        delivered=issued - dt.timedelta(days=dice.randint(1, 20)),
        due=issued + dt.timedelta(days=dice.choice((7, 10, 14, 21, 30, 45, 60))),
        by_terms=layout != "prose" and dice.random() < 0.2,
        items=tuple(_item(dice, language) for _ in range(count)),
        rate=dice.choice({"en": (20, 5, 8), "de": (19, 7), "fr": (20, 10)}[language]),
        currency=currency,
        iban=_iban(dice, language),
        phone=_phone(dice, language, american=american),
        date_style=_date_style(dice, language, american=american),
        number_style=_number_style(dice, language, currency),
        money_style=dice.choice(("before", "after", "code after", "code before", "bare")),
    )


def _party(dice: random.Random, language: str, *, american: bool) -> Party:
    form = dice.choice(FORMS[language])
    name = " ".join(part for part in (dice.choice(FIRST[language]), dice.choice(SECOND[language]), form) if part)
    towns = [t for t in TOWNS[language] if language != "en" or (", " in t) == american]
    return Party(
        name=name, street=dice.choice(STREETS[language]).format(n=dice.randint(1, 240)), town=dice.choice(towns)
    )


def _number(dice: random.Random, year: int) -> str:
    n = dice.randrange(1, 99_999)
    styles = (
        f"INV-{n:05}",
        f"{year}-{n:04}",
        f"{n:06}",
        f"R{year}/{n}",
        f"{year}{n:05}",
        f"F{year % 100}-{n}",
        f"A.{n}",
    )
    return dice.choice(styles)


def _item(dice: random.Random, language: str) -> tuple[str, int, int]:
    price = dice.choice((dice.randrange(150, 9_900), dice.randrange(10_000, 180_000)))
    return dice.choice(THINGS[language]), dice.randint(1, 25), price


def _date_style(dice: random.Random, language: str, *, american: bool) -> str:
    if american:
        return dice.choice(("us slashes", "us long", "iso"))
    styles = {
        "en": ("slashes", "long", "iso", "dashes"),
        "de": ("dots", "dots", "short dots", "long", "iso"),
        "fr": ("slashes", "slashes", "long", "dots", "iso"),
    }
    return dice.choice(styles[language])


def _number_style(dice: random.Random, language: str, currency: str) -> str:
    if currency == "CHF":
        return "swiss"
    styles = {"en": ("uk", "uk", "plain point"), "de": ("de", "de", "plain comma"), "fr": ("fr", "fr thin", "blank")}
    return dice.choice(styles[language])


def _iban(dice: random.Random, language: str) -> str:
    country, bank, digits = {"en": ("GB", "BARC", 14), "de": ("DE", "", 18), "fr": ("FR", "", 23)}[language]
    basis = bank + "".join(str(dice.randrange(10)) for _ in range(digits))
    moved = "".join(str(int(c, 36)) for c in basis + country + "00")
    code = f"{country}{98 - int(moved) % 97:02}{basis}"
    grouped = " ".join(code[i : i + 4] for i in range(0, len(code), 4))
    return dice.choice((grouped, grouped, code))


def _phone(dice: random.Random, language: str, *, american: bool) -> str:
    d = "".join(str(dice.randrange(10)) for _ in range(8))
    if american:
        return dice.choice(
            (f"(5{d[0]}3) 5{d[1:3]}-{d[3:7]}", f"+1 5{d[0]}3 5{d[1:3]} {d[3:7]}", f"503-5{d[1:3]}-{d[3:7]}")
        )
    return {
        "en": dice.choice((f"+44 1603 {d[:6]}", f"01603 {d[:6]}", f"020 7{d[:3]} {d[3:7]}")),
        "de": dice.choice((f"+49 431 {d[:6]}", f"0431 / {d[:6]}", f"+49 (0)431 {d[:4]}-{d[4:6]}", f"0431-{d[:6]}")),
        "fr": dice.choice(
            (
                f"05 {d[:2]} {d[2:4]} {d[4:6]} {d[6:]}",
                f"+33 5 {d[:2]} {d[2:4]} {d[4:6]} {d[6:]}",
                f"05.{d[:2]}.{d[2:4]}.{d[4:6]}.{d[6:]}",
            )
        ),
    }[language]
