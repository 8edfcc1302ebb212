# ruff: noqa: E501 - sentences read better unbroken
"""Invented office mails, as .eml files with what is true of them. The same seed gives the same mail; nothing here knows of the
extractor. Bodies are plain text, HTML or both; some quote an earlier mail; numbers that are no phone, date or amount
stand between."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime

from bench.invoice_facts import number_text
from bench.invoice_words import MONTHS

TRAINING = range(10_000)
SCORING = range(100_000, 110_000)
LANGUAGES = ("en", "de", "fr")

SENTENCES = {
    "en": {
        "date": ("We could meet on {v}.", "The repair is planned for {v}.", "Please answer by {v}.", "The goods left us on {v} by truck."),
        "amount": ("We agreed on {v} for the whole job.", "You still owe us {v}.", "The deposit of {v} has been paid.", "A new pump costs {v} plus postage."),
        "iban": ("Please pay to {v}.", "Our account is {v} from now on.", "IBAN: {v}"),
        "phone": ("You can reach me on {v}.", "Tel. {v}", "Call us at {v} before noon.", "Mobile: {v}"),
        "other": ("The order number is {n}.", "Tracking code {n}.", "Your ticket {n} is open.", "Article {n} is out of stock.", "We need {s} pieces in version {s}.{s}.", "Room {s}, floor {s}, at {s}:30.", "About {s} % of the boxes are here."),
        "hello": "Dear Ms Marsh,", "bye": "Kind regards", "wrote": "On {d}, {w} wrote:", "subject": "Our delivery",
    },
    "de": {
        "date": ("Wir könnten uns am {v} treffen.", "Die Reparatur ist für den {v} geplant.", "Bitte antworten Sie bis zum {v}.", "Die Ware ging am {v} per Spedition ab."),
        "amount": ("Vereinbart waren {v} für den ganzen Auftrag.", "Offen sind noch {v}.", "Die Anzahlung von {v} ist eingegangen.", "Eine neue Pumpe kostet {v} zuzüglich Versand."),
        "iban": ("Bitte überweisen Sie auf {v}.", "Unser Konto ist ab sofort {v}.", "IBAN: {v}"),
        "phone": ("Sie erreichen mich unter {v}.", "Tel. {v}", "Rufen Sie uns vor zwölf unter {v} an.", "Mobil: {v}"),
        "other": ("Die Auftragsnummer lautet {n}.", "Sendungsnummer {n}.", "Ihr Ticket {n} ist offen.", "Artikel {n} ist vergriffen.", "Wir brauchen {s} Stück in Version {s}.{s}.", "Raum {s}, Etage {s}, um {s}:30 Uhr.", "Etwa {s} % der Kisten sind da."),
        "hello": "Sehr geehrte Frau Marsch,", "bye": "Mit freundlichen Grüßen", "wrote": "Am {d} schrieb {w}:", "subject": "Unsere Lieferung",
    },
    "fr": {
        "date": ("Nous pourrions nous voir le {v}.", "La réparation est prévue le {v}.", "Merci de répondre avant le {v}.", "La marchandise est partie le {v} par camion."),
        "amount": ("Nous avions convenu de {v} pour le tout.", "Il reste {v} à payer.", "L'acompte de {v} a été versé.", "Une pompe neuve coûte {v} hors frais de port."),
        "iban": ("Merci de virer la somme sur {v}.", "Notre compte est désormais {v}.", "IBAN : {v}"),
        "phone": ("Vous pouvez me joindre au {v}.", "Tél. {v}", "Appelez-nous au {v} avant midi.", "Portable : {v}"),
        "other": ("Le numéro de commande est {n}.", "Code de suivi {n}.", "Votre ticket {n} est ouvert.", "L'article {n} est épuisé.", "Il nous faut {s} pièces en version {s}.{s}.", "Salle {s}, étage {s}, à {s} h 30.", "Environ {s} % des cartons sont là."),
        "hello": "Chère Madame Marchand,", "bye": "Cordialement", "wrote": "Le {d}, {w} a écrit :", "subject": "Notre livraison",
    },
}  # fmt: skip
PEOPLE = (
    ("Jo Adler", "jo.adler@nordwerk.example"),
    ("Claire Petit", "c.petit@atelier.example"),
    ("Sam Brook", "sam@brookltd.example"),
)


@dataclass(frozen=True, kw_only=True)
class Mail:
    """`truth`: kind to its values, as they are compared: ISO dates, (value, currency), IBANs and digits alone."""

    seed: int
    language: str
    shape: str
    data: bytes
    truth: dict[str, set[str]]


def invent(seed: int) -> Mail:
    """The mail of a seed."""
    dice = random.Random(f"mail/{seed}")
    language = dice.choice(LANGUAGES)
    truth: dict[str, set[str]] = {"date": set(), "amount": set(), "iban": set(), "phone": set()}
    sent = dt.datetime(2025, 2, 1, 8, 15, tzinfo=dt.UTC) + dt.timedelta(
        days=dice.randrange(600), minutes=dice.randrange(500)
    )
    truth["date"].add(sent.date().isoformat())
    lines = [*_lines(dice, language, truth, dice.randint(3, 7)), "", *_signature(dice, language, truth)]
    shape = dice.choice(("plain", "html", "both"))
    if dice.random() < 0.4:
        shape += ", quoting"
        before = sent - dt.timedelta(days=dice.randint(1, 20))
        name, _ = dice.choice(PEOPLE)
        text, iso = day_of(dice, language, before.date())
        truth["date"].add(iso)
        lines += ["", SENTENCES[language]["wrote"].replace("{d}", text).replace("{w}", name)]
        lines += [f"> {line}" for line in _lines(dice, language, truth, dice.randint(1, 4))]
    return Mail(seed=seed, language=language, shape=shape, data=_eml(dice, language, sent, lines, shape), truth=truth)


def _lines(dice: random.Random, language: str, truth: dict[str, set[str]], count: int) -> list[str]:
    words = SENTENCES[language]
    lines = [str(words["hello"]), ""]
    for _ in range(count):
        kind = dice.choice(("date", "amount", "iban", "phone", "other", "other"))
        template = dice.choice(words[kind])
        if kind == "other":
            number = dice.choice(("{:08d}", "{:010d}", "A-{:07d}", "{:06d}", "4{:011d}", "{:05d}/2")).format(
                dice.randrange(10**6)
            )
            lines.append(template.replace("{n}", number).replace("{s}", str(dice.randint(2, 18))))
            continue
        text, value = _WRITERS[kind](dice, language)
        truth[kind].add(value)
        lines.append(template.format(v=text))
    return lines


def _signature(dice: random.Random, language: str, truth: dict[str, set[str]]) -> list[str]:
    name, address = dice.choice(PEOPLE)
    lines = [str(SENTENCES[language]["bye"]), name]
    if dice.random() < 0.7:
        text, value = phone_of(dice, language)
        truth["phone"].add(value)
        label = dice.choice(
            {
                "en": ("T ", "Phone: ", "Tel. ", ""),
                "de": ("Tel.: ", "Telefon ", "Fon ", ""),
                "fr": ("Tél. : ", "Tél ", ""),
            }[language]
        )
        lines += ["-- ", f"{name} | {label}{text}", address]
    return lines


def day_of(dice: random.Random, language: str, day: dt.date | None = None) -> tuple[str, str]:
    """A date as people type it, and as ISO. A day above 12 where slashes would leave the order open."""
    day = day or dt.date(2025, 1, 1) + dt.timedelta(days=dice.randrange(900))
    month = MONTHS[language][day.month - 1]
    long = {
        "en": f"{day.day} {month} {day.year}",
        "de": f"{day.day}. {month} {day.year}",
        "fr": f"{'1er' if day.day == 1 else day.day} {month} {day.year}",
    }[language]
    short = {"en": f"{day:%d/%m/%Y}", "de": f"{day:%d.%m.%Y}", "fr": f"{day:%d/%m/%Y}"}[language]
    own = {"en": f"{month} {day.day}, {day.year}", "de": f"{day:%d.%m.%y}", "fr": f"{day:%d.%m.%Y}"}[language]
    return dice.choice((long, short, own, day.isoformat())), day.isoformat()


def amount_of(dice: random.Random, language: str) -> tuple[str, str]:
    """A sum as people type it, and `value currency`."""
    cents = dice.choice((dice.randrange(500, 99_000), dice.randrange(100_000, 9_000_000)))
    code, sign = dice.choice(
        {
            "en": (("GBP", "£"), ("USD", "$"), ("EUR", "€")),
            "de": (("EUR", "€"), ("EUR", "€"), ("CHF", "CHF")),
            "fr": (("EUR", "€"), ("EUR", "€"), ("CHF", "CHF")),
        }[language]
    )
    style = (
        "swiss"
        if code == "CHF"
        else dice.choice(
            {"en": ("uk", "plain point"), "de": ("de", "plain comma"), "fr": ("fr", "fr thin", "blank")}[language]
        )
    )
    text = number_text(cents, style)
    written = (
        (f"{sign}{text}" if len(sign) == 1 else f"{sign} {text}", f"{text} {code}", f"{code} {text}")
        if language == "en"
        else (f"{text} {sign}", f"{text} {code}")
    )
    return dice.choice(written), f"{cents / 100:.2f} {code}"


def iban_of(dice: random.Random, _: str) -> tuple[str, str]:
    """An IBAN with its check digits right, in groups of four or in one."""
    country, bank, digits = dice.choice(
        (("GB", "BARC", 14), ("DE", "", 18), ("FR", "", 23), ("AT", "", 16), ("CH", "", 17), ("NL", "ABNA", 10))
    )
    basis = bank + "".join(str(dice.randrange(10)) for _ in range(digits))
    moved = "".join(str(int(c, 36)) for c in f"{basis}{country}00")
    code = f"{country}{98 - int(moved) % 97:02}{basis}"
    return dice.choice((code, " ".join(code[i : i + 4] for i in range(0, len(code), 4)))), code


def phone_of(dice: random.Random, language: str) -> tuple[str, str]:
    """A national or international number, and its digits."""
    d = "".join(str(dice.randrange(10)) for _ in range(8))
    text = dice.choice({
        "en": (f"+44 1603 {d[:6]}", f"01603 {d[:6]}", f"020 7{d[:3]} {d[3:7]}", f"+44 (0)20 7{d[:3]} {d[3:7]}", f"07700 {d[:6]}", f"(503) 5{d[:2]}-{d[2:6]}"),
        "de": (f"+49 431 {d[:6]}", f"0431 / {d[:6]}", f"+49 (0)431 {d[:4]}-{d[4:6]}", f"0431-{d[:6]}", f"0171 {d[:7]}", f"0049 30 {d[:7]}", f"+43 1 {d[:7]}"),
        "fr": (f"05 {d[:2]} {d[2:4]} {d[4:6]} {d[6:]}", f"+33 5 {d[:2]} {d[2:4]} {d[4:6]} {d[6:]}", f"05.{d[:2]}.{d[2:4]}.{d[4:6]}.{d[6:]}", f"06 {d[:2]} {d[2:4]} {d[4:6]} {d[6:]}", f"0033 5{d}", f"+41 22 {d[:3]} {d[3:5]} {d[5:7]}"),
    }[language])  # fmt: skip
    return text, "".join(c for c in text if c.isdigit())


_WRITERS: dict[str, Callable[[random.Random, str], tuple[str, str]]] = {
    "date": day_of, "amount": amount_of, "iban": iban_of, "phone": phone_of,
}  # fmt: skip


def _eml(dice: random.Random, language: str, sent: dt.datetime, lines: list[str], shape: str) -> bytes:
    message = EmailMessage()
    message["From"] = "{} <{}>".format(*dice.choice(PEOPLE))
    message["To"] = "office@example.com"
    message["Subject"] = str(SENTENCES[language]["subject"])
    message["Date"] = format_datetime(sent)
    plain = "\n".join(lines) + "\n"
    tag = dice.choice(("p", "div"))
    blocks = "".join(f"<{tag}>{line.replace('> ', '', 1)}</{tag}>\n" for line in lines if line)
    html = f"<html><head><style>p {{ margin: 12px 0 }}</style></head><body>{blocks}</body></html>"
    if shape.startswith("html"):
        message.set_content(html, subtype="html")
    else:
        message.set_content(plain)
        if shape.startswith("both"):
            message.add_alternative(html, subtype="html")
    return message.as_bytes()
