"""An answer as files: its text, each task's output record, and the pictures in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hocket.cli.base import say, usage
from hocket.contracts.claims import Blobs
from hocket.contracts.records import Answer
from hocket.runtime.settings import Settings

_PICTURE = "<svg "


def must_be_free(folder: Path | None) -> None:
    """Raises CliError (usage) for a folder in which something is: nothing of the user's is written over."""
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        usage(f"--save {folder}: it is there already and not an empty folder")


def save(answer: Answer, folder: Path, settings: Settings) -> None:
    """Writes the files and says on stderr which. Reads large outputs from the blob store: raises ClaimError."""
    blobs = Blobs(settings.blob_store, settings.allowed_uris)
    outputs = {entry.task_id: json.loads(blobs.output(entry.output)) for entry in answer.outputs}
    files = dict(files_of(answer.content, outputs))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    say(f"saved to {folder}: {', '.join(files)}")


def files_of(content: str, outputs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and texts: answer.txt, <task>.json, and <task>-<field>.svg for a field that holds a picture. Pure."""
    yield "answer.txt", f"{content}\n"
    for task_id, output in outputs.items():
        name = re.sub(r"[^\w-]", "_", task_id)  # a plan of a model names its tasks as it likes
        yield f"{name}.json", json.dumps(output, indent=2, ensure_ascii=False) + "\n"
        for field, value in output.items() if isinstance(output, dict) else ():
            if isinstance(value, str) and value.startswith(_PICTURE):
                yield f"{name}-{re.sub(r'[^A-Za-z0-9_]', '_', field)}.svg", value
