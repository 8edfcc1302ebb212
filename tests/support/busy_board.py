"""A monitor's page without Kafka: the real server, stream and page, fed with an installation that was made up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from hocket.contracts.records import (
    Answer,
    DeadLetter,
    Error,
    Heartbeat,
    PlannedTask,
    Progress,
    Receipt,
    TaskReceipt,
)
from hocket.local.process import free_ports
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from services.monitor.board import Board
from services.monitor.counts import Tally
from services.monitor.hub import Hub
from services.monitor.lag import Committed, First, GroupLag, Kept, Member, Worker, group_lag, worker
from services.monitor.offsets import Offsets
from services.monitor.watch import hub_of
from services.monitor.web import Page, serve

SPECIALTIES = (
    "analysis",
    "decision",
    "extraction",
    "research",
    "sentiment",
    "summarisation",
    "synthesis",
    "translation",
)
TEXT = "The delivery came late, and two of the ten lamps were broken; the customer asks for new ones by Friday. "


class FakeLive:
    """What faust's tables would hold."""

    undecodable: dict[str, int] = {}  # noqa: RUF012 - nothing is ever put into it

    def __init__(self) -> None:
        self.beats: list[Heartbeat] = []

    def whole(self) -> bool:
        return True

    def answers(self) -> Tally:
        return Tally()

    def dead_letters(self) -> Tally:
        return Tally()

    def workers(self, at: int) -> list[Worker]:
        return [worker(b, at - 400, at) for b in self.beats]


class BusyBoard:
    """A made-up installation behind a real page."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.board = Board()
        self.offsets = Offsets(settings, now_ms)
        self.page = Page(settings, self.offsets, now_ms)
        self.live = FakeLive()
        self.page.live = self.live  # type: ignore[assignment]
        self.hub: Hub = hub_of(settings, self.page, self.board)
        self.address = ""

    def plan(self, request_id: str, *, at: int, running: int = 1) -> None:
        """A request of four tasks, the first so many of which have begun."""
        tasks = (
            PlannedTask(task_id="read", specialty="extraction", instruction="-"),
            PlannedTask(task_id="mood", specialty="sentiment", instruction="-"),
            PlannedTask(task_id="facts", specialty="research", instruction="-", depends_on=("read",)),
            PlannedTask(task_id="answer", specialty="synthesis", instruction="-", depends_on=("facts", "mood")),
        )
        self.board.progress(Progress(request_id=request_id, kind="planned", tasks=tasks, at=at))
        for n, task in enumerate(tasks[:running]):
            self.move(request_id, task.task_id, "assigned", at + 100 + n)

    def move(self, request_id: str, task_id: str, kind: Any, at: int, text: str = "") -> None:
        """A task begins or ends."""
        event = Progress(request_id=request_id, task_id=task_id, kind=kind, worker="w-1", text=text, at=at)
        self.board.progress(event)

    def say(self, request_id: str, task_id: str, text: str, start: int = 0) -> None:
        """A piece of a task's text."""
        self.board.progress(
            Progress(request_id=request_id, task_id=task_id, kind="text", run="r", start=start, text=text, at=now_ms())
        )

    def answer(
        self, request_id: str, *, at: int, status: Any = "completed", cost: float = 0.0021, lost_runs: int = 0
    ) -> None:
        """A request's answer."""
        fine = status == "completed"
        tasks = (
            _receipt("read", "extraction", at, 3_900, 3_100, 0.0),
            _receipt("mood", "sentiment", at, 3_900, 2_700, 0.0004),
            _receipt("facts", "research", at, 3_000, 1_300, cost / 2, after=("read",), state=status),
            _receipt("answer", "synthesis", at, 1_200, 50, cost / 2, after=("facts", "mood"), state=status),
        )
        receipt = Receipt(
            source="workflow",
            workflow="complaint-triage",
            tasks=tasks,
            critical_path=("read", "facts", "answer"),
            cost_usd=cost,
            calls=3,
            lost_runs=lost_runs,
            input_tokens=1_900,
            output_tokens=420,
            submitted_at=at - 4_200,
            admitted_at=at - 4_100,
            answered_at=at,
        )
        error = None if fine else Error(kind="failed", message="research failed: no passage was found")
        self.board.answer(Answer(request_id=request_id, status=status, content=TEXT * 3, error=error, receipt=receipt))

    def stand(self) -> None:
        """Groups with some lag, and workers."""
        now = now_ms()
        self.offsets.groups = tuple(self._group(s, n) for n, s in enumerate(("planning", *SPECIALTIES)))
        self.offsets.read_at_ms = now
        self.live.beats = [_beat(s, n, now) for n, s in enumerate(SPECIALTIES)]
        self.live.beats.append(
            Heartbeat(worker="planner-0", service="planner", started_at=0, at=now, partitions=("tasks-planning/0",))
        )
        self.offsets.on_look()

    def _group(self, specialty: str, n: int) -> GroupLag:
        role = "planner" if specialty == "planning" else f"worker-{specialty}"
        topic = f"{self.settings.prefix}tasks-{specialty}"
        held = frozenset((topic, p) for p in range(6))
        owner = Member(consumer_id=f"{role}-1", client_id=role, host="/10.0.0.7", places=held)
        kept = {(topic, p): Kept(start=0, end=1_000 + (37 * n * (p + 1)) % 90) for p in range(6)}
        first = {place: First(offset=1_000, at_ms=now_ms() - 2_300 * (n + 1)) for place in kept}
        committed = dict.fromkeys(kept, Committed(offset=1_000))
        return group_lag(self.settings.group(role), kept, committed, first=first, members=[owner], now_ms=now_ms())

    def fill(self, requests: int = 30) -> None:
        """Something to look at everywhere."""
        now = now_ms()
        for n in range(60):
            for k in range((n * 7) % 5 + 1):
                status = "failed" if n % 17 == 3 else "completed"
                self.answer(f"done-{n}-{k}", at=now - 60_000 * n - 900 * k, status=status, cost=0.0011 * (1 + n % 4))
        for n in range(requests):
            self.plan(crowd(n), at=now - 1_000 * min(requests - n, 600), running=n % 4)
        self.say(crowd(requests - 1), "mood", TEXT * 2)
        for n in range(3):
            self.board.dead_letter(
                DeadLetter(
                    topic="requests",
                    partition=n,
                    offset=4_100 + n,
                    key=f"req-{n}".encode(),
                    kind="invalid",
                    reason="the request has neither text nor attachments: give it one of them",
                    service="aggregator",
                    at=now - 60_000 * n,
                )
            )
        self.stand()

    async def up(self) -> None:
        """Serves the page, always at the same address."""
        self._runner, self.address = await serve(self.settings, self.page, self.board, self.hub)
        self._running = asyncio.create_task(self.hub.run())

    async def down(self) -> None:
        """Closes every connection and serves no more."""
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        await self._runner.cleanup()


