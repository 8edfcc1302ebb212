"""Between the governor and the accounts in the aggregator: commands out on `accounts`, leases in from `grants`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hocket.contracts import headers
from hocket.contracts.codec import Codec
from hocket.contracts.records import AccountCommand, Grant
from hocket.contracts.topics import Topics
from hocket.kafka.broadcast import Broadcast
from hocket.kafka.log import Producer
from hocket.kafka.outbox import Outbox, Outgoing
from hocket.llm.governor import Governor
from hocket.llm.models import Models
from hocket.runtime.settings import Settings

log = logging.getLogger(__name__)

_MAX_COMMANDS = 1_000
_LAST_S = 2.0


@asynccontextmanager
async def lending(
    settings: Settings,
    models: Models,
    *,
    service: str,
    topics: Topics,
    codec: Codec,
    producer: Producer,
    clock: Callable[[], int],
) -> AsyncIterator[Governor]:
    """A governor that hears the models' headers and gets its leases, until the block ends; then it gives back the rest.

    Without a limit that is set, and far from every limit, nothing is read and nothing written.
    """
    asker = f"{settings.instance}/{service}/{random.getrandbits(32):08x}"
    governor = Governor(models.limits, asker=asker, now_ms=clock, chance=random.random)
    models.listen(governor.heard)
    commands: asyncio.Queue[AccountCommand] = asyncio.Queue(_MAX_COMMANDS)

    def send(command: AccountCommand) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # then it is asked again
            commands.put_nowait(command)

    reader = Broadcast(
        settings,
        topic=topics.grants,
        record=Grant,
        codec=codec,
        heard=governor.granted,
        since_ms=clock(),
        key=asker.encode(),
    )
    outbox = Outbox(producer=producer, codec=codec, source=f"{service}/{asker}", clock=clock, on_drop=lambda: None)
    running = asyncio.create_task(_run(governor, reader, send))
    writing = asyncio.create_task(_write(commands, outbox, producer, topics.accounts))
    try:
        yield governor
    finally:
        governor.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(commands.join(), _LAST_S)
        for task in (running, writing):
            task.cancel()
        await asyncio.gather(running, writing, return_exceptions=True)


async def _run(governor: Governor, reader: Broadcast[Grant], send: Callable[[AccountCommand], None]) -> None:
    await governor.wanted.wait()
    reading = asyncio.create_task(reader.run())
    try:
        await reader.placed.wait()
        governor.open(send)
        await reading
    finally:
        reading.cancel()


async def _write(commands: asyncio.Queue[AccountCommand], outbox: Outbox, producer: Producer, topic: str) -> None:
    while True:
        command = await commands.get()
        trace = headers.traceparent(None, command.asker)
        out = Outgoing(topic=topic, key=command.account_id, record=command, event_id=command.command_id)
        message = await outbox.encode(out, trace)
        await producer.post(message.topic, message.key, message.value, message.headers)
        commands.task_done()
