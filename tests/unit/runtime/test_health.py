from __future__ import annotations

import asyncio
import json
import urllib.request
from contextlib import closing

import pytest

from hocket.contracts.headers import traceparent
from hocket.runtime import metrics, tracing
from hocket.runtime.health import Health, serving, serving_in_thread
from hocket.runtime.settings import Settings
from tests.support.tracing import traced


async def ask(url: str, request: bytes) -> tuple[int, bytes, bytes]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with closing(writer):
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head, body


async def get(url: str, path: str) -> tuple[int, dict[str, object]]:
    status, _, body = await ask(url, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return status, json.loads(body)


async def test_ready_follows_the_checks_and_startup_stays():
    health, joined = Health(), False
    health.add("writing", lambda: joined)
    async with serving(Settings(http_port=0), health) as url:
        assert url is not None
        assert await get(url, "/ready") == (503, {"ready": False, "checks": {"writing": False}})
        assert (await get(url, "/startup"))[0] == 503
        joined = True
        assert await get(url, "/ready?x=1") == (200, {"ready": True, "checks": {"writing": True}})
        joined = False
        assert (await get(url, "/ready"))[0] == 503
        assert (await get(url, "/startup"))[0] == 200
        assert await get(url, "/live") == (200, {"live": True, "checks": {}})


async def test_a_process_without_checks_is_not_ready():
    assert Health().answer("GET", "/ready")[0] == 503


async def test_metrics_are_served_in_the_prometheus_format():
    metrics.STARTED.labels("writing").inc()
    async with serving(Settings(http_port=0), Health()) as url:
        assert url is not None
        status, head, body = await ask(url, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert status == 200
    assert b"text/plain" in head
    assert b'hocket_tasks_started_total{specialty="writing"}' in body


async def test_who_accepts_openmetrics_gets_trace_ids_as_exemplars():
    with traced():
        header = traceparent(None, "r")
        with tracing.within(tracing.work("process t", header, "r", dict)):
            metrics.SECONDS.labels("writing").observe(0.3, tracing.exemplar())
    async with serving(Settings(http_port=0), Health()) as url:
        assert url is not None
        asked = b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n"
        status, head, body = await ask(url, asked)
    assert (status, b"application/openmetrics-text" in head) == (200, True)
    assert f'# {{trace_id="{header.split("-")[1]}"}} 0.3' in body.decode()
    assert b"_created" not in body


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /live HTTP/1.1\r\n\r\n", 405),
        (b"GET /else HTTP/1.1\r\n\r\n", 404),
        (b"rubbish\r\n\r\n", 400),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 400),
    ],
)
async def test_what_is_not_understood_is_refused(request_, status):
    async with serving(Settings(http_port=0), Health()) as url:
        assert url is not None
        assert (await ask(url, request_))[0] == status


async def test_without_a_port_nothing_is_served():
    async with serving(Settings(http_port=None), Health()) as url:
        assert url is None


async def test_a_live_check_can_fail():
    health = Health()
    health.add("loop", lambda: False, live=True)
    assert health.answer("GET", "/live")[0] == 503


def test_a_process_without_an_event_loop_serves_from_a_thread():
    health = Health()
    health.add("x", lambda: True)
    with serving_in_thread(Settings(http_port=0), health) as url:
        assert url is not None
        with urllib.request.urlopen(f"{url}/ready", timeout=30) as answer:
            assert json.loads(answer.read()) == {"ready": True, "checks": {"x": True}}
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError), serving_in_thread(Settings(http_port=port), health):
            pass
