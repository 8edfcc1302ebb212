# ruff: noqa: RUF001 - typographic dashes and quotation marks are what is read here
"""Who sent a document and to whom: by label, by the form of a company's name, by the place on the page. Pure."""

import re
from collections.abc import Iterator, Sequence

from hocket.documents.layout import Cell, Row
from services.workers.extraction.pairing import BELOW, Found, Label, is_header, values
from services.workers.extraction.values import amounts, dates, fold, patterns

_POSTCODE = re.compile(
    r"(?<!\d)(?:[A-Z]{1,2}-)?\d{4,5}(?!\d)\s+[^\W\d_]{2,}|\b[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b|\b[A-Z]{2} \d{5}\b"
)
_CONTACT = re.compile(r"@|www\.|https?:|\+?\d[\d ()/-]{7,}\d|\b(?:IBAN|BIC|VAT|USt)\b", re.IGNORECASE)

_RECITAL = 700
"""How far from "between" the second party may begin, in characters."""
_LONGEST_NAME = 80


def name_of(text: str, where: int) -> tuple[str, int] | None:
    """A `Reader` for names: the text up to a mark that ends one."""
    del where
    cut = re.split(r"\s[·•|]\s|\s{2,}|,\s|;|\s\((?!haftungsbeschr)|\s[-–]\s", text, maxsplit=1)[0].strip(" :.,")
    if cut and text[text.find(cut) + len(cut) :].startswith(".") and _form(f"{cut}."):
        cut += "."  # the full stop of "Inc." is part of the name
    if len(re.findall(r"[^\W\d_]", cut)) < 3 or _CONTACT.search(cut) or dates(cut):
        return None
    return cut, text.find(cut) + len(cut)


def _form(text: str) -> bool:
    """Whether a text ends with (or holds, before a bracket or a dot) a company's legal form."""
    words = f" {text.strip()} "
    return any(f" {form} " in words or f" {form}," in words for form in patterns()["company"]["forms"])


def _titled(text: str) -> bool:
    bare = re.sub(r"[^a-z ]", "", fold(text)).strip()
    return bare in {fold(title) for title in patterns()["company"]["titles"]}


def _addressed(text: str) -> bool:
    words = set(re.findall(r"[a-z.]+", fold(text)))
    known = {fold(word) for word in patterns()["company"]["address"]}
    glued = re.search(r"(?:strasse|strase|str\.|weg|platz|allee|gasse)\s*\d", fold(text)) is not None
    return bool(words & known and re.search(r"\d", text)) or glued or _POSTCODE.search(text) is not None


def customer_of(rows: Sequence[Row], labels: Sequence[Label]) -> Found[str] | None:
    """By its label, else the first line of an address that is not the sender's."""
    found = min(values(rows, labels, "customer", name_of), key=lambda item: (item.rank, item.where), default=None)
    return found or _addressee(rows, labels)


def _addressee(rows: Sequence[Row], labels: Sequence[Label]) -> Found[str] | None:
    """The window of a letter: three or more short lines, left-aligned, ending with a postcode and a town."""
    vendor = vendor_of(rows, labels, None)
    places = ((number, column, cell) for number, row in enumerate(rows[:40]) for column, cell in enumerate(row))
    for number, column, cell in places:
        if (
            cell.page
            or not _POSTCODE.search(cell.text)
            or len(cell.text) > 45
            or any(mark in cell.text for mark in "·•|")
        ):
            continue
        block = _block_above(rows, number, column)
        if vendor and fold(block[0].text).strip(" .") == fold(vendor.value).strip(" ."):
            continue  # the sender's own address
        while block and vendor and fold(vendor.value) in fold(block[0].text):
            block.pop(0)  # the sender's line above the window
        if len(block) >= 2:
            got = name_of(block[0].text, BELOW)
            if got and not _titled(got[0]) and not _addressed(got[0]):
                return Found(value=got[0], snippet=block[0].text[: got[1]], rank=0, where=BELOW, row=number)
    return None


def _block_above(rows: Sequence[Row], number: int, column: int) -> list[Cell]:
    """The lines of an address block, top first, its last line being the given cell."""
    block = [rows[number][column]]
    for row in reversed(rows[max(0, number - 8) : number]):
        low = block[0]
        aligned = [cell for cell in row if abs(cell.x0 - low.x0) <= low.height]
        if not aligned:
            continue  # a line of the column beside it
        above = aligned[0]
        too_far = low.y0 - above.y1 > 1.1 * low.height
        if too_far or any(mark in above.text for mark in "·•|") or _CONTACT.search(above.text) or len(block) > 4:
            break
        if above.height > 1.6 * low.height:
            break  # a headline
        block.insert(0, above)
    return block


def vendor_of(rows: Sequence[Row], labels: Sequence[Label], customer: str | None) -> Found[str] | None:
    """By its label, else the likeliest name at the head of the first page."""
    found = min(values(rows, labels, "vendor", name_of), key=lambda item: (item.rank, item.where), default=None)
    if found is not None:
        return found
    heads = _heads(rows, labels, customer)
    scored = [(_score(found.value, cell, rows, number), -number, found) for number, cell, found in heads]
    best = max(scored, key=lambda item: item[:2], default=None)
    return best[2] if best and best[0] > 0 else None


