"""The checkout as the self-checks read it: tracked or about to be, nothing that git ignores."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = {".py", ".toml", ".yaml", ".yml", ".md", ".json", ".avsc", ".txt", ".cfg", ".ini", ".tpl", ".html", ".eml", ""}


@cache
def files() -> tuple[Path, ...]:
    """Every file of the checkout that git tracks or would add, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return tuple(sorted(Path(p) for p in set(listed.split("\0")) if p and (ROOT / p).is_file()))


def python(*folders: str) -> list[Path]:
    """The Python files below the folders; all of them without any."""
    return [p for p in files() if p.suffix == ".py" and (not folders or p.parts[0] in folders)]


@cache
def text(path: Path) -> str:
    """A file's text, by its path from the root."""
    return (ROOT / path).read_text("utf-8")


@cache
def tree(path: Path) -> ast.Module:
    """A Python file, parsed."""
    return ast.parse(text(path), str(path))


def docstrings(module: ast.Module) -> set[int]:
    """The ids of the constant nodes that are docstrings, of the module and of everything in it."""
    found = set()
    for node in ast.walk(module):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            found |= {id(s.value) for s in body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)}
    return found
