"""Text that streams while clients, workers and brokers are killed, and what its readers have in the end.

The oracle is a file in which the stub model notes every text that it said to the end; a request's own answer says
which of them counted. Each reader keeps a text by the contract of `hocket follow -o json`: what it was up to `from`,
and then `text`.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hocket.cli.ask import Wish, ask, build_request
from hocket.cli.follow import document
from hocket.cli.live import Follower
from hocket.contracts.records import Answer, Progress
from hocket.core.transcript import Change
from hocket.local.broker import EmbeddedBroker
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.kafka import Service

PATIENCE_S = 90.0
CLI = [sys.executable, "-c", "from hocket.cli.app import main; main()"]
WORKFLOW = """
name: say
description: Says a text, word by word.
tasks:
  - {{id: speech, specialty: synthesis, instruction: Speak., with: {{words: {words}, pause: {pause}}}}}
output: speech
"""


@dataclass
class Reader:
    """What one client has been told; `mended` tells that the streamed text had to be put right by the answer."""

    texts: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    answer: dict[str, Any] | None = None
    mended: bool = False
    lines: int = 0
    kills: int = 0

    def take(self, told: dict[str, Any]) -> None:
        self.lines += 1
        self.token = told["token"]
        for change in told.get("texts", ()):
            known = self.texts.get(change["task"], "")
            assert change["from"] <= len(known), "a reader is never told what it cannot place"
            self.texts[change["task"]] = known[: change["from"]] + change["text"]
        if told["kind"] == "answer":
            self.answer, self.mended = told["answer"], bool(told.get("texts"))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Characters, over all readers; `mended` readers had all of them only with the answer."""

    readers: int
    characters: int
    lost: int
    repeated: int
    mended: int

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(**{name: getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__})


NOTHING = Verdict(readers=0, characters=0, lost=0, repeated=0, mended=0)


class Rig:
    """An aggregator and one streaming worker on a broker; `open_rig` ends them."""

    def __init__(self, broker: EmbeddedBroker, settings: Settings, folder: Path) -> None:
        self.broker, self.settings, self.folder = broker, settings, folder
        self.oracle = folder / f"{settings.prefix}said"
        flows = str(folder / "flows")
        self.aggregator = Service(
            "services.aggregator", settings, folder / "aggregator.log", HOCKET_INSTANCE="a", HOCKET_WORKFLOWS=flows
        )
        self.worker = Service(
            "tests.support.stream_worker", settings, folder / "worker.log",
            HOCKET_INSTANCE="w", STREAM_ORACLE=str(self.oracle),
        )  # fmt: skip

    async def follow(self, request_id: str, reader: Reader | None = None) -> Reader:
        """A client in this process: asks, and follows over whatever happens."""
        reader = reader or Reader()
        follower = Follower(lambda _event, _changes=(): None)

        def watch(event: Progress | Answer, changes: Sequence[Change] = ()) -> None:
            reader.take(document(event, changes, follower.token or ""))

        follower._watch = watch
        request = build_request(
            Wish(text="Speak.", workflow="say"), self.settings, request_id=request_id, now_ms=now_ms()
        )
        await ask(self.settings, request, seconds=PATIENCE_S, follower=follower)
        return reader

    async def follow_killed(self, request_id: str, rng: random.Random, kills: int) -> Reader:
        """A client process that is killed so many times, each time after some lines, and goes on by the last token."""
        reader = Reader()
        command = ["ask", "Speak.", "--workflow", "say", "--id", request_id, "--follow", "-o", "json"]
        for life in range(kills + 1):
            lines = rng.randint(1, 6) if life < kills else None
            await self._live(reader, command, lines)
            if reader.answer is not None:
                break
            command = ["follow", request_id, "-o", "json", "--from", reader.token or "0-0-0"]
        return reader

    async def _live(self, reader: Reader, command: list[str], lines: int | None) -> None:
        where = ["--bootstrap", self.settings.bootstrap, "--prefix", self.settings.prefix]
        process = await asyncio.create_subprocess_exec(
            *CLI, *where, *command, stdout=asyncio.subprocess.PIPE, limit=10_000_000
        )
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            async for line in process.stdout:
                if not line.endswith(b"\n"):
                    break  # it was killed while it wrote
                reader.take(json.loads(line))
                if lines is not None and process.returncode is None and reader.answer is None:
                    lines -= 1
                    if lines == 0:
                        process.kill()
                        reader.kills += 1
            await process.wait()

    def verdict(self, readers: Sequence[Reader]) -> Verdict:
        said = {json.loads(line)["text"] for line in self.oracle.read_text("utf-8").splitlines()}
        total = NOTHING
        for reader in readers:
            assert reader.answer is not None, f"no answer: {self.aggregator.tail()}\n{self.worker.tail()}"
            assert reader.answer["status"] == "completed", reader.answer
            counted = reader.answer["content"]
            assert counted in said, "the answer is a text that the model said"
            lost, repeated = difference(counted, reader.texts.get("speech", ""))
            total += Verdict(
                readers=1, characters=len(counted), lost=lost, repeated=repeated, mended=int(reader.mended)
            )
        return total


