"""Dead letters: found, shown, and written back to where they came from.

A letter's id is its place in the topic `dead-letters`. A replayed record carries that id in the header
`hocket-replayed`, by which a second replay is noticed (and a letter that a replay led to tells of the first one).
"""

from __future__ import annotations

import base64
import heapq
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import typer

from hocket.cli.base import COMPLETE, WRONG, CliError, Output, console, print_json, printable, say, usage
from hocket.cli.exchange import CONNECT_SECONDS
from hocket.cli.mend import Mended, expected_type, mend
from hocket.contracts.codec import Codec, CodecError
from hocket.contracts.records import DeadLetter
from hocket.kafka.admin import admin
from hocket.kafka.client import aiokafka_options, codec_of, topics_of
from hocket.runtime.settings import Settings

REPLAYED = "hocket-replayed"
"""Header of a replayed record: the id of its dead letter."""
BATCH = 1_000
"""So many dead letters are replayed at once, since they are held in memory; --all goes on with the next ones."""
_SCAN = 20_000
_MAX_REQUEST = 2 * 1024 * 1024
_POLL_MS = 500
_Place = tuple[int, int, int]  # (timestamp, partition, offset): places are unique, so letters are never compared
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A dead letter and its place."""

    partition: int
    offset: int
    record: DeadLetter

    @property
    def id(self) -> str:
        return f"{self.partition}:{self.offset}"

    @property
    def origin(self) -> str:
        return f"{self.record.topic}/{self.record.partition} offset {self.record.offset}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which letters; None means any."""

    topic: str | None = None
    kind: str | None = None
    service: str | None = None
    request_id: str | None = None
    since_ms: int = 0

    def __contains__(self, letter: DeadLetter) -> bool:
        return (
            self.topic in (None, letter.topic)
            and self.kind in (None, letter.kind)
            and self.service in (None, letter.service, letter.service.partition("/")[0])
            and (self.request_id is None or letter.key == self.request_id.encode())
            and letter.at >= self.since_ms
        )


def span_ms(text: str) -> int:
    """Milliseconds of 90s, 30m, 2h or 7d."""
    if not re.fullmatch(r"\d{1,6}[smhd]", text):
        usage(f"--since must look like 30m, 2h or 7d, not {text!r}")
    return int(text[:-1]) * _UNITS[text[-1]]


def place_of(letter_id: str) -> tuple[int, int]:
    """Partition and offset."""
    if not re.fullmatch(r"\d{1,6}:\d{1,18}", letter_id):
        usage(f"{letter_id!r} is no dead letter's id: it looks like 2:17, see `hocket dlq ls`")
    partition, offset = letter_id.split(":")
    return int(partition), int(offset)


def summary(letter: Letter) -> dict[str, Any]:
    """What `ls` shows of one."""
    r = letter.record
    return {
        "id": letter.id,
        "at": r.at,
        "topic": r.topic,
        "partition": r.partition,
        "offset": r.offset,
        "key": (r.key or b"").decode(errors="replace"),
        "kind": r.kind,
        "service": r.service,
        "reason": r.reason,
        "bytes": len(r.value or b""),
    }


async def list_letters(settings: Settings, wanted: Wanted, *, limit: int, output: Output) -> None:
    """`hocket dlq ls`: the newest `limit`, the newest last."""
    async with _desk(settings) as desk:
        found = [letter async for letter in desk.newest(wanted, limit)]
    if output is Output.json:
        return print_json({"dead_letters": [summary(x) for x in found], "unreadable": desk.unreadable})
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("id", "from", "key", "kind", "service", "reason"):
        table.add_column(name, overflow="fold")
    for x in found:
        row = summary(x)
        cells = (x.id, x.origin, row["key"], row["kind"], row["service"], row["reason"][:160])
        table.add_row(*(printable(c).replace("[", r"\[") for c in cells))
    console().print(table if found else "no dead letters")
    if desk.unreadable:
        say(f"{desk.unreadable} records of {desk.topic} are no dead letters that this version can read")
    return None


def details(letter: Letter, settings: Settings, codec: Codec) -> dict[str, Any]:
    """What `show` shows: all fields, the value decoded or why it cannot be."""
    found = summary(letter)
    found["timestamp"] = letter.record.timestamp
    found["headers"] = {k: v.decode("utf-8", "backslashreplace") for k, v in letter.record.headers.items()}
    if (value := letter.record.value) is None:
        return found | {"value": None, "error": "the bytes are not in the dead letter; see its reason"}
    try:
        record = codec.decode(value, expected_type(settings, letter.record.topic))
    except (CodecError, CliError) as e:
        return found | {"error": str(e), "value": base64.b64encode(value).decode()}
    return found | {"record": record.model_dump(mode="json")}


