"""Several worker processes share a provider's limit; its own log is the oracle. Long form: bench.governor."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from hocket.contracts.records import AccountCommand
from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support.governed import Limited, governed
from tests.support.kafka import read

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


async def test_three_processes_keep_one_limit(settings: Settings, topics_ready: Topics, tmp_path: Path) -> None:
    limited = Limited(600, reply_s=0.05)
    async with governed(
        settings, topics_ready, tmp_path, limited, HOCKET_LIMITS='{"anthropic": {"rpm": 600}}'
    ) as fleet:
        for _ in range(3):
            fleet.add_worker()
        feeding = asyncio.create_task(fleet.feed(40))
        end = time.monotonic() + 60
        while len(limited.let_in) < 30 and time.monotonic() < end:
            await asyncio.sleep(0.1)
        began = time.monotonic()
        await asyncio.sleep(8)
        started = sum(t > began for t in limited.let_in)
        feeding.cancel()
    assert limited.refused == []
    # The limit holds over a minute, not over a second: what is used up early is asked for anew at once.
    assert 40 <= started <= limited.rpm
    said = await read(
        settings, topics_ready.accounts, AccountCommand, until=lambda c: len({x.asker for x in c}) == 3, settle=1
    )
    assert {c.account_id for c in said} == {"provider/anthropic"}
    assert len({c.asker for c in said}) == 3
    # What is given back is what was left over, and on a busy machine that may be nothing; releases have unit tests.
    assert "lease" in {c.action for c in said} <= {"lease", "release"}
