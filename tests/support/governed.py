"""Worker processes against a provider that enforces a limit, and says what it refused and how much was used."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hocket.contracts.records import Task
from hocket.contracts.topics import Topics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, producing, send
from tests.support.simulated import Reply, SimulatedProvider

WINDOW_S = 60.0


class Limited:
    """A provider's limit over any 60 seconds, by its own log; what is above it gets 429, and counts nothing."""

    def __init__(self, rpm: int, *, reply_s: float = 0.2, tell: bool = False) -> None:
        self.rpm, self._reply_s, self._tell = rpm, reply_s, tell
        self._window: deque[float] = deque()
        self.let_in: list[float] = []
        self.refused: list[float] = []

    def script(self, asked: dict[str, Any]) -> Reply:
        """An answer, or 429."""
        now = time.monotonic()
        while self._window and self._window[0] <= now - WINDOW_S:
            self._window.popleft()
        if len(self._window) >= self.rpm:
            self.refused.append(now)
            return Reply(status=429, code="rate_limit_error", headers={"retry-after": "1"} | self._headers())
        self._window.append(now)
        self.let_in.append(now)
        return Reply(data={"text": "done", "language": "en"}, delay_s=self._reply_s, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        if not self._tell:
            return {}
        left = str(self.rpm - len(self._window))
        return {"anthropic-ratelimit-requests-limit": str(self.rpm), "anthropic-ratelimit-requests-remaining": left}


@dataclass(kw_only=True)
class Governed:
    """A limited provider, its worker processes, and tasks without end."""

    limited: Limited
    settings: Settings
    topics: Topics
    folder: Path
    env: dict[str, str]
    workers: list[Service]
    calls: SimulatedProvider

    def add_worker(self) -> None:
        """One process more."""
        name = f"w{len(self.workers)}"
        log = self.folder / f"{name}.log"
        worker = Service(
            "services.workers", self.settings, log, "--specialty", "writing", HOCKET_INSTANCE=name, **self.env
        )
        self.workers.append(worker.start())

    async def feed(self, per_second: float) -> None:
        """Tasks at this pace until cancelled."""
        topic, number = self.topics.tasks("writing"), 0
        async with producing(self.settings) as producer:
            began = time.monotonic()
            while True:
                due = int((time.monotonic() - began) * per_second)
                await send(producer, topic, *(self._task(n) for n in range(number, due)))
                number = max(number, due)
                await asyncio.sleep(0.1)

    @staticmethod
    def _task(number: int) -> Task:
        words = {"instruction": "Draft it.", "text": f"About case {number}."}
        return Task(request_id=f"r{number}", task_id="t", specialty="writing", dispatched_at=now_ms(), **words)


@contextlib.asynccontextmanager
async def governed(
    settings: Settings, topics: Topics, folder: Path, limited: Limited, **env: str
) -> AsyncIterator[Governed]:
    """The aggregator (for the accounts) and the provider; workers are added by the caller. All end with the block."""
    provider = SimulatedProvider(limited.script).start_in_thread()
    more = (
        provider.env("anthropic")
        | {"HOCKET_PROVIDERS": "anthropic", "HOCKET_CONCURRENCY": "64", "HOCKET_GRACE_SECONDS": "2"}
        | env
    )
    aggregator = Service("services.aggregator", settings, folder / "aggregator.log", HOCKET_INSTANCE="a", **more)
    found = Governed(
        limited=limited, settings=settings, topics=topics, folder=folder, env=more, workers=[], calls=provider
    )
    try:
        aggregator.start()
        yield found
    finally:
        for service in (*found.workers, aggregator):
            if service.process is not None:
                service.process.terminate()
        for service in (*found.workers, aggregator):
            await asyncio.to_thread(service.stop, 40)
        provider.stop_thread()
