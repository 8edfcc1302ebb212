"""The live page on a running stack, in a real headless Chromium: a request is asked, and the broker is killed."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from hocket.cli.ask import Wish, build_request, submit
from hocket.cli.demo import SCENES, examples
from hocket.kafka.admin import KafkaUnreachable, TopicsError
from hocket.local.dev import DevStack
from hocket.local.stack import DevOptions
from hocket.runtime.clock import now_ms
from tests.support.browser import MISSING, Tab, browsing, chromium

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(chromium() is None, reason=MISSING),
]


async def ask_and_see(stack: DevStack, tab: Tab, request_id: str) -> None:
    """Asks the demo's complaint and waits for its answer on the page, which is chosen there meanwhile."""
    wish = Wish(files=[examples() / SCENES[1].file])
    request = build_request(wish, stack.settings, request_id=request_id, now_ms=now_ms())
    await tab.value(f"choose('{request_id}')")
    end = time.monotonic() + 60
    while True:  # the broker may be coming up again; sent twice, it is the same request
        try:
            await submit(stack.settings, request)
            break
        except (KafkaUnreachable, TopicsError, KafkaError):
            assert time.monotonic() < end
            await asyncio.sleep(0.5)
    await tab.until(f"document.querySelector('#answered [data-id={request_id}]')", within=60)
    await tab.until("document.querySelectorAll('#request .task .tag.completed').length > 2", within=30)


async def test_a_request_is_seen_from_end_to_end_also_after_the_broker_was_killed(tmp_path: Path) -> None:
    options = DevOptions(ephemeral=True, publish=False, without_models=True, partitions=2)
    stack = DevStack(options)
    await asyncio.to_thread(stack.start)
    try:
        async with browsing(tmp_path) as tab:
            await tab.look(1600)
            await tab.open(f"{stack.monitor_url}/")
            await tab.until("document.querySelectorAll('#specialties tr').length > 9", within=60)
            await tab.until("document.querySelectorAll('#workers tr').length > 9", within=60)
            await tab.value("window.unchanged = true")
            await ask_and_see(stack, tab, "first")
            broker = stack.broker_pid
            assert broker is not None
            os.kill(broker, signal.SIGKILL)
            await ask_and_see(stack, tab, "after-the-kill")
            assert await tab.value("window.unchanged") is True
            # It is chosen before it is asked: then it is not found yet.
            assert [e for e in tab.errors if "404" not in e] == []
    finally:
        await asyncio.to_thread(stack.stop)
