"""A task as a call to a model: the specialty's prompt, the documents' text, pictures as pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hocket.contracts.specialties import Specialty
from hocket.core.work import BadInput, Document, Work
from hocket.llm.base import ModelCall
from hocket.llm.render import Page, render
from hocket.llm.schemas import json_schema

MAX_IMAGES = 10
MAX_IMAGE_BYTES = 4 * 1024 * 1024
"""Both providers take at least this much for one picture."""
MAX_TEXT_CHARS = 600_000
"""Text of all documents together; more fits no model of the catalogue for certain."""
_PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif")
_TOOL = "deliver_result"


@dataclass(frozen=True, kw_only=True)
class Question:
    """A call, and the texts in it that come from outside: what the checks look at."""

    call: ModelCall
    texts: tuple[str, ...]


def question_of(specialty: Specialty, work: Work) -> Question:
    """The call that asks for the specialty's output record; the model's id is filled in by Models.

    Reads documents (PDFs without a text layer by OCR): call it in a thread. Raises BadInput when there is too much.
    """
    pictures, pages = _documents(work.documents)
    chars = sum(len(p.text or "") for p in pages) + len(work.text)
    if chars > MAX_TEXT_CHARS:
        raise BadInput(f"The documents hold {chars} characters; at most {MAX_TEXT_CHARS} go to a model: send parts.")
    facts = {"constants": dict(work.constants), "options": dict(work.options), "earlier": dict(work.earlier)}
    call = ModelCall(
        model="",
        system=specialty.prompt,
        prompt=render(work.instruction, text=work.text, pages=pages, inputs=work.inputs, facts=facts),
        images=pictures,
        tool_name=_TOOL,
        tool_description=f"Delivers the result. {specialty.purpose}",
        tool_schema=json_schema(specialty.output_schema),
        max_output_tokens=specialty.max_output_tokens,
        text_field=specialty.text_field,
    )
    inputs = [json.dumps(dict(i.output), ensure_ascii=False, default=str) for i in work.inputs]
    texts = (work.text, *(p.text or "" for p in pages), *inputs, *work.constants.values(), *work.earlier.values())
    return Question(call=call, texts=tuple(t for t in texts if t))


def _documents(documents: Sequence[Document]) -> tuple[tuple[Document, ...], list[Page]]:
    from hocket.documents.reading import kind_of

    pictures: list[Document] = []
    pages: list[Page] = []
    for document in documents:
        kind = kind_of(document)
        if kind in _PICTURES and len(document.data) <= MAX_IMAGE_BYTES and len(pictures) < MAX_IMAGES:
            pictures.append(Document(name=document.name, media_type=kind, data=document.data))
            note = f"picture {len(pictures)} of those attached to this message"
            pages.append(Page(name=document.name, media_type=kind, note=note))
        else:
            pages += _pages(document, kind)
    return tuple(pictures), pages


def _pages(document: Document, kind: str) -> list[Page]:
    from hocket.documents.reading import read

    try:
        return [Page(name=r.name, media_type=r.media_type, text=r.text) for r in read(document)]
    except BadInput as e:
        # The task may well be possible without it; the model is told, and can say so in its reply.
        return [Page(name=document.name, media_type=kind, note=f"cannot be shown: {e}")]