async def show_letter(settings: Settings, letter_id: str, output: Output) -> None:
    """`hocket dlq show`."""
    async with _desk(settings) as desk:
        letter = await desk.one(letter_id)
    found = details(letter, settings, desk.codec)
    if output is Output.json:
        return print_json(found)
    for name in ("id", "topic", "partition", "offset", "key", "kind", "service", "reason", "timestamp", "at"):
        print(f"{name:10} {printable(str(found[name]))}")
    for name, value in found["headers"].items():
        print(f"{'header':10} {printable(name)}: {printable(value)}")
    if "record" in found:
        print_json(found["record"])
    else:
        print(f"{'unreadable':10} {printable(found['error'])}")
        print(_dump(letter.record.value or b""))
    return None


def _dump(value: bytes, most: int = 4096) -> str:
    lines = []
    for at in range(0, min(len(value), most), 16):
        part = value[at : at + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
        lines.append(f"{at:08x}  {part.hex(' '):47}  {text}")
    if len(value) > most:
        lines.append(f"... {len(value) - most} bytes more: -o json has them all")
    return "\n".join(lines)


async def run_replay(
    settings: Settings, ids: Sequence[str], wanted: Wanted, *, edit: bool, yes: bool, output: Output
) -> int:
    """`hocket dlq replay`; the exit code. Up to BATCH letters are all looked at before the first of them is written."""
    done: list[dict[str, Any]] = []
    async with _desk(settings) as desk:
        async for letters in _one_batch(desk, ids) if ids else desk.batches(wanted, BATCH):
            ready = [_ready(settings, x, desk, edit=edit) for x in letters]
            for letter in letters:
                if (before := await desk.replayed(letter)) is not None:
                    say(f"warning: {letter.id} {before}")
            if not yes and not _agreed(ready):
                say(f"nothing more was replayed after the first {len(done)}" if done else "nothing was replayed")
                return WRONG
            done += await desk.write(ready)
    if output is Output.json:
        print_json({"replayed": done})
        return COMPLETE
    for entry in done:
        print(f"{entry['id']} replayed as {entry['topic']}/{entry['partition']} offset {entry['offset']}")
    if not done:
        print("no dead letters to replay")
    return COMPLETE


async def _one_batch(desk: _Desk, ids: Sequence[str]) -> AsyncIterator[list[Letter]]:
    yield [await desk.one(i) for i in dict.fromkeys(ids)]


def _ready(settings: Settings, letter: Letter, desk: _Desk, *, edit: bool) -> Mended:
    if letter.record.topic not in desk.partitions:
        raise CliError(f"{letter.id} came from {letter.record.topic}, which does not exist", kind="topics")
    if edit:
        value = mend(letter.record, expected_type(settings, letter.record.topic), desk.codec)
    elif letter.record.value is None:
        raise CliError(
            f"the bytes of {letter.id} are not in the dead letter ({letter.record.reason}); --edit begins anew",
            kind="no_value",
        )
    else:
        value = letter.record.value
    return Mended(letter_id=letter.id, letter=letter.record, value=value)


def _agreed(ready: Sequence[Mended]) -> bool:
    topics = ", ".join(sorted({m.letter.topic for m in ready}))
    try:
        return typer.confirm(f"Write {len(ready)} record(s) to {topics}?", err=True)
    except typer.Abort:
        return False


class _Desk:
    """A connection that reads dead letters and writes replays."""

    def __init__(self, settings: Settings, client: Any, partitions: dict[str, int]) -> None:
        self.topic = topics_of(settings).dead_letters
        self.codec = codec_of(settings)
        self.partitions = partitions
        self.unreadable = 0
        self._settings = settings
        self._client = client

    async def newest(self, wanted: Wanted, limit: int) -> AsyncIterator[Letter]:
        """The newest of those wanted, in order of their times."""
        heap: list[tuple[_Place, Letter]] = []
        async for place, letter in self._wanted(wanted, await self._ends()):
            (heapq.heappush if len(heap) < limit else heapq.heappushpop)(heap, (place, letter))
        for _, letter in sorted(heap, key=lambda entry: entry[0]):
            yield letter

    async def batches(self, wanted: Wanted, size: int) -> AsyncIterator[list[Letter]]:
        """All that are wanted and there by now, the oldest first, at most `size` held at once. What a replay adds in
        the meantime is left out, or a record that fails again would be replayed for ever."""
        ends, last = await self._ends(), (-1, -1, -1)
        while True:
            heap: list[tuple[_Place, Letter]] = []  # the largest place on top: all numbers are negated
            async for place, letter in self._wanted(wanted, ends):
                if place > last:
                    entry = ((-place[0], -place[1], -place[2]), letter)
                    (heapq.heappush if len(heap) < size else heapq.heappushpop)(heap, entry)
            if not heap:
                return
            heap.sort(key=lambda entry: entry[0], reverse=True)
            (time, partition, offset), _ = heap[-1]
            last = (-time, -partition, -offset)
            yield [letter for _, letter in heap]

    async def _ends(self) -> dict[Any, int]:
        from aiokafka import TopicPartition

        places = [TopicPartition(self.topic, p) for p in range(self.partitions[self.topic])]
        found: dict[Any, int] = await self._client.end_offsets(places)
        return found

    async def _wanted(self, wanted: Wanted, ends: dict[Any, int]) -> AsyncIterator[tuple[_Place, Letter]]:
        self.unreadable = 0
        starts = await self._client.beginning_offsets(list(ends))
        async for message in self._records(starts, ends):
            try:
                record = self.codec.decode(message.value, DeadLetter)
            except CodecError:
                self.unreadable += 1
                continue
            if record in wanted:
                place = (message.timestamp, message.partition, message.offset)
                yield place, Letter(partition=message.partition, offset=message.offset, record=record)

    async def one(self, letter_id: str) -> Letter:
        """The letter with the id."""
        from aiokafka import TopicPartition

        partition, offset = place_of(letter_id)
        place = TopicPartition(self.topic, partition)
        if partition < self.partitions[self.topic]:
            first = (await self._client.beginning_offsets([place]))[place]
            async for message in self._records({place: max(offset, first)}):
                if message.offset != offset:
                    break
                try:
                    record = self.codec.decode(message.value, DeadLetter)
                except CodecError as e:
                    raise CliError(f"{letter_id} is no dead letter that can be read: {e}", kind="undecodable") from e
                return Letter(partition=partition, offset=offset, record=record)
        raise CliError(
            f"there is no dead letter {letter_id}; `hocket dlq ls` has those that are kept", kind="not_found"
        )

    async def replayed(self, letter: Letter) -> str | None:
        """What is known of an earlier replay of the letter, None when there was none."""
        from aiokafka import TopicPartition

        if (mark := letter.record.headers.get(REPLAYED)) is not None:
            say(f"note: {letter.id} is itself the failed replay of {mark.decode(errors='replace')}")
        topic = letter.record.topic
        places = [TopicPartition(topic, p) for p in range(self.partitions[topic])]
        found = await self._client.offsets_for_times(dict.fromkeys(places, letter.record.at))
        starts = {p: f.offset for p, f in found.items() if f is not None}
        seen = 0
        async for message in self._records(starts):
            seen += 1
            if (REPLAYED, letter.id.encode()) in message.headers:
                return f"was replayed before, as {topic}/{message.partition} offset {message.offset}"
            if seen >= _SCAN:
                return f"may have been replayed before: only {_SCAN} records of {topic} after it were looked at"
        return None

    async def _records(self, starts: dict[Any, int], ends: dict[Any, int] | None = None) -> AsyncIterator[Any]:
        """What stands in the partitions between these offsets and `ends`, or their ends of now."""
        if not starts:
            return
        ends = ends or await self._client.end_offsets(list(starts))
        self._client.assign(list(starts))
        for place, offset in starts.items():
            self._client.seek(place, offset)
        left = {p for p in starts if starts[p] < ends[p]}
        while left:
            for place, batch in (await self._client.getmany(*left, timeout_ms=_POLL_MS)).items():
                for message in batch:
                    if message.offset < ends[place]:
                        yield message
            left = {p for p in left if await self._client.position(p) < ends[p]}

    async def write(self, ready: Sequence[Mended]) -> list[dict[str, Any]]:
        """Writes the records and waits until all in-sync replicas have them."""
        from aiokafka import AIOKafkaProducer

        if not ready:
            return []
        producer = AIOKafkaProducer(
            **aiokafka_options(self._settings),
            client_id="hocket-dlq",
            acks="all",
            enable_idempotence=True,
            max_request_size=_MAX_REQUEST,
        )
        await producer.start()
        done = []
        try:
            for m in ready:
                headers = [(k, v) for k, v in m.letter.headers.items() if k != REPLAYED]
                headers.append((REPLAYED, m.letter_id.encode()))
                where = None if m.letter.key is not None else m.letter.partition
                sent = await producer.send_and_wait(
                    m.letter.topic, m.value, key=m.letter.key, headers=headers, partition=where
                )
                done.append(
                    {"id": m.letter_id, "topic": sent.topic, "partition": sent.partition, "offset": sent.offset}
                )
        finally:
            await producer.stop()
        return done


@asynccontextmanager
async def _desk(settings: Settings) -> AsyncIterator[_Desk]:
    from aiokafka import AIOKafkaConsumer

    async with admin(settings, wait_seconds=CONNECT_SECONDS) as client:
        there = {t["topic"]: len(t["partitions"]) for t in await client.describe_topics(None)}
    topic = topics_of(settings).dead_letters
    if topic not in there:
        raise CliError(f"there is no topic {topic}: run `hocket topics apply`, or check --prefix", kind="topics")
    consumer = AIOKafkaConsumer(
        **aiokafka_options(settings),
        client_id="hocket-dlq",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=_MAX_REQUEST,
    )
    await consumer.start()
    try:
        yield _Desk(settings, consumer, there)
    finally:
        await consumer.stop()