def crowd(n: int) -> str:
    """The id of a request in progress."""
    return f"{n:05d}a7c9-4f20-9b1e-lamps"


def _receipt(
    task_id: str,
    specialty: str,
    at: int,
    began: int,
    ended: int,
    cost: float,
    after: tuple[str, ...] = (),
    state: Any = "completed",
) -> TaskReceipt:
    return TaskReceipt(
        task_id=task_id,
        specialty=specialty,
        state=state,
        depends_on=after,
        started_at=at - began,
        ended_at=at - ended,
        dispatched_at=at - 4_000,
        cost_usd=cost,
        worker="w-1",
        engine="anthropic/claude-haiku",
    )


def _beat(specialty: str, n: int, now: int) -> Heartbeat:
    return Heartbeat(
        worker=f"{specialty}-7d9f{n}",
        service="worker",
        specialty=specialty,
        started_at=now - 60_000,
        at=now,
        in_flight=(3 * n) % 9,
        queued=n,
        completed=1_200 + 31 * n,
        failed=n % 3,
        concurrency=16,
        mean_millis=900.0 + 100 * n,
        p50_millis=700.0 + 90 * n,
        p95_millis=1_900.0 + 200 * n,
        per_second=2.5,
        rate_limited=specialty == "research",
        partitions=tuple(f"tasks-{specialty}/{p}" for p in range(6)),
    )


@contextlib.asynccontextmanager
async def busy_board(settings: Settings) -> AsyncIterator[BusyBoard]:
    """The page of a made-up installation, served."""
    made = BusyBoard(settings.model_copy(update={"http_port": free_ports(1)[0]}))
    await made.up()
    try:
        yield made
    finally:
        await made.down()
