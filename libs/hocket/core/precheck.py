"""What is looked at before a model is paid: is there an input, is it small enough, is it ours to send. Pure.

The patterns are heuristics: they find what is plainly there. What a document says is data to a model either way (see
hocket.llm.render); the injection rule is for specialties that would rather not read such a document at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}\b", re.ASCII)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"\b(?:\d[ -]?){12,18}\d\b", re.ASCII)
_SSN = re.compile(r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}\b", re.ASCII)
_INJECTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:previous|prior|above|earlier|all|your|system)\b"
    r".{0,20}\b(?:instruction|prompt|rule|direction|message)s?\b"
    r"|\byou are now (?:a|an|in)\b|\b(?:reveal|print|repeat|show)\b.{0,30}\bsystem prompt\b"
    r"|<\|?(?:im_start|system|endoftext)\|?>|\bdo anything now\b"
    r"|\bignorier\w* .{0,40}(?:anweisung|vorgabe)\w*|\bignore[rz] .{0,40}instructions précédentes",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a specialty's `[check]` table says. `personal` and `injection` say whether such a text may go to a model."""

    input: bool = False
    max_chars: int | None = None
    languages: tuple[str, ...] = ()
    personal: Literal["send", "keep"] = "send"
    injection: Literal["send", "keep"] = "send"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Why the input is not sent (or, with `only_noted`, what about it was noticed)."""

    check: str
    message: str = ""
    only_noted: bool = False


def look(
    rules: Rules, texts: Sequence[str], *, has_pictures: bool, language_of: Callable[[str], str]
) -> tuple[Finding, ...]:
    """Everything found about the input's texts, in the order of the rules."""
    text = "\n".join(texts)
    return tuple(
        f for f in (_size(rules, text, has_pictures), _language(rules, text, language_of), *_kept(rules, text)) if f
    )


def _size(rules: Rules, text: str, has_pictures: bool) -> Finding | None:
    if rules.input and not text.strip() and not has_pictures:
        return Finding(check="input", message="There is nothing to work on: send a text or a document that holds one.")
    if rules.max_chars is not None and len(text) > rules.max_chars:
        said = f"The input has {len(text)} characters; this specialty sends at most {rules.max_chars}: send parts."
        return Finding(check="size", message=said)
    return None


def _language(rules: Rules, text: str, language_of: Callable[[str], str]) -> Finding | None:
    if not rules.languages or not text.strip():
        return None
    found = language_of(text)
    if found in rules.languages:
        return None
    wanted = ", ".join(rules.languages)
    return Finding(check="language", message=f"The text looks like {found}; this specialty works on {wanted} only.")


def _kept(rules: Rules, text: str) -> list[Finding]:
    found = []
    if kinds := personal_in(text):
        said = f"The text holds {', '.join(kinds)}, which this specialty does not send to models: take it out."
        found.append(Finding(check="personal", message=said, only_noted=rules.personal == "send"))
    if _INJECTION.search(text):
        said = (
            "The text holds what looks like instructions to a model, which this specialty does not send: take it out."
        )
        found.append(Finding(check="injection", message=said, only_noted=rules.injection == "send"))
    return found


def personal_in(text: str) -> tuple[str, ...]:
    """Kinds of personal data that are plainly in a text; numbers only when their check digits are right."""
    found = []
    if _EMAIL.search(text):
        found.append("an e-mail address")
    if any(_iban(m.group()) for m in _IBAN.finditer(text)):
        found.append("an IBAN")
    if any(_luhn(m.group()) for m in _CARD.finditer(text)):
        found.append("a card number")
    if _SSN.search(text):
        found.append("a social security number")
    return tuple(found)


def _iban(text: str) -> bool:
    """ISO 13616: the country and check digits moved to the end, letters as 10 to 35, modulo 97 is 1."""
    said = text.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in said[4:] + said[:4])) % 97 == 1


def _luhn(text: str) -> bool:
    """ISO/IEC 7812-1: every second digit from the right doubled, its digits summed, all together divisible by ten."""
    digits = [int(c) for c in text if c.isdigit()][::-1]
    return sum(d if n % 2 == 0 else sum(divmod(2 * d, 10)) for n, d in enumerate(digits)) % 10 == 0
