"""One process of the counting join: `python -m bench.join_engine_app <engine>`, settings from the environment.

Four events of a request, by key; when the table has seen all four, the join sends the key on. The set of what was seen
is the row, so a replayed event harms nothing: what is lost or doubled is the engine's.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Any

from hocket.runtime.settings import Settings

ENGINES = ("faust-at-least-once", "faust-exactly-once", "faust-one-transaction", "faust-mended", "quix")
EXACTLY_ONCE = ("faust-exactly-once", "faust-one-transaction")
PARTS = 4
PARTITIONS = 4
EVENTS, JOINED = "events", "joined"


def joined(row: bytes | None, part: bytes) -> tuple[bytes, bool]:
    """The row with the part in it, and whether it is complete now and was not before."""
    before = set((row or b"").split(b",")) - {b""}
    after = before | {part}
    return b",".join(sorted(after)), len(after) == PARTS and len(before) < PARTS


def run_quix(settings: Settings) -> None:
    """As the aggregator is wired: its application, with its options and its commits."""
    from services.aggregator.app import no_time_alignment, quix_application

    no_time_alignment()
    application = quix_application(settings, settings.state_dir / settings.instance)
    raw = {"key_deserializer": "bytes", "value_deserializer": "bytes"}
    source = application.topic(settings.prefix + EVENTS, **raw)
    target = application.topic(settings.prefix + JOINED, key_serializer="bytes", value_serializer="bytes")

    def process(part: bytes, state: Any) -> list[bytes]:
        row, complete = joined(state.get_bytes("row"), part)
        state.set_bytes("row", row)
        return [b"done"] if complete else []

    application.dataframe(source).apply(process, stateful=True, expand=True).to_topic(target)
    application.run()


def run_faust(settings: Settings, engine: str) -> None:
    import faust

    if engine == "faust-mended":
        mend_faust()
    if engine == "faust-one-transaction":
        one_transaction(settings.prefix + EVENTS)
    datadir = settings.state_dir / settings.instance
    datadir.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        settings.group("join"),
        broker=f"kafka://{settings.bootstrap}",
        store="memory://",
        datadir=str(datadir),
        processing_guarantee="exactly_once" if engine in EXACTLY_ONCE else "at_least_once",
        broker_commit_interval=0.02 if engine == "faust-one-transaction" else 2.8,  # the default; outputs wait for it
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.session_timeout_ms / 4000,
        broker_request_timeout=30.0,
        topic_partitions=PARTITIONS,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
    )
    raw = {"key_serializer": "raw", "value_serializer": "raw"}
    source = app.topic(settings.prefix + EVENTS, **raw)
    target = app.topic(settings.prefix + JOINED, **raw)
    table = app.Table("rows", key_type=bytes, value_type=bytes, partitions=PARTITIONS)

    @app.agent(source)
    async def join(stream: Any) -> None:
        async for event in stream.events():
            row, complete = joined(table.get(event.key), event.value)
            if complete:  # awaited before the row says so, as an at-least-once join must
                await (await target.send(key=event.key, value=b"done"))
            table[event.key] = row

    worker = faust.Worker(app, loglevel="WARNING", redirect_stdouts=False)
    worker.execute_from_commandline()


def mend_faust() -> None:
    """Three faults of faust-streaming 0.15.3 at least once, mended from outside: offsets past an unfinished message
    (#606), a failed commit taken for done (#316), and a flush that gives up after 0.1 s without progress and ignores
    failed sends."""
    from faust.transport.drivers import aiokafka as driver
    from faust.transport.producer import ProducerBuffer

    put = ProducerBuffer.put
    outstanding: set[asyncio.Future[Any]] = set()
    broken: list[BaseException] = []

    def note(sent: asyncio.Future[Any]) -> None:
        outstanding.discard(sent)
        if not sent.cancelled() and (error := sent.exception()) is not None:
            broken.append(error)

    def put_noted(self: Any, sent: Any) -> None:
        outstanding.add(sent)
        sent.add_done_callback(note)
        put(self, sent)

    class Consumer(driver.Consumer):
        def _new_offset(self, tp: Any) -> int | None:
            found = super()._new_offset(tp)
            open_ = [m.offset for m in self._unacked_messages if m.tp == tp]
            return min([found, *open_]) if found is not None and open_ else found

        async def _commit_offsets(self, offsets: Mapping[Any, int], start_new_transaction: bool = True) -> bool:
            while outstanding:
                await asyncio.wait(set(outstanding))
            if broken:
                sys.stderr.write(f"a record was not written, so nothing is committed: {broken[0]!r}\n")
                sys.stderr.flush()
                os._exit(1)
            before = {tp: self._committed_offset[tp] for tp in offsets}
            done: bool = await super()._commit_offsets(offsets, start_new_transaction)
            if not done:
                self._committed_offset.update(before)
            return done

    class Producer(driver.Producer):
        def _settings_extra(self) -> Mapping[str, Any]:
            return {"acks": "all", "enable_idempotence": True}

    ProducerBuffer.put = put_noted  # type: ignore[method-assign]
    driver.Transport.Consumer, driver.Transport.Producer = Consumer, Producer


def one_transaction(source: str) -> None:
    """Exactly once as faust-streaming 0.15.3 is meant: rows, outputs and offsets of a partition of `source` in one
    transaction, which ends when all that was handed over is in it. As shipped, the consumer does not know an output's
    partition, and the output is sent outside of any transaction."""
    from faust.transport import base, consumer

    class Transactions(consumer.TransactionManager):
        async def send(
            self, topic: str, key: Any, value: Any, partition: Any, timestamp: Any, headers: Any, **_: Any
        ) -> Any:
            place = self.producer.key_partition(topic, key).partition if partition is None else partition
            mine = f"{self.app.conf.id}-{self.app.assignor.group_for_topic(source)}-{place}"
            return await self.producer.send(topic, key, value, place, timestamp, headers, transactional_id=mine)

        async def commit(self, offsets: Mapping[Any, int], start_new_transaction: bool = True) -> bool:
            await self.producer.flush()
            done: bool = await super().commit(offsets, start_new_transaction)
            return done

    base.Transport.TransactionManager = Transactions


if __name__ == "__main__":
    name = sys.argv.pop(1)
    if name == "quix":
        run_quix(Settings())
    else:
        sys.argv = ["faust", "worker"]
        run_faust(Settings(), name)