def _heads(
    rows: Sequence[Row], labels: Sequence[Label], customer: str | None
) -> Iterator[tuple[int, Cell, Found[str]]]:
    """What may be the sender's name: unlabelled cells above the table of items, and legal forms anywhere."""
    labelled = {(label.row, label.column) for label in labels if label.start < 3 and label.field != "vendor"}
    first = [number for number, row in enumerate(rows) if row[0].page == rows[0][0].page]
    table = next((number for number in first if is_header(rows[number])), len(first))
    for number in first:
        for column, cell in enumerate(rows[number]):
            got = name_of(cell.text, BELOW)
            if got is None or (number, column) in labelled or _titled(cell.text) or len(got[0]) > 60:
                continue
            if customer and fold(customer) in fold(cell.text):
                continue
            if (number < min(table, 12) and not any(amounts(got[0])) and not _addressed(got[0])) or _form(got[0]):
                yield number, cell, Found(value=got[0], snippet=cell.text[: got[1]], rank=9, where=BELOW, row=number)


def _score(name: str, cell: Cell, rows: Sequence[Row], number: int) -> float:
    """How much a cell looks like the sender's name: legal form, size, being first, sharing its name with a domain."""
    heights = sorted(other.height for row in rows for other in row)
    usual = heights[len(heights) // 2] or 1.0
    score = 2.0 if _form(name) else 0.0
    score += 2 * min(2.0, max(0.0, cell.height / usual - 1.15))
    score += max(0.0, 1.6 - 0.2 * number)
    # A sender's name comes back in the line above the address and at the foot.
    score += 1.5 if sum(fold(name) in fold(other.text) for row in rows for other in row) > 1 else 0.0
    words = set(re.findall(r"[a-z]{4,}", fold(name)))
    domains = {
        part
        for row in rows
        for other in row
        for domain in re.findall(r"(?:@|www\.)([\w.-]+)\.\w{2,}", fold(other.text))
        for part in [re.sub(r"[^a-z]", "", domain)]
    }
    score += 2.0 if any(word in domain for word in words for domain in domains) else 0.0
    return score - (2.0 if cell.text.endswith((".", ":", "!", "?")) and not _form(name) else 0.0)


def contract_parties(text: str) -> list[str]:
    """The two names of "between X, … and Y, …", else those that stand behind their parts ("Tenant: …")."""
    words = patterns()["contract"]
    between = re.search(rf"(?i)\b(?:{_either(words['between'])})\b[\s:]+", text)
    names = _two(text[between.end() :][:_RECITAL]) if between else []
    return names if len(names) == 2 else _by_part(text) or names


def _two(text: str) -> list[str]:
    """The names on both sides of the "and" that divides the parties, which is not the first one in "Smith and Sons"."""
    ands = re.finditer(rf"(?i)[\s,;]+(?:{_either(patterns()['contract']['and'])})\s*:?\s+(?=[^\W\d_]|\(?2)", text)
    found = []
    for match in ands:
        one, two = _party(text[: match.start()]), _party(text[match.end() :])
        if one and two and two[0].isupper():
            alone = re.search(r"\n\W*\w+[\s:]*\n", match.group()) is not None
            weight = 4 * alone + 2 * _ends_with_form(one) + _form(two)
            found.append((weight, -match.start(), [one, two]))
    return max(found)[2] if found else []


def _by_part(text: str) -> list[str]:
    """The parties of a contract that names them by what they are to each other, a line each."""
    part = rf"(?im)^[^\w\n]*(?:\w{{1,3}}\s)?(?:{_either(patterns()['contract']['parts'])})\s*:\s*"
    names = [_party(text[match.end() :].partition("\n")[0]) for match in re.finditer(part, text)]
    found = list(dict.fromkeys(name for name in names if name))
    return found if len(found) > 1 else []


def _party(text: str) -> str | None:
    """The name that a text begins with. Its lines belong to it until it is whole or an address begins."""
    lead = rf"(?i)\s*(?:\(?[12]\)?[.)]?\s+)?(?:(?:{_either(patterns()['contract']['before'])})\s+)?"
    start = re.match(lead, text)
    lines = text[start.end() if start else 0 :].split("\n")
    name = lines[0]
    for line in lines[1:3]:
        if _form(name) or re.search(r"[,;(]", name) or not line.strip() or _addressed(line.partition(",")[0]):
            break
        name = f"{name} {line}"
    got = name_of(" ".join(name.split()), BELOW)
    return got[0] if got and len(got[0]) <= _LONGEST_NAME and not _addressed(got[0]) else None


def _ends_with_form(name: str) -> bool:
    return any(name.endswith(f" {form}") for form in patterns()["company"]["forms"])


def _either(words: Sequence[str]) -> str:
    """Words as an alternative of a regular expression, longer ones first."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
