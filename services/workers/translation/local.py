"""The local engine of translation: formats, and the way dates, numbers and currencies are written. No language.

with: {to: html}                            # text, markdown, html, csv, json
with: {to: json, from: csv}                 # from: else as declared, by the name, by the looks (a CSV has none)
with: {locale: de, from_locale: en-GB}      # en-US (en), en-GB, de, fr; from_locale: else by the text's language
"""

import re
from typing import Any

from hocket.core.work import BadInput, NeedsModel, Work
from hocket.documents.language import language_of
from hocket.documents.reading import read
from services.workers.texts import decoded
from services.workers.translation.formats import FORMATS, converted, format_of
from services.workers.translation.locales import LOCALES, SHORT, doubtful, locale_named, rewritten

_TRANSLATES = re.compile(r"(?i)\b(?:translat|übersetz|tradui|traduction)")
_INTO = re.compile(r"(?i)\b(?:to|into|as|in|nach|als|en)\s+(plain text|text|markdown|html|csv|json)\b")


def run(work: Work) -> dict[str, Any]:
    """Convert one text as `options.to` and `options.locale` say, or as the instruction plainly asks."""
    target = _target(work)
    locale = work.options.get("locale")
    if work.options.get("language") or (target is None and locale is None):
        raise NeedsModel(
            "Translating from one language into another needs a model: without one only formats and the way dates, "
            "numbers and currencies are written can be converted (options to and locale)."
        )
    text, source = _source(work)
    source = _format(work, "from", source)
    changes: list[dict[str, str]] = []
    if locale is not None:
        text, changes = _localised(work, text, locale)
    return {
        "text": converted(text, source, target or source),
        "source_format": source,
        "target_format": target or source,
        "changes": changes,
        "notes": [],
    }


def _target(work: Work) -> str | None:
    wanted = work.options.get("to")
    if wanted is None:
        said = work.instruction if work.workflow is not None else f"{work.instruction}\n{work.text}"
        found = _INTO.search(said)
        if found is None or _TRANSLATES.search(said):
            return None
        return found[1].lower().removeprefix("plain ")
    return _format(work, "to", "")


def _format(work: Work, name: str, default: str) -> str:
    wanted = work.options.get(name) or default
    if wanted not in FORMATS:
        raise BadInput(f"The option {name} must be one of {', '.join(FORMATS)}, not {wanted!r}.")
    return str(wanted)


def _source(work: Work) -> tuple[str, str]:
    """The one text to convert and its format: the document, else an earlier task's text, else the request's."""
    if len(work.documents) > 1:
        raise BadInput("Converting takes one document at a time: send them as requests of their own.")
    for document in work.documents:
        media_type = document.media_type.partition(";")[0].strip().lower()
        if media_type.startswith("text/") or media_type == "application/json":
            text = decoded(document)
            return text, format_of(text, document.name, media_type)
        return "\n\n".join(reading.text for reading in read(document)), "text"
    found = [said for item in work.inputs if isinstance(said := item.output.get("text"), str) and said.strip()]
    if len(found) > 1:
        raise BadInput("Converting takes the text of one earlier task; this one depends on several.")
    given = found[0] if found else work.text
    if not given.strip():
        raise BadInput("There is nothing to convert: send a text or a document.")
    return given, format_of(given)


def _localised(work: Work, text: str, wanted: Any) -> tuple[str, list[dict[str, str]]]:
    target = locale_named(wanted)
    if target is None:
        raise BadInput(f"The option locale must be one of {', '.join([*LOCALES, *SHORT])}, not {wanted!r}.")
    given = work.options.get("from_locale")
    source = locale_named(language_of(text) if given is None else given)
    known = ", ".join(LOCALES)
    if source is None:
        raise BadInput(f"How dates and numbers are written now cannot be told: name it as from_locale ({known}).")
    if given is None and source.language == "en" and (days := doubtful(text)):
        # A wrong date is worse than a question.
        raise BadInput(f"{days[0]} can be two days: say whether it is from_locale en-US or en-GB.")
    return rewritten(text, source, target)
