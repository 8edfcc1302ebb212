"""Health and metrics over HTTP, for probes and Prometheus: GET /startup, /ready, /live, /metrics.

/live answers as long as the event loop runs (and asks the checks that were added for it): Kafka out of reach is no
reason to be restarted. /ready asks every other check (a worker's: is it in its group?). /startup is /ready until it was
true once, and true from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from hocket.runtime.settings import Settings

_REQUEST_BYTES = 8 * 1024
_REQUEST_S = 5.0
_JSON = "application/json"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
_BREAK = b"\r\n\r\n"


class Health:
    """What a process has to say about itself. Checks are quick and never block."""

    def __init__(self) -> None:
        self._ready: dict[str, Callable[[], bool]] = {}
        self._live: dict[str, Callable[[], bool]] = {}
        self._started = False

    def add(self, name: str, check: Callable[[], bool], *, live: bool = False) -> None:
        """From now on readiness (with `live`: liveness) needs this check, too."""
        (self._live if live else self._ready)[name] = check

    @property
    def begun(self) -> bool:
        """Whether the process has said what its readiness depends on."""
        return bool(self._ready)

    def answer(self, method: str, path: str, accept: str = "") -> tuple[int, str, bytes]:
        """Status, content type and body for a request. Metrics have exemplars for who accepts OpenMetrics."""
        if method != "GET":
            return _json(405, {"error": "only GET"})
        if path == "/metrics":
            encode, kind = choose_encoder(accept)
            return 200, kind, encode(REGISTRY)
        if path not in ("/ready", "/startup", "/live"):
            return _json(404, {"error": "there are /startup, /ready, /live and /metrics"})
        checks = self._live if path == "/live" else self._ready
        found = {name: check() for name, check in checks.items()}
        fine = all(found.values())
        if path != "/live":
            fine = fine and bool(found)
            self._started = self._started or fine
        if path == "/startup":
            fine = self._started
        return _json(200 if fine else 503, {path[1:]: fine, "checks": found})


def _json(status: int, body: dict[str, object]) -> tuple[int, str, bytes]:
    return status, _JSON, json.dumps(body).encode()


@asynccontextmanager
async def serving(settings: Settings, health: Health) -> AsyncIterator[str | None]:
    """Serves at HOCKET_HTTP_HOST:HOCKET_HTTP_PORT meanwhile (port 0: a free one); gives the URL, None without a port.

    Raises OSError when the port is taken.
    """
    if settings.http_port is None:
        yield None
        return

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(_respond(reader, writer, health), _REQUEST_S)
        writer.close()

    server = await asyncio.start_server(connected, settings.http_host, settings.http_port, limit=_REQUEST_BYTES)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"


@contextmanager
def serving_in_thread(settings: Settings, health: Health) -> Iterator[str | None]:
    """The same for a process whose main thread has no event loop; checks run in the server's thread.

    Add a `live` check there: the server's own loop says nothing about the main thread.
    """
    ended = threading.Event()
    url: Future[str | None] = Future()

    async def serve() -> None:
        async with serving(settings, health) as found:
            url.set_result(found)
            await asyncio.to_thread(ended.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        except OSError as e:
            url.set_exception(e)

    thread = threading.Thread(target=run, name="health", daemon=True)
    thread.start()
    try:
        yield url.result()
    finally:
        ended.set()
        thread.join()


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.decode("latin-1").strip()
    return ""


async def _respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, health: Health) -> None:
    """One request, one response; the connection is closed after it."""
    try:
        head = await reader.readuntil(_BREAK)
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        status, kind, body = health.answer(method, target.partition("?")[0], _header(head, b"accept"))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        status, kind, body = _json(400, {"error": "not an HTTP request"})
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"content-type: {kind}",
        f"content-length: {len(body)}",
        "connection: close",
    )
    writer.write("\r\n".join(lines).encode() + _BREAK + body)
    await writer.drain()
