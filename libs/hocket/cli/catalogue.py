"""`hocket specialties` and `hocket workflows`: what is installed, and whether it is sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hocket.cli.base import COMPLETE, WRONG, Output, console, print_json, say
from hocket.contracts.specialties import Specialty, SpecialtyError, load_specialties
from hocket.contracts.workflows import Workflow, WorkflowError, load_workflows, parse_workflow
from hocket.core.plan import layers
from hocket.runtime.settings import Settings


def show_specialties(settings: Settings, output: Output) -> int:
    """Lists the specialties with their engines."""
    rows = [_specialty_row(s) for s in load_specialties(settings.specialties).values()]
    if output is Output.json:
        print_json({"specialties": rows})
        return COMPLETE
    _table(("specialty", "needs", "first choice", "from", "purpose"), [
        (r["name"], r["needs"], r["ladder"]["balanced"][0] if r["ladder"]["balanced"] else "", r["from"], r["purpose"])
        for r in rows
    ])  # fmt: skip
    return COMPLETE


def _specialty_row(s: Specialty) -> dict[str, Any]:
    return {
        "name": s.name,
        "purpose": s.purpose,
        "needs": _needs(s),
        "ladder": {k: list(v) for k, v in s.ladder.items()},
        "version": s.version,
        "from": "hocket" if s.builtin else str(s.folder),
    }


def _needs(s: Specialty | None) -> str:
    return "nothing (local engine)" if s is not None and s.has_local else "a model"


def check_specialties(settings: Settings, output: Output) -> int:
    """Loads every specialty, and compiles its local engine; exit code 1 with each fault named."""
    try:
        found = load_specialties(settings.specialties)
    except SpecialtyError as e:
        return _verdict([str(e)], {}, output)
    wrong = [w for s in found.values() for w in _engine_faults(s)]
    return _verdict(wrong, {"specialties": sorted(found)}, output)


def _engine_faults(s: Specialty) -> list[str]:
    path = s.folder / "local.py"
    if not s.has_local:
        return (
            [f"{s.folder}/specialty.toml: the ladder names local, but there is no local.py"] if _wants_local(s) else []
        )
    source = path.read_text("utf-8")
    try:
        compile(source, str(path), "exec")
    except SyntaxError as e:
        return [f"{path}:{e.lineno}: {e.msg}"]
    return [] if "def run(" in source else [f"{path}: there is no `def run(work: Work) -> dict`"]


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
            shown = [f"{r['name']} needs {r['needs']}" if isinstance(r, dict) else str(r) for r in rows]
            print(f"{len(rows)} {name} are sound:" if rows else f"no {name} that are sound")
            for text in shown:
                print(f"  {text}")
        for fault in wrong:
            say(f"hocket: {fault}")
    return WRONG if wrong else COMPLETE


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)
