"""What a specialty's folder brings as code: `local.py`, its engine, and `check.py`, its own judgement. Both optional.

`check.py` may define `before(work) -> str | None`, the sentence with which a task is refused before a model is paid,
and `accept(work, output) -> list[str]`, what is wrong with an output that fits the record. Both run often: they must be
quick and do nothing but look.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hocket.contracts.specialties import Specialty
from hocket.core.work import Work

Run = Callable[[Work], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Checks:
    """A specialty's own judgement; what its folder does not bring finds nothing."""

    before: Callable[[Work], str | None] = lambda _: None
    accept: Callable[[Work, dict[str, Any]], list[str]] = lambda _, __: []


class Hooks:
    """All that is loaded, each at its first use. Its methods block, and raise whatever the modules raise."""

    def __init__(self) -> None:
        self._engines: dict[str, Run] = {}
        self._checks: dict[str, Checks] = {}

    def engine(self, specialty: Specialty) -> Run:
        """The specialty's local engine."""
        if specialty.name not in self._engines:
            self._engines[specialty.name] = _module(specialty, "local").run
        return self._engines[specialty.name]

    def checks(self, specialty: Specialty) -> Checks:
        """The specialty's checks."""
        if specialty.name not in self._checks:
            found: dict[str, Any] = {}
            if (specialty.folder / "check.py").is_file():
                module = _module(specialty, "check")
                found = {name: getattr(module, name) for name in ("before", "accept") if hasattr(module, name)}
            self._checks[specialty.name] = Checks(**found)
        return self._checks[specialty.name]


def _module(specialty: Specialty, part: str) -> ModuleType:
    folder = specialty.name.replace("-", "_")
    if specialty.builtin:
        return importlib.import_module(f"services.workers.{folder}.{part}")
    path = specialty.folder / f"{part}.py"
    name = f"hocket_specialty_{folder}" if part == "local" else f"hocket_specialty_{folder}_{part}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
