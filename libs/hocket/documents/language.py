"""Which language a text looks like, by its commonest words. Pure.

Small on purpose: it decides date order, abbreviations and whether the sentiment engine may speak, no more.
"""

import re

_COMMONEST = {
    "en": (
        "the and of to in is that for it with as was are be this on you not have at by from your our we i my "
        "will an or has been which please invoice total date due payment amount number bill"
    ),
    "de": (
        "der die das und ist nicht ein eine einen einem mit für von auf dem den des im zu sich auch wir sie "
        "ich ihr ihre ihnen bei wird werden sind hat oder nach bitte rechnung datum betrag summe mwst zahlbar "
        "menge nr uns zum zur"
    ),
    "fr": (
        "le la les des et est un une du de que qui dans pour pas sur avec au aux ce cette nous vous votre "
        "notre par plus ne sont je il elle facture montant numéro échéance tva quantité payer à d l réception "
        "client"
    ),
}
WORDS = {language: frozenset(words.split()) for language, words in _COMMONEST.items()}
NAMES = {"en": "English", "de": "German", "fr": "French", "other": "another language"}


def language_of(text: str) -> str:
    """`en`, `de`, `fr`, or `other` when none of them is clearly ahead."""
    words = re.findall(r"[^\W\d_]+", text[:20_000].lower())
    if not words:
        return "other"
    counts = {language: sum(word in common for word in words) for language, common in WORDS.items()}
    first, second = sorted(counts.values(), reverse=True)[:2]
    if first in (0, second) or first / len(words) < 0.04:
        return "other"
    return max(counts, key=lambda language: counts[language])
