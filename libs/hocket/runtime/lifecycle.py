"""From a process's start to its end: logs, signals, health, exit code. One place for all services on asyncio."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from pydantic import ValidationError

from hocket.runtime import tracing
from hocket.runtime.health import Health, serving
from hocket.runtime.logs import setup_logs
from hocket.runtime.settings import Settings

log = logging.getLogger(__name__)

_COLLECT_EVERY = 20_000  # new objects that are not freed yet; Python's default is 700

Serve = Callable[[Settings, asyncio.Event, Health], Coroutine[Any, Any, None]]
"""Serves until the event is set. Adds its checks to the health once it has begun: before, a stop just cuts it off."""


def run_service(name: str, serve: Serve) -> None:
    """Runs `serve` until SIGTERM or SIGINT, which set its stop event; a second one ends it at once.

    Exits with 2 when a setting is wrong, with 1 when `serve` raised: the message says who must act.
    """
    settings = read_settings()
    setup_logs(settings, service=name, worker=settings.instance)
    collect_rarely()
    start_tracing(name, settings)
    try:
        asyncio.run(_serve(settings, serve))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as e:  # the process ends here, whatever it was
        log.critical("%s stops: %s: %s", name, type(e).__name__, e, exc_info=log.isEnabledFor(logging.DEBUG))
        sys.exit(1)
    finally:
        tracing.stop()


def start_tracing(name: str, settings: Settings) -> None:
    """Switches tracing on if the environment asks for it. When it cannot be had, the log says why: OTEL_* variables are
    often set for a whole cluster, and a service is no worse for having no traces."""
    try:
        tracing.start(name, settings.instance)
    except tracing.TracingError as e:
        log.error("no traces: %s", e)  # noqa: TRY400 - the message says it


def collect_rarely() -> None:
    """Tunes Python's cycle collector for this process: modules are never walked again, new objects less often.

    Thousands of waiting tasks are many objects but hardly any cycles: with Python's own thresholds a fifth of a busy
    worker's time went into walking them (bench.runtime_overhead). What hangs in no cycle is freed at once as ever.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 50, 100)


def read_settings() -> Settings:
    """The settings of this process. Exits with 2 when one is wrong, and says which."""
    try:
        return Settings()
    except ValidationError as e:
        for fault in e.errors():
            name = f"HOCKET_{'.'.join(map(str, fault['loc'])).upper()}: " if fault["loc"] else ""  # several together
            sys.stderr.write(f"{name}{fault['msg']}\n")
        sys.exit(2)


async def _serve(settings: Settings, serve: Serve) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_now(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)  # the next one has its usual effect
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_now, number)
    health = Health()
    async with serving(settings, health) as url:
        if url:
            log.info("health and metrics at %s", url)
        await _until_told(serve(settings, stop, health), stop, health)


async def _until_told(serving_it: Coroutine[Any, Any, None], stop: asyncio.Event, health: Health) -> None:
    """Serves to the end. Told to stop before it has begun (it waits for a broker, say), it is cut off."""
    work = asyncio.create_task(serving_it)
    told = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done() and not health.begun:
            log.info("stopped before it had begun")
            work.cancel()
            await asyncio.wait({work})
        if not work.cancelled():
            await work
    finally:
        told.cancel()
        work.cancel()
