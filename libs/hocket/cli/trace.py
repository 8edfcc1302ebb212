"""`hocket trace`: one request as a tree with times and cost, from what was written about it so far."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree

from hocket.cli.base import CliError, Output, console, print_json, printable
from hocket.cli.exchange import connect
from hocket.cli.render import dollars, seconds
from hocket.contracts.records import Answer
from hocket.runtime.settings import Settings
from services.monitor.board import Board
from services.monitor.views import request_view

_STYLES = {"completed": "green", "assigned": "cyan", "failed": "red", "skipped": "yellow"}
_BAR = 24


async def read(settings: Settings, request_id: str) -> dict[str, Any] | None:
    """What progress and answers tell of a request up to now; None when they do not know it."""
    board = Board()
    async with connect(settings) as exchange:
        place = await exchange.place(request_id, replay=True)
        async for heard in exchange.follow(place, seconds=0.0):
            if isinstance(heard.record, Answer):
                board.answer(heard.record)
                break
            board.progress(heard.record)
    found = board.find(request_id)
    return None if found is None else request_view(found)


def run_trace(settings: Settings, request_id: str, output: Output) -> None:
    """Prints the tree; raises CliError for a request that nobody has written of."""
    found = asyncio.run(read(settings, request_id))
    if found is None:
        message = (
            f"nothing is known of {request_id}: progress is kept for a day, answers for the retention of their topic"
        )
        raise CliError(message, kind="not_found")
    if output is Output.json:
        print_json(found)
        return
    console().print(_tree(found))


def _tree(found: Mapping[str, Any]) -> Tree:
    root = Tree(_head(found))
    above: list[Tree] = [root]
    for task in found["tasks"]:
        del above[task["level"] + 1 :]
        above.append(above[-1].add(_leaf(task, found)))
    for what, why in found.get("left_out", ()):
        root.add(Text(printable(f"left out: {what}: {why}"), style="yellow"))
    if found.get("error"):
        root.add(Text(printable(found["error"]), style="red"))
    return root


def _head(found: Mapping[str, Any]) -> Text:
    took = max(0, found["last_at"] - found["first_at"])
    head = Text.assemble((printable(found["id"]), "bold"), f"  {found['status']}  {seconds(took)}")
    if "cost_usd" in found:
        head.append(f"  {dollars(found['cost_usd'])}  {found['calls']} model calls")
        source = f"{found['source']} ({found['workflow']})" if found["workflow"] else found["source"]
        head.append(f"  plan by {printable(source)}", style="dim")
    return head


def _leaf(task: Mapping[str, Any], found: Mapping[str, Any]) -> Text:
    state = task["state"]
    text = Text.assemble((f"{state:<9}", _STYLES.get(state, "dim")), "  ", (printable(task["id"]), "bold"))
    text.append(f"  {printable(task['specialty'])}", style="dim")
    begun, ended = task["started_at"], task["ended_at"]
    if begun is not None:
        until = ended if ended is not None else found["last_at"]
        text.append(f"  +{seconds(max(0, begun - found['first_at']))}, {seconds(max(0, until - begun))}")
        text.append(f"  {_bar(begun, until, found)}", style=_STYLES.get(state, ""))
    if task.get("cost_usd"):
        text.append(f"  {dollars(task['cost_usd'])}")
    more = [
        task.get("engine"),
        "critical path" if task["id"] in found.get("critical_path", ()) else None,
        task["worker"],
    ]
    if task["also_after"]:
        more.insert(0, f"also after {', '.join(task['also_after'])}")
    text.append(printable("".join(f"  {m}" for m in more if m)), style="dim")
    if task["note"]:
        text.append(f"  {printable(task['note'])}", style="red" if state == "failed" else "dim")
    return text


def _bar(begun: int, ended: int, found: Mapping[str, Any]) -> str:
    """Where in the request's time the task ran."""
    span = max(1, found["last_at"] - found["first_at"])
    low: int = min(_BAR - 1, max(0, round(_BAR * (begun - found["first_at"]) / span)))
    wide: int = max(1, min(_BAR - low, round(_BAR * (ended - begun) / span)))
    return "·" * low + "━" * wide + "·" * (_BAR - low - wide)