def difference(wanted: str, had: str) -> tuple[int, int]:
    """Characters that are missing, and those that are too many."""
    if wanted == had:
        return 0, 0
    codes = difflib.SequenceMatcher(None, wanted, had, autojunk=False).get_opcodes()
    missing = sum(a1 - a0 for kind, a0, a1, _, _ in codes if kind in ("delete", "replace"))
    extra = sum(b1 - b0 for kind, _, _, b0, b1 in codes if kind in ("insert", "replace"))
    return missing, extra


@contextlib.asynccontextmanager
async def open_rig(
    broker: EmbeddedBroker, settings: Settings, folder: Path, *, words: int = 250, pause: float = 0.01
) -> AsyncIterator[Rig]:
    """The rig, ready: it has answered once."""
    (folder / "flows").mkdir(exist_ok=True)
    (folder / "flows" / "say.yaml").write_text(WORKFLOW.format(words=words, pause=pause))
    rig = Rig(broker, settings, folder)
    supervisor: asyncio.Task[None] | None = None
    try:
        rig.aggregator.start()
        rig.worker.start()
        supervisor = asyncio.create_task(supervise(rig))
        rig.verdict([await rig.follow("first")])
        yield rig
    finally:
        if supervisor is not None:
            supervisor.cancel()
        for service in (rig.worker, rig.aggregator):
            with contextlib.suppress(Exception):
                await asyncio.to_thread(service.stop)


async def supervise(rig: Rig) -> None:
    """Starts again what has ended by itself, as an aggregator does whose broker is away for too long."""
    while True:
        await asyncio.sleep(0.5)
        for service in (rig.aggregator, rig.worker):
            if service.process is not None and service.process.poll() is not None and service.process.returncode != -9:
                service.start()


async def streaming(rig: Rig, name: str, count: int, fault: Callable[[], Awaitable[None]], after: float) -> Verdict:
    """So many followed requests; the fault comes when text of all of them has streamed for so many seconds."""
    readers = [Reader() for _ in range(count)]
    running = [asyncio.create_task(rig.follow(f"{name}-{n}", reader)) for n, reader in enumerate(readers)]
    async with asyncio.timeout(PATIENCE_S):
        while not all(reader.texts for reader in readers):
            await asyncio.sleep(0.05)
    await asyncio.sleep(after)
    await fault()
    await asyncio.gather(*running)
    return rig.verdict(readers)


async def kill_worker(rig: Rig) -> None:
    await asyncio.to_thread(rig.worker.kill)
    rig.worker.start()


async def kill_broker(rig: Rig) -> None:
    await asyncio.to_thread(rig.broker.kill)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(rig.broker.start)
