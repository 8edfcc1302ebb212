"""The run file of `hocket dev`: where a running stack stands, so that other commands on this machine find it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hocket.runtime.settings import data_home


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """What a running stack tells others. `pid` is the supervisor's; `pids` and `ports` are by service."""

    pid: int
    bootstrap: str
    prefix: str
    partitions: int
    blob_store: str
    data: str
    monitor: str | None = None
    specialties: str | None = None
    workflows: str | None = None
    pids: dict[str, int] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)


def run_path() -> Path:
    """Where the run file stands; there is one per data home, so one stack at a time is found by itself."""
    return data_home() / "dev" / "run.json"


def read_run(path: Path | None = None) -> RunFile | None:
    """The stack that runs now, None when there is none. A file left behind by a killed supervisor does not count."""
    try:
        found = RunFile(**json.loads((path or run_path()).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if _alive(found.pid) else None


def write_run(run: RunFile, path: Path | None = None) -> None:
    """Publishes the stack; readers see the old file or the new one, never a half."""
    target = path or run_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    draft.write_text(json.dumps(asdict(run), indent=1), "utf-8")
    draft.replace(target)


def remove_run(path: Path | None = None) -> None:
    """Removes the file if this process wrote it."""
    target = path or run_path()
    found = read_run(target)
    if found is not None and found.pid == os.getpid():
        target.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
