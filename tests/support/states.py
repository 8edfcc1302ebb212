"""Draws the life of a request from the join's own table: `python -m tests.support.states` rewrites docs/requests.md."""

from __future__ import annotations

import re
from pathlib import Path

from services.aggregator.join import ABSENT, TABLE

PAGE = Path(__file__).parents[2] / "docs" / "requests.md"
_MARKS = ("<!-- drawn: diagram -->", "<!-- drawn: table -->", "<!-- /drawn -->")


def diagram() -> str:
    """The table as a Mermaid state diagram; moves that stay in their phase are left to the table of words."""
    lines = ["```mermaid", "stateDiagram-v2"]
    edges: dict[tuple[str, str], list[str]] = {}
    for (phase, word), move in TABLE.items():
        for after in move.to:
            if after != phase:
                edges.setdefault((phase, after), []).append(word)
    for (phase, after), words in edges.items():
        lines.append(f"    {_node(phase)} --> {_node(after)}: {', '.join(dict.fromkeys(words))}")
    return "\n".join([*lines, "```"])


def _node(phase: str) -> str:
    return "[*]" if phase == ABSENT else phase


def words() -> str:
    """The table in words."""
    lines = ["| phase | event | what happens | phase after |", "|---|---|---|---|"]
    for (phase, word), move in TABLE.items():
        lines += [f"| {phase} | {word} | {what} | {after} |" for after, what in move.to.items()]
    return "\n".join(lines)


def drawn(page: str) -> str:
    """The page with both parts drawn anew."""
    for mark, part in zip(_MARKS, (diagram(), words()), strict=False):
        pattern = re.compile(re.escape(mark) + r".*?" + re.escape(_MARKS[2]), re.DOTALL)
        page = pattern.sub(lambda _found, m=mark, p=part: f"{m}\n{p}\n{_MARKS[2]}", page)  # type: ignore[misc]
    return page


def main() -> None:
    """Rewrites the page."""
    PAGE.write_text(drawn(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
