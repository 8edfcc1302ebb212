"""How requests, answers and receipts look. Every text that came over the wire passes `printable` first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from hocket.cli.base import console, printable
from hocket.cli.follow import TaskView, TextLines, View, line
from hocket.contracts.records import Answer, Progress, Receipt, TaskReceipt
from hocket.core.transcript import Change

_MARKS = {
    "pending": ("·", "dim"),
    "assigned": ("▶", "cyan"),
    "completed": ("✔", "green"),
    "failed": ("✘", "red"),
    "skipped": ("-", "yellow"),
}
_STATUS_STYLE = {"completed": "green", "partial": "yellow", "failed": "red", "expired": "red", "cancelled": "yellow"}


def seconds(millis: int | None) -> str:
    """A duration for people."""
    if millis is None:
        return ""
    return f"{millis} ms" if millis < 1000 else f"{millis / 1000:.1f} s"


def dollars(cost: float | None) -> str:
    """An amount for people; None is an unknown price, never nothing."""
    if cost is None:
        return "unknown"
    return "$0" if cost == 0 else f"${cost:.4f}"


def lost(runs: int) -> str:
    """What is known of runs that were lost with their workers."""
    if runs == 1:
        return "1 run that was lost with its worker (what it called may be billed)"
    return f"{runs} runs that were lost with their workers (what they called may be billed)"


def tree(view: View) -> Tree:
    """The plan as a tree: each task under the dependency that runs last."""
    head = Text(printable(view.request_id), style="bold")
    if not view.tasks and view.answer is None:
        head.append("  planning ..." if view.planner else "  submitted", style="dim")
    root = Tree(head)
    nodes: dict[str | None, Tree] = {None: root}
    for task_id, parent in view.parents().items():
        nodes[task_id] = nodes[parent].add(_leaf(view.tasks[task_id], parent))
    return root


def _leaf(task: TaskView, parent: str | None) -> Text:
    mark, style = _MARKS.get(task.state, ("?", ""))
    text = Text.assemble((mark, style), " ", (printable(task.planned.task_id), "bold"))
    text.append(f"  {printable(task.planned.specialty)}", style="dim")
    if task.started_at is not None and task.ended_at is not None:
        text.append(f"  {seconds(task.ended_at - task.started_at)}", style="dim")
    others = [d for d in task.planned.depends_on if d != parent]
    if others:
        text.append(f"  also after {printable(', '.join(others))}", style="dim")
    if task.text and task.state in ("assigned", "failed"):
        text.append(
            f"  {printable(task.text).splitlines()[-1][:100]}", style="red" if task.state == "failed" else "dim"
        )
    return text


class Watcher(Protocol):
    """Is told of each event of the followed request, and of what it changes in the tasks' texts."""

    def __call__(self, event: Progress | Answer, changes: Sequence[Change] = ()) -> None: ...


@contextmanager
def watching(request_id: str, *, texts: bool = False) -> Iterator[Watcher]:
    """Shows events on stderr while the block runs: a live tree in a terminal, a line each elsewhere (with `texts` also
    the lines of streamed text)."""
    err = console(stderr=True)
    if not err.is_terminal:
        lines = TextLines()

        def tell(event: Progress | Answer, changes: Sequence[Change] = ()) -> None:
            for text in lines.after(event, changes) if texts else ():
                _print(err, text)
            _print(err, line(event))

        try:
            yield tell
        finally:
            for text in lines.rest() if texts else ():
                _print(err, text)
        return
    view = View(request_id=request_id)
    with Live(tree(view), console=err, auto_refresh=False) as live:

        def show(event: Progress | Answer, changes: Sequence[Change] = ()) -> None:
            nonlocal view
            view = view.after(event)
            for change in changes:
                view = view.said(change)
            live.update(tree(view), refresh=True)

        yield show


def _print(err: Console, text: str | None) -> None:
    if text is not None:
        err.print(printable(text), markup=False, soft_wrap=True)


def print_answer(answer: Answer) -> None:
    """The answer and its receipt on stdout."""
    out = console()
    if answer.content:
        out.print(printable(answer.content), markup=False, soft_wrap=True)
        out.print()
    if answer.error is not None:
        out.print(f"[red]{escape(printable(answer.error.message))}[/red] ({escape(answer.error.kind)})", soft_wrap=True)
        out.print()
    print_receipt(answer, out)


def print_receipt(answer: Answer, out: Console) -> None:
    """What was done, by whom, how long it took and what it cost."""
    receipt = answer.receipt
    out.print(_summary(answer), soft_wrap=True)
    if receipt.tasks:
        out.print(_table(receipt))
    if receipt.critical_path:
        out.print(f"critical path: {escape(printable(' > '.join(receipt.critical_path)))}", soft_wrap=True)
    for left in receipt.left_out:
        out.print(f"left out: {escape(printable(left.what))}: {escape(printable(left.why))}", soft_wrap=True)


def _summary(answer: Answer) -> Text:
    receipt = answer.receipt
    begun = receipt.submitted_at or receipt.admitted_at
    text = Text.assemble((answer.status, f"bold {_STATUS_STYLE.get(answer.status, '')}"))
    text.append(f" in {seconds(max(0, receipt.answered_at - begun))}, cost {dollars(receipt.cost_usd)}")
    if receipt.max_cost_usd is not None:
        text.append(f" of at most {dollars(receipt.max_cost_usd)}")
        if receipt.reserved_usd:
            text.append(f" ({dollars(receipt.reserved_usd)} set aside for what had not come back)")
    if receipt.lost_runs:
        text.append(f" without {lost(receipt.lost_runs)}", style="yellow")
    text.append(f", {receipt.calls} model calls, plan by {receipt.source}")
    if receipt.workflow:
        text.append(f" ({printable(receipt.workflow)})")
    text.append(f", request {printable(answer.request_id)}")
    return text


def _table(receipt: Receipt) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("task", "specialty", "state", "engine", "worker", "time", "cost", "why"):
        table.add_column(name, overflow="fold", justify="right" if name in ("time", "cost") else "left")
    for t in receipt.tasks:
        table.add_row(*_cells(t))
    return table


def _cells(t: TaskReceipt) -> list[Text]:
    took = t.ended_at - t.started_at if t.ended_at is not None and t.started_at is not None else None
    why = t.error.message if t.error is not None else t.why or ""
    cells: list[Any] = [
        t.task_id,
        t.specialty,
        Text(t.state, style=_MARKS[t.state][1]),
        t.engine or "",
        t.worker or "",
        seconds(took),
        dollars(t.cost_usd) if t.state in ("completed", "failed") else "",
        why,
    ]
    return [c if isinstance(c, Text) else Text(printable(c)) for c in cells]


def answer_json(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON document; outputs that travelled inline are objects, not strings of JSON."""
    document = answer.model_dump(mode="json")
    for entry in document["outputs"]:
        data = entry["output"]["data"]
        if data is not None:
            try:
                entry["output"]["data"] = json.loads(data)
            except ValueError:
                continue
    return document
