"""What a research output must keep to, whoever wrote it: a quote stands word for word in the document it names."""

import re
import unicodedata
from typing import Any

from hocket.core.work import BadInput, Work
from hocket.documents.reading import kind_of
from services.workers.research.passages import of_document

_MOST = 5
_ALIKE = str.maketrans("‘’‚‛“”„‟«»–—‑−", '\'\'\'\'""""""----')  # noqa: RUF001 - what printers make of typed marks


def accept(work: Work, output: dict[str, Any]) -> list[str]:
    """Name every passage whose quote is not in its document or input; only the kind of blank, of quotation mark and of
    dash may differ. What stands in a picture cannot be checked word for word and passes."""
    passages = output.get("passages") or []
    if not passages:
        return []
    texts, unread = _texts(work)
    wrong = []
    for passage in passages:
        name, quote = passage["document"], _plain(passage["quote"])
        if name in unread:
            continue
        if name not in texts:
            known = ", ".join([*texts, *sorted(unread)]) or "none"
            wrong.append(f"passages: there is no document {name!r}; the documents are: {known}")
        elif not quote or quote not in texts[name]:
            wrong.append(f"passages: this quote does not stand word for word in {name}: {passage['quote'][:200]!r}")
    return wrong[:_MOST]


def _texts(work: Work) -> tuple[dict[str, str], set[str]]:
    """Name to text of all that was sent, and the names of pictures and of what cannot be read."""
    found = [(item.task_id, _plain(str(item.output.get("text", "")))) for item in work.inputs]
    unread = set()
    for document in work.documents:
        if kind_of(document).startswith("image/"):
            unread.add(document.name)
            continue
        try:
            found += [(source.name, _plain(source.text)) for source in of_document(document)]
        except BadInput:
            unread.add(document.name)
    texts: dict[str, str] = {}
    for name, text in found:
        texts[name] = f"{texts[name]} {text}" if name in texts else text
    return texts, unread


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text).translate(_ALIKE)).strip()
