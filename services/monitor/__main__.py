"""The monitor's process: health of every service and lag of every group, on one page."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

import structlog

from hocket.kafka.admin import KafkaUnreachable, TopicState, list_topics
from hocket.kafka.client import codec_of, topics_of
from hocket.runtime.clock import now_ms
from hocket.runtime.lifecycle import read_settings
from hocket.runtime.logs import setup_logs
from hocket.runtime.settings import Settings
from services.monitor.app import CHANGELOG_CONFIGS, Live, changelogs
from services.monitor.board import Board
from services.monitor.offsets import Offsets, make_changelogs
from services.monitor.watch import hub_of, watch
from services.monitor.web import Page, serve

START_WITHIN_S = 120.0
"""faust's recovery can hang; the process ends then, and its supervisor starts it anew."""
STOP_WITHIN_S = 2.0
STALLED_AFTER_S = 90.0
"""Heartbeats wait, offsets can be read, and faust has not moved for so long: it has come to a stand."""
_LOOK_S = 1.0
_FRESH_MS = 10_000

log = structlog.get_logger(__name__)


class MonitorError(Exception):
    """The monitor cannot go on; the message says why. Its supervisor should start it again."""


def main() -> None:
    """Runs until SIGTERM or SIGINT. Ends with 1 when faust fails or stands still: start it again."""
    settings = read_settings()
    setup_logs(settings, service="monitor")
    asyncio.run(_run_and_exit(settings))


async def _run_and_exit(settings: Settings) -> None:
    code = await run(settings)
    sys.stderr.flush()
    # A broker that is away can hold faust's tasks and threads for minutes; whatever matters is closed by now.
    os._exit(code)


async def run(settings: Settings) -> int:
    """Serves until it is told to stop; returns the exit code."""
    if settings.http_port is None:
        log.error("the monitor has nothing to do without a port: set HOCKET_HTTP_PORT")
        return 2
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    offsets = Offsets(settings, now_ms)
    page, board = Page(settings, offsets, now_ms), Board()
    hub = hub_of(settings, page, board)
    try:
        runner, address = await serve(settings, page, board, hub)
    except OSError as e:
        told = {"port": settings.http_port, "error": str(e)}
        log.error("the page cannot be served: choose another HOCKET_HTTP_PORT", **told)  # noqa: TRY400 - no trace
        return 2
    log.info("monitor serves", address=address)
    asked = asyncio.create_task(stop.wait())
    work = (_work(settings, page, offsets, board), offsets.watch(), hub.run())
    tasks = {asked, *(asyncio.create_task(one) for one in work)}
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    code = 0 if asked in done else _report(done)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=STOP_WITHIN_S)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await runner.cleanup()
    return code


def _report(done: Iterable[asyncio.Task[Any]]) -> int:
    for task in done:
        error = task.exception()
        log.error("the monitor ends; start it again", error=str(error), kind=type(error).__name__)
    return 1


async def _work(settings: Settings, page: Page, offsets: Offsets, board: Board) -> None:
    """Runs faust and the board until cancelled. Raises what ended them, MonitorError when faust stands still."""
    topics = await _topics(settings)
    await make_changelogs(settings, changelogs(settings, topics), CHANGELOG_CONFIGS)
    live = Live(settings, codec_of(settings), topics, now_ms)
    try:
        async with asyncio.timeout(START_WITHIN_S):
            await live.app.start()
        page.live = live
        log.info("monitor is ready")
        await _first({watch(settings, board), _supervise(live, settings, offsets)})
    finally:
        await live.app.stop()


async def _first(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs all until one ends, and raises what ended it; the others are cancelled."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()


async def _topics(settings: Settings) -> Mapping[str, TopicState]:
    """The topics that feed the tables, once they all exist: services may start before the topics are applied."""
    topics = topics_of(settings)
    wanted = [n for n, spec in topics.all(()).items() if "monitor" in set(spec.consumers) - set(spec.groupless)]
    told = False
    while True:
        try:
            found = {t.name: t for t in await list_topics(settings) if t.ready}
            missing = [name for name in wanted if name not in found]
            if not missing:
                return {name: found[name] for name in wanted}
            reason = f"topics are missing: {', '.join(missing)}. Run `hocket topics apply`"
        except KafkaUnreachable as e:
            reason = str(e)
        if not told:
            log.warning("waiting", reason=reason)
        told = True
        await asyncio.sleep(_LOOK_S)


async def _supervise(live: Live, settings: Settings, offsets: Offsets) -> None:
    """Returns never; faust has no health signal of its own, so its progress on the heartbeats is watched."""
    heartbeats, group = topics_of(settings).heartbeats, settings.group("monitor")
    loop = asyncio.get_running_loop()
    before: list[int | None] = []
    moved_at = loop.time()
    while True:
        await asyncio.sleep(_LOOK_S)
        if live.app.crashed or live.app.should_stop:
            raise MonitorError(f"faust has ended: {live.app.crash_reason!r}") from live.app.crash_reason
        places = [p for g in offsets.groups if g.group == group for p in g.partitions if p.topic == heartbeats]
        waiting, committed = sum(p.lag for p in places), [p.committed for p in places]
        unknown = (offsets.age_ms(now_ms()) or 0) > _FRESH_MS
        if committed != before or waiting == 0 or unknown:
            before, moved_at = committed, loop.time()
        elif loop.time() - moved_at > STALLED_AFTER_S:
            raise MonitorError(f"faust has not moved for {STALLED_AFTER_S:.0f} s while {waiting} heartbeats wait")


if __name__ == "__main__":
    main()
