"""One run of a user's local engine, in a process of its own: `python -m hocket.cli.trial FOLDER` prints what is wrong.

The sample is `sample.toml` in the folder (text, instruction, options, documents = [files beside it]); without one, a
short text. A refusal (NeedsModel, BadInput) is an honest outcome and no fault.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from hocket.contracts.specialties import Specialty, load_specialty
from hocket.core.work import BadInput, Document, NeedsModel, Work
from hocket.llm.schemas import faults

_KEYS = {"text", "instruction", "options", "documents"}


def sample_of(specialty: Specialty) -> Work:
    """The work that the engine is tried on. Raises ValueError or OSError for a sample that cannot be read."""
    path = specialty.folder / "sample.toml"
    given: dict[str, Any] = tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
    if unknown := sorted(set(given) - _KEYS):
        raise ValueError(f"there is no {', '.join(unknown)} in a sample, only {', '.join(sorted(_KEYS))}")
    documents = tuple(
        Document(name=name, media_type="", data=(specialty.folder / name).read_bytes())
        for name in given.get("documents", ())
    )
    return Work(
        task_id="sample",
        specialty=specialty.name,
        instruction=str(given.get("instruction", "Do your work on this sample.")),
        text=str(given.get("text", "" if documents else "A short text, as a sample.")),
        documents=documents,
        options=dict(given.get("options", {})),
    )


def tried(folder: Path) -> list[str]:
    """What is wrong with the engine in the folder, with the file named; runs its code."""
    specialty = load_specialty(folder, builtin=False)
    path = folder / "local.py"
    try:
        work = sample_of(specialty)
    except (OSError, ValueError, TypeError) as e:
        return [f"{folder}/sample.toml: {e}"]
    spec = importlib.util.spec_from_file_location(f"hocket_specialty_{folder.name.replace('-', '_')}", path)
    if spec is None or spec.loader is None:
        return [f"{path}: not a Python module"]
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    if not callable(getattr(module, "run", None)):
        return [f"{path}: there is no `def run(work: Work) -> dict`"]
    try:
        output = module.run(work)
    except NeedsModel as e:
        if e.instead is None:
            return []
        output = e.instead
    except BadInput:
        return []
    return [
        f"{path}: its output on the sample does not fit output.avsc: {f}"
        for f in faults(specialty.output_schema, output)
    ]


def main() -> None:
    """Prints a JSON list of faults as the last line; a crash of the engine ends in its traceback."""
    found = tried(Path(sys.argv[1]))
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main()
