"""The aggregator's /live by its real join: it fails while the join's thread hangs, and only then."""

from __future__ import annotations

import asyncio
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from hocket.contracts.topics import Topics
from hocket.local.process import free_ports
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, running

pytestmark = pytest.mark.kafka

HANGS_WHILE_A_FILE_IS_THERE = """
import sys, time
from pathlib import Path
from services.aggregator import app, pulse
from services.aggregator.__main__ import main

pulse.HUNG_AFTER_S = 2.0
counted = app.Aggregator._count_rows

def hang(self):
    while Path(sys.argv[1]).exists():
        time.sleep(0.05)
    counted(self)

app.Aggregator._count_rows = hang
main()
"""


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as e:
        with e:
            return e.code
    except OSError:
        return 0


async def until(port: int, path: str, wanted: int) -> None:
    async with asyncio.timeout(60):
        while await asyncio.to_thread(status, port, path) != wanted:
            await asyncio.sleep(0.1)


async def test_live_fails_while_the_join_hangs(settings: Settings, topics_ready: Topics, tmp_path: Path) -> None:
    port, hang = free_ports(1)[0], tmp_path / "hang"
    service = Service(
        "services.aggregator", settings, tmp_path / "a.log", HOCKET_INSTANCE="a", HOCKET_HTTP_PORT=str(port)
    )
    service.command = [sys.executable, "-c", HANGS_WHILE_A_FILE_IS_THERE, str(hang)]
    with running(service):
        await until(port, "/ready", 200)
        await asyncio.sleep(2.5)  # idle for longer than a hang is allowed to last
        await until(port, "/live", 200)
        hang.touch()
        await until(port, "/live", 503)
        hang.unlink()
        await until(port, "/live", 200)
        assert await asyncio.to_thread(status, port, "/ready") == 200, service.tail()
