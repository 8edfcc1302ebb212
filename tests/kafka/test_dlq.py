"""`hocket dlq` on a real broker: a corrupt task is shown, mended in an editor, replayed and answered."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result as Ran
from typer.testing import CliRunner

from hocket.cli.app import app
from hocket.contracts.records import DeadLetter, Result, Task
from hocket.contracts.topics import Topics
from hocket.kafka.client import partition_of
from hocket.runtime.settings import Settings
from tests.support.kafka import CODEC, Service, producing, read, reader, running

pytestmark = pytest.mark.kafka

EDITOR = """#!/bin/sh
cp "$1" "{copy}"
cat > "$1" <<'END'
{text}
END
"""


class Cli:
    def __init__(self, settings: Settings) -> None:
        self._before = ["--bootstrap", settings.bootstrap, "--prefix", settings.prefix, "dlq"]

    async def __call__(self, *arguments: str, answer: str | None = None) -> Ran:
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, [*self._before, *arguments], input=answer))


def editor(folder: Path, text: str) -> str:
    path = folder / "editor.sh"
    path.write_text(EDITOR.format(text=text, copy=folder / "seen.json"))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_a_corrupt_task_is_shown_mended_replayed_and_answered(
    settings: Settings, topics_ready: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, cli = topics_ready.tasks("sentiment"), Cli(settings)
    worker = Service("services.workers", settings, tmp_path / "w.log", "--specialty", "sentiment")
    with running(worker):
        async with producing(settings) as producer:
            await producer.send_and_wait(topic, b'{"request_id": "r1"}', key=b"r1", headers=[("x", b"kept")])
        await read(settings, topics_ready.dead_letters, DeadLetter, until=bool)
        listed = json.loads((await cli("ls", "-o", "json")).stdout)["dead_letters"]
        [letter] = listed
        assert (letter["topic"], letter["key"], letter["kind"]) == (topic, "r1", "undecodable")
        for miss in (["--kind", "crashed"], ["--topic", "results"], ["--request", "r2"], ["--service", "planner"]):
            assert json.loads((await cli("ls", *miss, "-o", "json")).stdout)["dead_letters"] == []
        hit = ["--kind", "undecodable", "--topic", "tasks-sentiment", "--request", "r1", "--service", "worker"]
        assert letter["id"] in (await cli("ls", *hit, "--since", "1h")).stdout

        shown = await cli("show", letter["id"])
        assert "not Avro as Hocket reads it" in shown.stdout
        assert '{"request_id": "' in shown.stdout, "a dump of the bytes"

        monkeypatch.setenv("VISUAL", editor(tmp_path, '{"request_id": "r1", "priority": "high"}'))
        wrong = await cli("replay", letter["id"], "--edit", "--yes")
        assert wrong.exit_code == 2
        assert "priority: " in wrong.stderr and "specialty: Field required" in wrong.stderr
        assert json.loads((tmp_path / "seen.json").read_text()) == {"request_id": "r1"}

        task = Task(
            request_id="r1", task_id="t", specialty="sentiment", instruction="-", text="I love it!", dispatched_at=1
        )
        monkeypatch.setenv("VISUAL", editor(tmp_path, task.model_dump_json()))
        refused = await cli("replay", letter["id"], "--edit", answer="n\n")
        assert refused.exit_code == 1 and "nothing was replayed" in refused.stderr
        replayed = await cli("replay", letter["id"], "--edit", "--yes", "-o", "json")
        assert replayed.exit_code == 0, replayed.stderr
        assert [e["id"] for e in json.loads(replayed.stdout)["replayed"]] == [letter["id"]]
        [result] = await read(settings, topics_ready.results, Result, until=bool)
    assert (result.request_id, result.status) == ("r1", "completed"), worker.tail()


async def test_bytes_headers_and_key_are_untouched_and_a_second_replay_warns(
    settings: Settings, topics_ready: Topics
) -> None:
    topic, cli = topics_ready.requests, Cli(settings)
    letters = [
        DeadLetter(
            topic=topic, partition=1, offset=i, key=b"k%d" % i, value=b"\x00\xff %d" % i, headers={"x": b"\x01"},
            kind="undecodable", reason="bad", service="aggregator", at=1,
        )
        for i in range(3)
    ]  # fmt: skip
    async with producing(settings) as producer:
        for x in letters:
            value = CODEC.encode(x, topics_ready.dead_letters)
            await producer.send_and_wait(topics_ready.dead_letters, value, key=x.key)
        await producer.send_and_wait(topics_ready.dead_letters, b"no letter", key=b"k")
    asked = await cli("replay", "--all", answer="y\n")
    assert asked.exit_code == 0, asked.stderr
    assert "Write 3 record(s)" in asked.stderr and "warning" not in asked.stderr
    again = await cli("replay", "--all", "--request", "k1", "--yes")
    assert again.exit_code == 0 and "was replayed before, as" in again.stderr
    ids = {x["key"]: x["id"] for x in json.loads((await cli("ls", "-o", "json")).stdout)["dead_letters"]}
    found: list[Any] = []
    async with reader(settings, topic) as consumer, asyncio.timeout(20):
        while len(found) < 4:
            found += [r for b in (await consumer.getmany(timeout_ms=200)).values() for r in b]
    for r in found:
        assert (r.value, r.partition) == (b"\x00\xff " + r.key[1:], partition_of(r.key, settings.partitions))
        assert dict(r.headers) == {"x": b"\x01", "hocket-replayed": ids[r.key.decode()].encode()}
    assert sorted(r.key for r in found) == [b"k0", b"k1", b"k1", b"k2"]
    gone = await cli("replay", "3:999", "--yes")
    assert gone.exit_code == 4 and "there is no dead letter 3:999" in gone.stderr


async def test_all_goes_on_beyond_what_fits_into_memory(
    settings: Settings, topics_ready: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--all once stopped at its limit without a word."""
    monkeypatch.setattr("hocket.cli.letters.BATCH", 3)
    async with producing(settings) as producer:
        for number in range(8):
            key = f"k{number}".encode()
            letter = DeadLetter(
                topic=topics_ready.results, partition=0, offset=number, key=key, value=key, headers={}, kind="invalid",
                reason="x", service="worker/a", timestamp=1, at=number,
            )  # fmt: skip
            await producer.send_and_wait(topics_ready.dead_letters, CODEC.encode(letter, "d"), key=key)
    cli = Cli(settings)
    stopped = await cli("replay", "--all", "-o", "json", answer="y\nn\n")
    assert stopped.exit_code == 1 and "nothing more was replayed after the first 3" in stopped.stderr
    replayed = json.loads((await cli("replay", "--all", "--yes", "-o", "json")).stdout)["replayed"]
    listed = json.loads((await cli("ls", "-o", "json")).stdout)["dead_letters"]
    assert [e["id"] for e in replayed] == [e["id"] for e in listed] and len(listed) == 8
