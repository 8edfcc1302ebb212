"""How long the worker runtime is, honestly: lines that are neither empty nor comment nor docstring, file by file."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

from bench.conditions import mark

LIBS = Path(__file__).parents[1] / "libs" / "hocket"
EDGE = (
    "runtime",
    "desk",
    "outbox",
    "intake",
    "job",
    "ledger",
    "tenure",
    "recall",
    "journal",
    "heartbeat",
    "log",
    "aio",
    "broadcast",
    "handover",
)
PURE = ("offsets", "donemap", "schedule", "pace", "poison", "tally", "handover")
FLOOR = 900
_SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(source: str) -> int:
    """Lines on which some code stands. A string that is a statement of its own is a comment, wherever it stands."""
    told: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _SILENT:
            told.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            told.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(told)


def main() -> None:
    """Prints the count of every file of the runtime, and their sum against the floor."""
    paths = [LIBS / "kafka" / f"{name}.py" for name in EDGE] + [LIBS / "core" / f"{name}.py" for name in PURE]
    counts = {p: code_lines(p.read_text("utf-8")) for p in paths if p.exists()}
    for path, count in counts.items():
        print(f"{count:6} {path.relative_to(LIBS.parent)}")
    for label, part in (("at the edge", "kafka"), ("pure", "core")):
        print(f"{sum(n for p, n in counts.items() if p.parent.name == part):6} {label}")
    total = sum(counts.values())
    print(f"{total:6} lines of code; floor below {FLOOR} ({mark(total, FLOOR - 1, less=True)})")


if __name__ == "__main__":
    main()
