"""Rules that stand in TOML files and that the user may add to, for all workflows or for one.

HOCKET_PATTERNS names a folder: `<engine>.toml` counts for all workflows, `<engine>.<workflow>.toml` for that one. A
table is merged into the built-in table, a list is put in front of the built-in list, any other value replaces it. A
changed file counts from the next task on.
"""

import functools
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from hocket.core.work import BadInput

VARIABLE = "HOCKET_PATTERNS"
_KEPT = 16
T = TypeVar("T")


class Rules:
    """What one engine goes by: within `of(workflow)` that workflow's rules, the user's files included; outside of it
    the built-in ones. Do not change what a call returns."""

    def __init__(self, builtin: Path, engine: str) -> None:
        self._builtin, self._engine = builtin, engine
        self._now: ContextVar[dict[str, Any] | None] = ContextVar(f"{engine}_rules", default=None)

    def __call__(self) -> dict[str, Any]:
        found = self._now.get()
        return merged_rules(((str(self._builtin), 0),)) if found is None else found

    @contextmanager
    def of(self, workflow: str | None) -> Iterator[None]:
        """Touches the disk. Raises BadInput that names a broken file."""
        token = self._now.set(merged_rules(files_of(self._builtin, self._engine, workflow)))
        try:
            yield
        finally:
            self._now.reset(token)

    def built(self, build: Callable[[], T]) -> Callable[[], T]:
        """Builds once for each set of rules; beyond a few sets, anew."""
        known: dict[int, tuple[dict[str, Any], T]] = {}

        @functools.wraps(build)
        def cached() -> T:
            rules = self()
            found = known.get(id(rules))
            if found is None or found[0] is not rules:
                if len(known) >= _KEPT:
                    known.clear()
                # The rules are kept beside what was built from them, so that their id stays theirs.
                found = known[id(rules)] = (rules, build())
            return found[1]

        return cached


def files_of(builtin: Path, engine: str, workflow: str | None) -> tuple[tuple[str, int], ...]:
    """The files that count, the built-in one first, each with its time of change. Touches the disk."""
    files = [builtin]
    folder = os.environ.get(VARIABLE)
    if folder:
        named = [f"{engine}.toml"]
        if workflow and re.fullmatch(r"[\w-]+", workflow):
            named.append(f"{engine}.{workflow}.toml")
        files += [Path(folder) / name for name in named if (Path(folder) / name).is_file()]
    return tuple((str(file), file.stat().st_mtime_ns) for file in files)


@functools.lru_cache(maxsize=32)
def merged_rules(files: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    """The rules of all these files. Raises BadInput naming the file that is no TOML, or whose value is of another kind
    than the built-in one. Do not change what it returns."""
    rules: dict[str, Any] = {}
    for name, _ in files:
        try:
            found = tomllib.loads(Path(name).read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"The rules in {name} cannot be read: {error}. Mend that file.") from error
        if wrong := _unlike(rules, found):
            raise BadInput(f"The rules in {name} are wrong: {wrong}. Mend that file.")
        rules = merged(rules, found)
    return rules


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`under` with `over` on top. Pure."""
    result = dict(under)
    for name, value in over.items():
        before = result.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            result[name] = merged(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            result[name] = [*value, *(item for item in before if item not in value)]
        else:
            result[name] = value
    return result


def _unlike(under: Mapping[str, Any], over: Mapping[str, Any], within: str = "") -> str | None:
    """The first value that is of another kind than the one it is merged with."""
    for name, value in over.items():
        before = under.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            if wrong := _unlike(before, value, f"{within}{name}."):
                return wrong
        elif before is not None and _kind(before) != _kind(value):
            return f"{within}{name} must be {_kind(before)}, as the built-in one is"
    return None


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list of texts" if all(isinstance(item, str) for item in value) else "a list"
    named = {dict: "a table", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return named.get(type(value), "a date or time")
