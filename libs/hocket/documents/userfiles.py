"""Rules that stand in TOML files and that the user may add to, for all workflows or for one.

HOCKET_PATTERNS names a folder: `<engine>.toml` counts for all workflows, `<engine>.<workflow>.toml` for that one. A
table is merged into the built-in table, a list is put in front of the built-in list, any other value replaces it. A
changed file counts from the next task on.
"""

import functools
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hocket.core.work import BadInput

VARIABLE = "HOCKET_PATTERNS"


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
    """The rules of all these files. Raises BadInput naming the file that is no TOML. Do not change what it returns."""
    rules: dict[str, Any] = {}
    for name, _ in files:
        try:
            found = tomllib.loads(Path(name).read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"The rules in {name} cannot be read: {error}. Mend that file.") from error
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
