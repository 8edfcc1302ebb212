"""`hocket specialties` and `hocket workflows`: what is installed, and whether it is sound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hocket.cli.base import COMPLETE, WRONG, Output, console, print_json, say
from hocket.contracts.specialties import Specialty, SpecialtyError, load_specialties, load_specialty
from hocket.contracts.workflows import Workflow, WorkflowError, load_workflows, parse_workflow
from hocket.core.plan import layers
from hocket.runtime.settings import Settings

TRIAL_SECONDS = 30
"""How long a local engine may take on its sample."""


def show_specialties(settings: Settings, output: Output) -> int:
    """Lists the specialties with their engines."""
    rows = [_specialty_row(s) for s in load_specialties(settings.specialties).values()]
    if output is Output.json:
        print_json({"specialties": rows})
        return COMPLETE
    _table(("specialty", "needs", "first choice", "from", "purpose"), [
        (r["name"], _needed(r), r["ladder"]["balanced"][0] if r["ladder"]["balanced"] else "", r["from"], r["purpose"])
        for r in rows
    ])  # fmt: skip
    return COMPLETE


def _needed(row: Mapping[str, Any]) -> str:
    return f"a model for: {row['needs_model']}" if row["needs_model"] else str(row["needs"])


def _specialty_row(s: Specialty) -> dict[str, Any]:
    return {
        "name": s.name,
        "purpose": s.purpose,
        "needs": "a model for part of it (local engine for the rest)" if s.needs_model else _needs(s),
        "needs_model": s.needs_model,
        "ladder": {k: list(v) for k, v in s.ladder.items()},
        "max_output_tokens": s.max_output_tokens,
        "version": s.version,
        "from": "hocket" if s.builtin else str(s.folder),
    }


def _needs(s: Specialty | None) -> str:
    return "nothing (local engine)" if s is not None and s.has_local else "a model"


def check_specialties(settings: Settings, output: Output) -> int:
    """Holds every specialty against its files, and runs your own local engines once; exit code 1 with each fault named.

    Runs the code of your own folder, each engine in a process of its own, for at most TRIAL_SECONDS.
    """
    found, wrong = _loadable(settings.specialties)
    wrong += [w for s in found.values() for w in (*_text_faults(s), *_engine_faults(s))]
    return _verdict(wrong, {"specialties": [_specialty_row(s) for _, s in sorted(found.items())]}, output)


def _loadable(own: Path | None) -> tuple[dict[str, Specialty], list[str]]:
    """Every specialty that loads, and why others do not: one broken folder hides no other one's faults."""
    found, wrong = load_specialties(), list[str]()
    if own is not None and not own.is_dir():
        raise SpecialtyError(f"HOCKET_SPECIALTIES: {own} is not a folder")
    for folder in sorted(p for p in own.iterdir() if (p / "specialty.toml").is_file()) if own else ():
        try:
            found[folder.name] = load_specialty(folder, builtin=False)
        except SpecialtyError as e:
            found.pop(folder.name, None)
            wrong.append(str(e))
    if own is not None and not wrong and all(s.builtin for s in found.values()):
        wrong.append(f"{own}: there is no specialty in it: `hocket new specialty NAME --into {own}` makes one")
    return found, wrong


def _text_faults(s: Specialty) -> list[str]:
    """What loads and still would not work: a silent prompt, a record no model can fill in, a rung nobody knows."""
    from hocket.llm.catalogue import CatalogueError, load_catalogue
    from hocket.llm.schemas import SchemaError, json_schema

    wrong = [] if s.prompt.strip() else [f"{s.folder}/prompt.md: is empty: say what a model is to do"]
    try:
        json_schema(s.output_schema)
    except SchemaError as e:
        wrong.append(f"{s.folder}/output.avsc: {e}")
    own = os.environ.get("HOCKET_MODELS")
    try:
        known = {"local", *(entry.alias for entry in load_catalogue(Path(own) if own else None))}
    except CatalogueError as e:
        return [*wrong, str(e)]
    unknown = sorted({rung for rungs in s.ladder.values() for rung in rungs} - known)
    if unknown:
        there = ", ".join(sorted(known))
        wrong.append(f"{s.folder}/specialty.toml: the ladder names {', '.join(unknown)}; there are: {there}")
    return wrong


