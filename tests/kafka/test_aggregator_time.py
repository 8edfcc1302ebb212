"""Deadlines, sessions and markers of the aggregator on a real broker, also when it is killed in between."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hocket.contracts.records import AccountCommand, Answer, OnBusy, Policy, Record, Request, Task
from hocket.contracts.topics import Topics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.kafka import CODEC, ScriptedWorkers, Service, echo, producing, read, reader, request, running, send
from tests.support.plans import diamond

pytestmark = pytest.mark.kafka

SPECIALTIES = ("planning", "extraction", "synthesis")
PROMPT_MS = 30_000  # at all, that is: a naive build forgets them; how soon depends on the machine
"""An expired request is answered so soon after its deadline."""


def aggregator(settings: Settings, folder: Path, name: str = "a0", **env: str) -> Service:
    return Service("services.aggregator", settings, folder / f"{name}.log", HOCKET_INSTANCE=name, **env)


def dated(number: int | str, seconds: float, **changes: object) -> Request:
    return request(number, policy=Policy(deadline=now_ms() + int(seconds * 1000)), **changes)


def work(task: Task) -> Record | None:
    return diamond(task) if task.specialty == "planning" else echo(task)


Found = dict[str, tuple[Answer, int]]


async def answered(settings: Settings, topics: Topics, count: int, seconds: float = 90) -> Found:
    """Answers by request id, each with its append time; fails on a second one."""
    found: Found = {}
    async with reader(settings, topics.answers) as consumer:
        end = time.monotonic() + seconds
        while time.monotonic() < end and len(found) < count:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                for record in batch:
                    answer = CODEC.decode(record.value, Answer)
                    assert answer.request_id not in found
                    found[answer.request_id] = (answer, record.timestamp)
    return found


def lateness(requests: Sequence[Request], answers: Found) -> list[int]:
    return sorted(answers[r.request_id][1] - (r.policy.deadline or 0) for r in requests)


async def test_a_request_that_nobody_works_on_expires_in_time_though_its_aggregator_was_killed(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    service = aggregator(settings, tmp_path)
    with running(service):
        async with producing(settings) as producer:
            await send(producer, topics_ready.requests, request("warm", workflow="no such"))
            await answered(settings, topics_ready, 1)
            soon = [dated(f"soon{n}", 3) for n in range(4)]
            later = [dated(f"later{n}", 13) for n in range(4)]
            await send(producer, topics_ready.requests, *soon, *later)
            assert len(await answered(settings, topics_ready, 5)) == 5
            service.kill()
            service.start()
            found = await answered(settings, topics_ready, 9)
    assert {found[r.request_id][0].status for r in (*soon, *later)} == {"expired"}
    late = lateness([*soon, *later], found)
    assert late[0] >= 0
    assert late[-1] <= PROMPT_MS, late


def in_session(number: int | str, on_busy: OnBusy = "reject", session: str = "s", **changes: object) -> Request:
    return request(number, session_id=session, policy=Policy(on_busy=on_busy), **changes)


async def test_sessions_share_context_and_every_table_is_empty_afterwards(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    """Two in sequence; a busy session that rejects, lets wait or is taken over; then markers and sessions go."""
    topics = topics_ready
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {"HOCKET_DONE_MARKER": "4", "HOCKET_SESSION_TTL": "6", "HOCKET_HTTP_PORT": str(port)}
    held: set[str] = {"rholder"}

    def scripted(task: Task) -> Record | None:
        return None if task.request_id in held and task.specialty != "planning" else work(task)

    with running(aggregator(settings, tmp_path, **env)):
        async with ScriptedWorkers(settings, SPECIALTIES, scripted) as workers, producing(settings) as producer:
            await send(producer, topics.requests, in_session("1", constants={"name": "Ada"}))
            await answered(settings, topics, 1)
            await send(producer, topics.requests, in_session("2"))
            await answered(settings, topics, 2)
            [synthesis] = [t for t in workers.seen if t.request_id == "r2" and t.specialty == "synthesis"]
            assert synthesis.constants == {"name": "Ada"}
            assert "z(t0,t1,t2)" in (synthesis.context or "")

            await send(producer, topics.requests, in_session("holder"))
            await until(lambda: any(t.request_id == "rholder" and t.specialty == "extraction" for t in workers.seen))
            assert await shown(port, "hocket_expected_backlog", lambda by: by.get("synthesis") == 1)
            await send(producer, topics.requests, in_session("rejected"), in_session("waits", "enqueue"))
            third = await answered(settings, topics, 3)
            assert third["rrejected"][0].error is not None
            assert third["rrejected"][0].error.kind == "session_busy"
            await send(producer, topics.requests, in_session("takes", "replace"))
            found = await answered(settings, topics, 6)
        assert await shown(port, "hocket_table_rows", lambda by: by == {"requests": 0.0, "accounts": 0.0})
        assert await shown(port, "hocket_expected_backlog", lambda by: by == {"synthesis": 0.0})
    assert {i: a.status for i, (a, _) in found.items()} == {
        "r1": "completed",
        "r2": "completed",
        "rholder": "cancelled",
        "rrejected": "failed",
        "rtakes": "completed",
        "rwaits": "completed",
    }
    assert found["rwaits"][1] >= found["rtakes"][1]


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def shown(
    port: int, metric: str, wanted: Callable[[dict[str, float]], bool], seconds: float = 25
) -> dict[str, float]:
    """The metric's values by their label, as /metrics shows them, once they are as wanted."""
    end, found = time.monotonic() + seconds, dict[str, float]()
    while not (found and wanted(found)):
        assert time.monotonic() < end, found
        await asyncio.sleep(0.3)
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read())
        lines = [line for line in page.decode().splitlines() if line.startswith(metric + "{")]
        found = {line.split('"')[1]: float(line.split()[-1]) for line in lines}
    return found


async def test_a_kill_between_ask_and_grant_loses_nothing_with_three_aggregators(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    """One is killed when the first account command is out, another stops in good order; deadlines pass meanwhile."""
    topics, total = topics_ready, 20
    services = [aggregator(settings, tmp_path, f"a{n}") for n in range(3)]
    with running(*services):
        async with ScriptedWorkers(settings, SPECIALTIES, work) as workers, producing(settings) as producer:
            await send(producer, topics.requests, request("warm"))
            await answered(settings, topics, 1)
            unworked = [dated(f"late{n}", 4 + n, workflow=None, text="-") for n in range(6)]
            workers.work = lambda t: None if t.request_id.startswith("rlate") else work(t)
            await send(producer, topics.requests, *unworked)
            await send(
                producer,
                topics.requests,
                *(in_session(n, session=f"s{n % 6}", on_busy="enqueue") for n in range(total)),
            )
            commands = await read(settings, topics.accounts, AccountCommand, until=bool)
            services[0].kill()
            await asyncio.sleep(1)
            services[0].start()
            services[1].stop()
            found = await answered(settings, topics, total + 7, seconds=60)
    assert commands
    assert Counter(a.status for a, _ in found.values()) == Counter(completed=total + 1, expired=6)
    assert lateness(unworked, found)[0] >= 0
