# ruff: noqa: RUF001 - typographic dashes and quotation marks are what is read here
"""Splitting a text into sentences, in English, German and French. Pure.

Every sentence is a verbatim piece of the text, line breaks of a paragraph made into blanks.
"""

import re

_SHORT = (  # English, German, French
    "mr mrs ms dr prof sr jr st vs etc inc ltd co corp no nos fig figs eq approx dept est e.g i.e cf al vol "
    "pp p ed eds jan feb mar apr jun jul aug sept sep oct nov dec a.m p.m u.s u.k rev hon gen col capt attn "
    "ref tel ext min max bzw ca z.b u.a d.h usw evtl ggf inkl exkl zzgl nr str tel abs art s sog vgl o.ä o.g "
    "i.d.r z.t z.zt hr fr dipl ing mio mrd std okt dez mai geb bspw gem lt max min mwst ust i.v i.a u.u m mm "
    "mme mmes mlle env ex p.ex c.-à-d av bd n° art réf tél janv févr avr juil déc éd chap cie ste"
)
_ABBREVIATIONS = frozenset(_SHORT.split())
_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s|$)")
_NEXT = re.compile(r"\s+[\"'“‘«„(\[¿¡-]*\s*(\S)")
_BULLET = re.compile(r"^\s*(?:[-*•–]\s+|\d{1,2}[.)]\s+|[a-z]\)\s+|#{1,6}\s+|>\s?)")


def sentences(text: str) -> list[str]:
    """The sentences in order. A paragraph, a list item and a heading each end one."""
    found: list[str] = []
    for paragraph in _paragraphs(text):
        found += _split(paragraph)
    return [sentence for sentence in found if re.search(r"\w", sentence)]


def _paragraphs(text: str) -> list[str]:
    paragraphs: list[str] = []
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        bullet = _BULLET.match(line)
        if (not line.strip() or bullet) and lines:
            paragraphs.append(" ".join(" ".join(lines).split()))
            lines = []
        if line.strip():
            lines.append(line)
    return [*paragraphs, *([" ".join(" ".join(lines).split())] if lines else [])]


def _split(paragraph: str) -> list[str]:
    found: list[str] = []
    start = 0
    for match in _END.finditer(paragraph):
        if _ends(paragraph, match):
            found.append(paragraph[start : match.end()].strip())
            start = match.end()
    found.append(paragraph[start:].strip())
    return [sentence for sentence in found if sentence]


def _ends(paragraph: str, match: re.Match[str]) -> bool:
    """Whether the mark ends a sentence: not after an abbreviation, an initial, or before a small letter."""
    following = _NEXT.match(paragraph, match.end())
    if following is None or not match.group().startswith("."):
        return following is None or not following[1].islower()
    if following[1].islower():
        return False
    word = re.search(r"(\S+)$", paragraph[: match.start()])
    last = word[1].lstrip("(\"'„«“").lower() if word else ""
    if match.group() != ".":
        return True  # a closing quotation mark or bracket follows the full stop
    if last in _ABBREVIATIONS or re.fullmatch(r"(?:[^\W\d_]\.)*[^\W\d_]", last):
        return False
    # "1." and "14." are counted things or German days, unless they end a clause with a number of its own.
    return not (
        re.fullmatch(r"\d{1,2}", last) and len(paragraph[: match.start()].split()) > 0 and _ordinal(paragraph, match)
    )


def _ordinal(paragraph: str, match: re.Match[str]) -> bool:
    words = paragraph[: match.start()].split()
    following = paragraph[match.end() :].split()[:1]
    months = "januar|februar|märz|april|mai|juni|juli|august|september|oktober|november|dezember|quartal|jahrhundert"
    return len(words) == 1 or bool(following and re.fullmatch(months, following[0].strip(".,").lower()))
