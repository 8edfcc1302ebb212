"""`python -m hocket.local.host`: the planner and all workers in one process, for `hocket dev`.

A deployment runs them apart. On a laptop, one process spares some hundred megabytes for the model clients' imports.
"""

from __future__ import annotations

import asyncio

from hocket.contracts.specialties import load_specialties
from hocket.runtime.health import Health
from hocket.runtime.lifecycle import run_service
from hocket.runtime.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Serves until `stop` is set. When one of the two ends or fails, the other is stopped, and the failure raised."""
    from services.planner.__main__ import serve_planner
    from services.workers.host import serve_workers

    specialties = load_specialties(settings.specialties)
    parts = [
        asyncio.create_task(serve_planner(settings, stop, health)),
        asyncio.create_task(serve_workers(settings, specialties, stop, health)),
    ]
    try:
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        ended = await asyncio.gather(*parts, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, BaseException):
            raise outcome


def main() -> None:
    """Runs until SIGTERM."""
    run_service("workers", serve)


if __name__ == "__main__":
    main()
