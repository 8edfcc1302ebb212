"""From `hocket cancel` to the last token that is billed: aggregator, worker, provider and client as processes apart.

The provider stands on a loopback port of this process and writes a token every few milliseconds for as long as the
connection is open; its log of the last token written is the oracle. Every request has more tasks than the worker runs
at once, so that some wait: none of those may start once the worker has read the cancellation, which it had at the
latest when it closed the first of the request's connections.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.conditions import broker, conditions, mark, quantile
from hocket.cli.ask import Wish, build_request, control, submit
from hocket.contracts.records import Answer, Control
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics
from hocket.kafka.admin import apply_topics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.ground import fresh
from tests.support.kafka import Service, read, running

TASKS, AT_ONCE = 6, 3
LIMIT_MS = 500
WORKFLOW = "name: feel\ndescription: Feels.\ntasks:\n" + "".join(
    f"  - {{id: t{n}, specialty: sentiment, instruction: Judge it., strategy: best"
    + (f", needs: [{', '.join(f't{i}' for i in range(TASKS))}]}}\n" if n == TASKS else "}\n")
    for n in range(TASKS + 1)
) + f"output: t{TASKS}\n"  # fmt: skip


@dataclass
class Call:
    """One call as the provider saw it; times are monotonic seconds."""

    request_id: str
    started: float
    last_token: float
    tokens: int = 0
    closed: float | None = None


class Endless:
    """A provider whose replies never end: a token every `every` seconds, streamed or as the start of a body."""

    def __init__(self, every: float) -> None:
        self.every = every
        self.calls: list[Call] = []

    async def handle(self, http: web.Request) -> web.StreamResponse:
        asked = json.loads(await http.read())
        name = str(asked).split("request-", 1)[1].split(".", 1)[0]
        call = Call(request_id=f"request-{name}", started=time.monotonic(), last_token=time.monotonic())
        self.calls.append(call)
        streams = bool(asked.get("stream"))
        kind = "text/event-stream" if streams else "application/json"
        response = web.StreamResponse(headers={"content-type": kind})
        try:
            await response.prepare(http)
            for event in _opening(asked["model"]) if streams else ():
                await response.write(_sse(event))
            while True:
                await response.write(_sse(_TOKEN) if streams else b" ")
                call.last_token, call.tokens = time.monotonic(), call.tokens + 1
                await asyncio.sleep(self.every)
        finally:
            call.closed = time.monotonic()


_TOKEN = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": " "}}


def _opening(model: str) -> list[dict[str, Any]]:
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1},
    }  # fmt: skip
    block = {"type": "tool_use", "id": "toolu_1", "name": "deliver_result", "input": {}}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
    ]


def _sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


@dataclass(frozen=True, kw_only=True)
class Round:
    """One cancelled request: milliseconds from the command's begin, and from Kafka's acknowledgement."""

    begun: tuple[float, ...]
    written: tuple[float, ...]
    started_after: int


async def cancelled(settings: Settings, provider: Endless, number: int) -> Round:
    """Asks, waits until the worker is full, cancels, waits until all connections are closed."""
    request_id = f"request-{number}"
    wish = Wish(text=f"{request_id}. Fine.", workflow="feel", strategy="best")
    await submit(settings, build_request(wish, settings, request_id=request_id, now_ms=now_ms()))
    async with asyncio.timeout(60):
        while sum(c.request_id == request_id and c.tokens > 3 for c in provider.calls) < AT_ONCE:
            await asyncio.sleep(0.005)
    begun = time.monotonic()
    await control(settings, Control(request_id=request_id, action="cancel", reason="bench", by="bench", at=now_ms()))
    written = time.monotonic()
    async with asyncio.timeout(30):
        while not all(c.closed for c in provider.calls if c.request_id == request_id):
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.2)  # for one that starts all the same
    mine = [c for c in provider.calls if c.request_id == request_id]
    closed = min(c.closed for c in mine if c.closed is not None)
    return Round(
        begun=tuple(1000 * (c.last_token - begun) for c in mine),
        written=tuple(1000 * (c.last_token - written) for c in mine),
        started_after=sum(c.started > closed for c in mine),
    )


async def measured(settings: Settings, folder: Path, provider: Endless, port: int, rounds: int) -> list[Round]:
    flows = folder / "flows"
    flows.mkdir()
    (flows / "feel.yaml").write_text(WORKFLOW)
    more = {
        "HOCKET_CONCURRENCY": str(AT_ONCE), "HOCKET_PROVIDERS": "anthropic", "HOCKET_ALLOW_REAL_MODELS": "0",
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}", "ANTHROPIC_API_KEY": "sk-test-bench-key",
    }  # fmt: skip
    services = [
        Service("services.aggregator", settings, folder / "a.log", HOCKET_INSTANCE="a", HOCKET_WORKFLOWS=str(flows)),
        Service("services.workers", settings, folder / "w.log", "--specialty", "sentiment", **more),
    ]
    with running(*services):
        await cancelled(settings, provider, 0)  # the first call loads the SDK
        found = [await cancelled(settings, provider, n) for n in range(1, rounds + 1)]
        topics = Topics(settings.prefix)
        answers = await read(settings, topics.answers, Answer, until=lambda a: len(a) > rounds, timeout=20)
    wrong = [a.request_id for a in answers if a.status != "cancelled"]
    assert len(answers) == rounds + 1, f"{len(answers)} answers"
    assert not wrong, f"not cancelled: {wrong}"
    return found


async def main(arguments: argparse.Namespace) -> int:
    print(conditions(requests=arguments.requests, tasks=TASKS, at_once=AT_ONCE, token_every=f"{arguments.every} s"))
    provider = Endless(arguments.every)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/messages", provider.handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        with tempfile.TemporaryDirectory() as name:
            async with broker() as kafka:
                settings = fresh(kafka.bootstrap, Path(name), partitions=4)
                await apply_topics(settings, load_specialties(None))
                port = int(runner.addresses[0][1])
                rounds = await measured(settings, Path(name), provider, port, arguments.requests)
    finally:
        await runner.cleanup()
    return report(rounds)


def report(rounds: list[Round]) -> int:
    """Prints what was measured; 0 when it is as it must be."""
    for what in ("begun", "written"):
        times = [t for r in rounds for t in getattr(r, what)]
        p99 = quantile(times, 0.99)
        print(
            f"cancel {what} -> last billed token, {len(times)} calls: p50 {quantile(times, 0.5):.0f} ms, "
            f"p99 {p99:.0f} ms, worst {max(times):.0f} ms ({mark(p99, LIMIT_MS, less=True)})"
        )
    started = sum(r.started_after for r in rounds)
    print(f"tasks started by a worker that had read the cancel: {started}")
    worst = quantile([t for r in rounds for t in r.begun], 0.99)
    return 0 if worst < LIMIT_MS and not started else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.cancel", description=__doc__)
    parser.add_argument("--requests", type=int, default=100, help="so many are cancelled, one after the other")
    parser.add_argument("--every", type=float, default=0.005, help="seconds between two tokens")
    sys.exit(asyncio.run(main(parser.parse_args())))