def _engine_faults(s: Specialty) -> list[str]:
    path = s.folder / "local.py"
    if not s.has_local:
        return (
            [f"{s.folder}/specialty.toml: the ladder names local, but there is no local.py"] if _wants_local(s) else []
        )
    try:
        source = path.read_text("utf-8")
        compile(source, str(path), "exec")
    except SyntaxError as e:
        return [f"{path}:{e.lineno}: {e.msg}"]
    except (OSError, ValueError) as e:
        return [f"{path}: {e}"]
    return [] if s.builtin else _trial_faults(s)


def _trial_faults(s: Specialty) -> list[str]:
    path = s.folder / "local.py"
    command = [sys.executable, "-m", "hocket.cli.trial", str(s.folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TRIAL_SECONDS)  # noqa: S603
    except subprocess.TimeoutExpired:
        return [f"{path}: did not end within {TRIAL_SECONDS} seconds on its sample"]
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with exit code {done.returncode}"]
        at = [line.strip() for line in lines if f'"{path}"' in line]
        place = at[-1].partition("line ")[2].partition(",")[0] if at else ""
        return [f"{path}{':' + place if place else ''}: fails on its sample: {lines[-1]}"]
    try:
        found = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return [f"{path}: ended the process instead of returning its output"]
    return [str(fault) for fault in found]


def _wants_local(s: Specialty) -> bool:
    return any("local" in rungs for rungs in s.ladder.values())


def show_workflows(settings: Settings, output: Output) -> int:
    """Lists the workflows with their steps and what those need."""
    specialties = load_specialties(settings.specialties)
    found = load_workflows(specialties, settings.workflows)
    rows = [_workflow_row(w, specialties) for w in found.values()]
    if output is Output.json:
        print_json({"workflows": rows})
        return COMPLETE
    _table(("workflow", "needs", "steps", "description"), [
        (r["name"], r["needs"], " > ".join(", ".join(w) for w in r["waves"]), r["description"]) for r in rows
    ])  # fmt: skip
    return COMPLETE


def check_workflows(settings: Settings, files: Sequence[Path], output: Output) -> int:
    """Checks the files, or all installed workflows without any; prints what each step needs; exit code 1 on faults."""
    specialties = load_specialties(settings.specialties)
    wrong: list[str] = []
    found: list[Workflow] = []
    if not files:
        try:
            found = list(load_workflows(specialties, settings.workflows).values())
        except WorkflowError as e:
            wrong.append(str(e))
    for path in files:
        try:
            found.append(parse_workflow(path.read_text("utf-8"), str(path), specialties))
        except WorkflowError as e:
            wrong.append(str(e))
        except (OSError, UnicodeDecodeError) as e:
            wrong.append(f"{path}: cannot be read: {e}")
    return _verdict(wrong, {"workflows": [_workflow_row(w, specialties) for w in found]}, output)


def _workflow_row(w: Workflow, specialties: Mapping[str, Specialty]) -> dict[str, Any]:
    from hocket.contracts.workflows import expand

    steps = [
        {
            "id": s.id,
            "specialty": s.specialty or "approval",
            "needs": "a person" if s.approve is not None else _needs(specialties.get(s.specialty)),
        }
        for s in w.tasks
    ]
    models = [s["id"] for s in steps if s["needs"] == "a model"]
    return {
        "name": w.name,
        "description": w.description,
        "needs": f"a model for {', '.join(models)}" if models else "nothing (local engines)",
        "steps": steps,
        "waves": layers(expand(w, 5)),
    }


def _verdict(wrong: list[str], found: dict[str, Any], output: Output) -> int:
    if output is Output.json:
        print_json({"ok": not wrong, "faults": wrong, **found})
    else:
        for name, rows in found.items():
            shown = [_needing(r) if isinstance(r, dict) else str(r) for r in rows]
            print(f"{len(rows)} {name} are sound:" if rows else f"no {name} that are sound")
            for text in shown:
                print(f"  {text}")
        for fault in wrong:
            say(f"hocket: {fault}")
    return WRONG if wrong else COMPLETE


def _needing(row: Mapping[str, Any]) -> str:
    part = row.get("needs_model")
    return f"{row['name']} needs {row['needs']}{f': {part}' if part else ''}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)
