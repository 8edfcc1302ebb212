"""The local synthesis engine: puts the parts of a request together by a template, or verbatim under headings."""

import functools
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hocket.core.work import BadInput, Input, NeedsModel, Work
from services.workers.templates import name_of, names_of, render, used_names


def run(work: Work) -> dict[str, Any]:
    """Fill in `options.template`; without one, the one text there is. Several are joined only if no model delivers."""
    template = work.options.get("template")
    if template is None:
        return _joined(work)
    if not isinstance(template, str) or not template.strip():
        raise BadInput("The option template must be a text that is not empty.")
    used = used_names(template)
    sources = [item.task_id for item in work.inputs if name_of(item.task_id) in used]
    return {"text": render(template, names_of(work)), "sources": sources}


def _joined(work: Work) -> dict[str, Any]:
    texts = [(item.task_id, _text(item)) for item in work.inputs]
    if len(texts) == 1 and texts[0][1] is not None:
        return {"text": texts[0][1], "sources": [texts[0][0]]}
    raise NeedsModel(
        "Writing an answer out of open parts needs a model: without one, synthesis only fills in a template "
        "or puts texts under each other.",
        instead=_under_headings(texts),
    )


def _under_headings(texts: Sequence[tuple[str, str | None]]) -> dict[str, Any] | None:
    if not texts or any(text is None for _, text in texts):
        return None
    return {
        "text": "\n\n".join(f"## {name}\n\n{text}" for name, text in texts),
        "sources": [name for name, _ in texts],
    }


def _text(item: Input) -> str | None:
    text = item.output.get(_text_field(item.specialty))
    return text.strip() if isinstance(text, str) and text.strip() else None


@functools.cache
def _text_field(specialty: str) -> str:
    """The field a person reads: as the specialty's own folder says, `text` for one from elsewhere."""
    path = Path(__file__).parents[1] / specialty / "specialty.toml"
    if not specialty.isidentifier() or not path.is_file():
        return "text"
    return str(tomllib.loads(path.read_text(encoding="utf-8")).get("text", "text"))
