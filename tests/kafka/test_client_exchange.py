"""The client's side against a real broker; a scripted stand-in answers in the aggregator's place."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from hocket.cli.ask import Wish, ask, build_request, control, find, submit
from hocket.cli.base import CliError, Output
from hocket.cli.exchange import connect
from hocket.cli.live import Follower
from hocket.cli.tail import tail
from hocket.contracts.claims import Blobs
from hocket.contracts.codec import Codec
from hocket.contracts.records import Answer, Control, DeadLetter, Progress, Receipt, Request
from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support.kafka import producing, read, send

pytestmark = pytest.mark.kafka
NOW = 1_700_000_000_000


def answer_to(request_id: str) -> Answer:
    return Answer(
        request_id=request_id,
        status="completed",
        content=f"for {request_id}",
        receipt=Receipt(admitted_at=NOW, answered_at=NOW),
    )


def wanted(settings: Settings, request_id: str, **more: Any) -> Request:
    return build_request(Wish(text="x", **more), settings, request_id=request_id, now_ms=NOW)


async def answering(settings: Settings, topics: Topics, request_id: str) -> None:
    """Waits for the request, then tells a follower and answers; others are answered, too."""
    await read(settings, topics.requests, Request, until=lambda found: any(r.request_id == request_id for r in found))
    async with producing(settings) as producer:
        for other in ("other-1", "other-2", request_id):
            await send(producer, topics.progress, Progress(request_id=other, kind="assigned", task_id="a", at=NOW))
            await send(producer, topics.answers, answer_to(other))


async def test_a_request_is_followed_to_its_own_answer(settings: Settings, topics_ready: Topics) -> None:
    seen: list[Any] = []
    stand_in = asyncio.create_task(answering(settings, topics_ready, "mine"))
    follower = Follower(lambda event, _changes=(): seen.append(event))
    found = await ask(settings, wanted(settings, "mine"), seconds=20, follower=follower)
    await stand_in
    assert found == answer_to("mine")
    assert [type(e).__name__ for e in seen] == ["Progress", "Answer"]
    assert {e.request_id for e in seen} == {"mine"}


async def test_no_answer_in_time_is_none(settings: Settings, topics_ready: Topics) -> None:
    assert await ask(settings, wanted(settings, "slow"), seconds=0.5) is None


async def test_an_id_that_was_answered_before_finds_that_answer(settings: Settings, topics_ready: Topics) -> None:
    async with producing(settings) as producer:
        await send(producer, topics_ready.answers, answer_to("again"))
    assert await ask(settings, wanted(settings, "again"), seconds=10, replay=True) == answer_to("again")
    assert await ask(settings, wanted(settings, "again"), seconds=0.5) is None, "only what comes after submitting"


async def test_an_answer_is_found_by_its_key(settings: Settings, topics_ready: Topics) -> None:
    async with producing(settings) as producer:
        await send(producer, topics_ready.answers, *(answer_to(f"r{i}") for i in range(50)))
    assert await find(settings, "r7", seconds=0, from_offset=None) == answer_to("r7")
    assert await find(settings, "unknown", seconds=0.2, from_offset=None) is None
    place = await submit(settings, wanted(settings, "r7"))
    assert await find(settings, "r7", seconds=0.2, from_offset=place.answers_from) is None


async def test_what_was_never_committed_is_not_found(settings: Settings, topics_ready: Topics) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, transactional_id=f"{settings.prefix}t")
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(
            topics_ready.answers, Codec().encode(answer_to("undone"), topics_ready.answers), key=b"undone"
        )
        await producer.abort_transaction()
    finally:
        await producer.stop()
    assert await find(settings, "undone", seconds=0.5, from_offset=None) is None


async def test_a_client_without_the_registry_of_the_services_is_told_so(
    settings: Settings, topics_ready: Topics
) -> None:
    """It waited in silence until its time was over."""
    async with producing(settings) as producer:
        framed = b"\0" + (7).to_bytes(4, "big") + b"a body that only the registry's schema can tell"
        await producer.send_and_wait(topics_ready.answers, framed, key=b"framed")
    with pytest.raises(CliError, match="set HOCKET_REGISTRY_URL"):
        await find(settings, "framed", seconds=60, from_offset=None)


async def test_a_large_attachment_goes_into_the_blob_store(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * 2_000_000)
    await submit(settings, wanted(settings, "large", files=[large]))
    (sent,) = await read(settings, topics_ready.requests, Request, until=lambda found: len(found) == 1)
    (attachment,) = sent.attachments
    assert attachment.data is None
    assert attachment.size == 2_000_000
    assert Blobs(settings.blob_store).attachment(attachment) == large.read_bytes()


async def test_a_request_lands_where_its_answer_will(settings: Settings, topics_ready: Topics) -> None:
    async with connect(settings) as exchange:
        for i in range(20):
            request = wanted(settings, f"key-{i}-ü")
            place = await exchange.place(request.request_id)
            partition, _ = await exchange.send(request, event_id=request.request_id, at_ms=NOW)
            assert partition == place.partition


async def test_cancel_writes_a_command(settings: Settings, topics_ready: Topics) -> None:
    command = Control(request_id="r", action="cancel", reason="enough", by="me", at=NOW)
    await control(settings, command)
    assert await read(settings, topics_ready.control, Control, until=lambda found: len(found) == 1) == [command]


async def tailed(
    settings: Settings, capsys: pytest.CaptureFixture[str], topic: str, output: Output = Output.json
) -> list[dict[str, Any]]:
    await tail(settings, topic, beginning=True, limit=None, to_end=True, output=output)
    return [json.loads(x) for x in capsys.readouterr().out.splitlines()]


async def test_tail_shows_any_record_and_what_is_none(
    settings: Settings, topics_ready: Topics, capsys: pytest.CaptureFixture[str]
) -> None:
    letter = DeadLetter(
        topic="requests", partition=0, offset=1, key=b"k", value=b"\xff\x00", kind="undecodable", reason="-",
        service="aggregator", at=NOW,
    )  # fmt: skip
    async with producing(settings) as producer:
        bytes_ = Codec().encode(letter, topics_ready.dead_letters)
        await producer.send_and_wait(topics_ready.dead_letters, bytes_, key=b"k", partition=0)
        await producer.send_and_wait(topics_ready.dead_letters, b"junk", key=b"\xfe", partition=0)
    first, second = await tailed(settings, capsys, "dead-letters")
    assert first["record"]["value"] == "_wA=", "untouched bytes, as base64"
    assert (first["key"], first["offset"]) == ("k", 0)
    assert second["value"] == "anVuaw=="
    assert "not Avro" in second["error"]
    assert second["key"] == "\\xfe"


async def test_tail_stops_after_so_many(
    settings: Settings, topics_ready: Topics, capsys: pytest.CaptureFixture[str]
) -> None:
    async with producing(settings) as producer:
        await send(producer, topics_ready.answers, *(answer_to(f"r{i}") for i in range(5)))
    count = await tail(settings, "answers", beginning=True, limit=3, to_end=False, output=Output.json)
    assert count == len(capsys.readouterr().out.splitlines()) == 3


# A test run in the background of a shell inherits an ignored SIGINT, and would hand it on.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from hocket.cli.app import main; main()"
)


async def test_ctrl_c_leaves_the_request_running_and_says_how_to_get_its_answer(
    settings: Settings, topics_ready: Topics
) -> None:
    asking = await asyncio.create_subprocess_exec(
        sys.executable, "-c", INTERRUPTIBLE,
        "--bootstrap", settings.bootstrap, "--prefix", settings.prefix, "ask", "x", "--id", "mine",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await read(settings, topics_ready.requests, Request, until=lambda found: len(found) == 1)
    await asyncio.sleep(0.3)  # the command hears of the acknowledgement a moment after the record can be read
    asking.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(asking.communicate(), 20)
    assert (asking.returncode, out) == (130, b"")
    assert b"hocket result mine" in err
    assert b"hocket cancel mine" in err
