"""Dead letters at the command line: found, shown, and written back to where they came from, by hocket.kafka.letters."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import typer

from hocket.cli.base import COMPLETE, WRONG, CliError, Output, console, print_json, printable, say, usage
from hocket.cli.exchange import CONNECT_SECONDS
from hocket.cli.mend import expected_type, mend
from hocket.contracts.codec import Codec, CodecError
from hocket.kafka.letters import REPLAYED, Desk, Letter, Mended, Wanted, open_desk, place_of, unchanged
from hocket.runtime.settings import Settings

BATCH = 1_000
"""So many dead letters are replayed at once, since they are held in memory; --all goes on with the next ones."""
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def span_ms(text: str) -> int:
    """Milliseconds of 90s, 30m, 2h or 7d."""
    if not re.fullmatch(r"\d{1,6}[smhd]", text):
        usage(f"--since must look like 30m, 2h or 7d, not {text!r}")
    return int(text[:-1]) * _UNITS[text[-1]]


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
    async with open_desk(settings, wait_seconds=CONNECT_SECONDS) as desk:
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
    place_of(letter_id)  # before anybody connects
    async with open_desk(settings, wait_seconds=CONNECT_SECONDS) as desk:
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
    for letter_id in ids:
        place_of(letter_id)
    async with open_desk(settings, wait_seconds=CONNECT_SECONDS) as desk:
        async for letters in _one_batch(desk, ids) if ids else desk.batches(wanted, BATCH):
            ready = [_ready(settings, x, desk, edit=edit) for x in letters]
            for letter in letters:
                if (mark := letter.record.headers.get(REPLAYED)) is not None:
                    say(f"note: {letter.id} is itself the failed replay of {mark.decode(errors='replace')}")
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


async def _one_batch(desk: Desk, ids: Sequence[str]) -> AsyncIterator[list[Letter]]:
    yield [await desk.one(i) for i in dict.fromkeys(ids)]


def _ready(settings: Settings, letter: Letter, desk: Desk, *, edit: bool) -> Mended:
    desk.must_have_origin(letter)
    if not edit:
        return unchanged(letter)
    value = mend(letter.record, expected_type(settings, letter.record.topic), desk.codec)
    return Mended(letter_id=letter.id, letter=letter.record, value=value)


def _agreed(ready: Sequence[Mended]) -> bool:
    topics = ", ".join(sorted({m.letter.topic for m in ready}))
    try:
        return typer.confirm(f"Write {len(ready)} record(s) to {topics}?", err=True)
    except typer.Abort:
        return False
