"""hocket-worker: works on the tasks of some specialties, as one process."""

from __future__ import annotations

import argparse
import asyncio
import os

from hocket.contracts.specialties import load_specialties
from hocket.runtime.health import Health
from hocket.runtime.lifecycle import run_service
from hocket.runtime.settings import Settings


def main() -> None:
    """The specialties of --specialty, or of HOCKET_SPECIALTY (comma-separated), or all of them."""
    parser = argparse.ArgumentParser(prog="hocket-worker", description="Work on the tasks of some specialties.")
    parser.add_argument("--specialty", action="append", metavar="NAME", help="may be given several times")
    parser.add_argument("--all", action="store_true", help="all specialties, your own included")
    given = parser.parse_args()
    names = given.specialty or [n.strip() for n in os.environ.get("HOCKET_SPECIALTY", "").split(",") if n.strip()]
    if not names and not given.all:
        parser.error("name what to work on: --specialty NAME, or HOCKET_SPECIALTY, or --all")

    async def serve(settings: Settings, stop: asyncio.Event, health: Health) -> None:
        from services.workers.host import serve_workers  # engines and clients take a moment to import

        await serve_workers(settings, load_specialties(settings.specialties) if given.all else names, stop, health)

    run_service("worker", serve)


if __name__ == "__main__":
    main()
