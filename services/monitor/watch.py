"""What the page watches beside faust's tables: progress, answers and dead letters, read whole and without a group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from hocket.contracts.records import Answer, DeadLetter, Progress
from hocket.kafka.broadcast import Broadcast
from hocket.kafka.client import codec_of, topics_of
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from services.monitor import views
from services.monitor.board import PLANNING, Board
from services.monitor.hub import Hub
from services.monitor.web import Page

LOOK_BACK_MS = 900_000
"""After a restart the board is made anew from so much of the topics."""
_FORGET_S = 10.0


async def watch(settings: Settings, board: Board) -> None:
    """Feeds the board until cancelled; while Kafka is away it shows what it has."""
    topics, codec, since = topics_of(settings), codec_of(settings), now_ms() - LOOK_BACK_MS
    progress = Broadcast(
        settings, topic=topics.progress, record=Progress, codec=codec, heard=board.progress, since_ms=since
    )
    answers = Broadcast(settings, topic=topics.answers, record=Answer, codec=codec, heard=board.answer, since_ms=since)
    letters = Broadcast(
        settings,
        topic=topics.dead_letters,
        record=DeadLetter,
        codec=codec,
        heard=lambda letter: board.dead_letter(letter, letters.place),
    )
    async with asyncio.TaskGroup() as together:
        for reader in (progress, answers, letters):
            together.create_task(reader.run())
        together.create_task(_tidy(board))


async def _tidy(board: Board) -> None:
    while True:
        await asyncio.sleep(_FORGET_S)
        board.forget(now_ms())


def hub_of(settings: Settings, page: Page, board: Board) -> Hub:
    """The stream of the page's sections."""
    prefix, requests = settings.group(""), topics_of(settings).requests

    def sections() -> Mapping[str, Any]:
        now = page.now_ms()
        groups, workers = list(page.groups()), page.workers()
        by_specialty = {}
        for g in groups:
            role = g.group.removeprefix(prefix)
            if role == "planner" or role.startswith("worker-"):
                verdicts = {(p.topic, p.partition): page.standing(g, p) for p in g.partitions}
                name = PLANNING if role == "planner" else role.removeprefix("worker-")
                by_specialty[name] = (g, verdicts, page.drain_seconds(g.group))
        return {
            "summary": views.summary(board, groups, workers, now) | {"problem": page.ready()},
            "flow": views.flow(board, 60 * page.arrivals(requests), now),
            "specialties": views.specialties(by_specialty, page.signals(), workers, board, now),
            "workers": views.workers_view(workers),
            "asked": [views.row(a) for a in board.rows()],
            "answered": [views.answered_row(a) for a in board.latest()],
            "latencies": views.latencies(board),
            "cost": views.cost(board, now),
            "dead": views.dead_letters(board, replay=settings.monitor_replay),
        }

    def find(request_id: str) -> Any | None:
        found = board.find(request_id)
        return None if found is None else views.request_view(found)

    return Hub(sections, find)
