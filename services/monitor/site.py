"""The live page: its files, its stream, one request by id, and who may see them."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from aiohttp import web

from hocket.contracts.records import Answer
from hocket.kafka.broadcast import Broadcast
from hocket.kafka.client import codec_of, topics_of
from hocket.runtime.settings import Settings
from services.monitor.board import Asked, Board
from services.monitor.hub import Hub
from services.monitor.replay import Replays
from services.monitor.views import request_view

COOKIE = "hocket_monitor"
OPEN_PATHS = frozenset({"/startup", "/ready", "/live", "/metrics", "/scaling"})
"""Without user data: probes, scrapers and autoscalers need no token."""
_SEARCHES = 2
"""So many searches read the topic of answers at once; others wait."""
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_TYPES = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guard(settings: Settings) -> Any:
    """Middleware: with a token set, the page and its data want it (header, or `/?token=` once for a cookie). On a
    loopback address only local host names are answered, so that no web site can reach it through a name of its own."""
    secret = settings.monitor_token.get_secret_value() if settings.monitor_token else None
    local = settings.http_host in ("127.0.0.1", "::1", "localhost")

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if local and request.host.rsplit(":", 1)[0] not in _LOCAL_HOSTS:
            return web.Response(status=421, text="this address serves local names only\n")
        if secret is None or request.path in OPEN_PATHS or request.path.startswith("/scaling/"):
            return await handler(request)
        if request.path == "/" and _same(request.query.get("token"), secret):
            reply = web.Response(status=303, headers={"Location": "/"})
            reply.set_cookie(COOKIE, secret, httponly=True, samesite="Strict")
            return reply
        if _same(_bearer(request), secret) or _same(request.cookies.get(COOKIE), secret):
            return await handler(request)
        text = "a token is needed: open /?token=..., or send Authorization: Bearer ... (HOCKET_MONITOR_TOKEN)\n"
        return web.Response(status=401, text=text)

    return check


def _bearer(request: web.Request) -> str | None:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    return value if kind.lower() == "bearer" else None


def _same(given: str | None, secret: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), secret.encode())


def add_site(app: web.Application, settings: Settings, board: Board, hub: Hub) -> None:
    """Adds the page, its stream, `/api/requests/<id>` and the replay of dead letters."""
    bodies = {name: (files("services.monitor") / "page" / name).read_bytes() for name in _TYPES}

    async def show(request: web.Request) -> web.Response:
        name = request.match_info.get("name", "page.html")
        if name not in bodies:
            raise web.HTTPNotFound
        return web.Response(body=bodies[name], content_type=_TYPES[name], charset="utf-8", headers=_HEADERS)

    searching = asyncio.Semaphore(_SEARCHES)

    async def one(request: web.Request) -> web.Response:
        request_id = request.match_info["id"]
        found = board.find(request_id)
        if found is None:
            async with searching:
                found = await _in_topic(settings, request_id)
        if found is None:
            message = f"{request_id} is neither in progress nor found among the answers; see `hocket result`"
            return web.json_response({"error": message}, status=404)
        return web.json_response(request_view(found))

    async def top(_request: web.Request) -> web.Response:
        return web.json_response(dict(hub.sections()))

    app.router.add_get("/", show)
    app.router.add_get("/api/top", top)
    app.router.add_get("/static/{name}", show)
    app.router.add_get("/api/events", hub.serve)
    app.router.add_get("/api/requests/{id}", one)
    app.router.add_post("/api/dead-letters/{id}/replay", Replays(settings, board).serve)


async def _in_topic(settings: Settings, request_id: str) -> Asked | None:
    """The answer from the topic, for requests that have left the board. Reads for some seconds at most."""
    found = Board()
    reader = Broadcast(
        settings,
        topic=topics_of(settings).answers,
        record=Answer,
        codec=codec_of(settings),
        heard=found.answer,
        key=request_id.encode(),
    )
    reading = asyncio.create_task(reader.run())
    try:
        await reader.caught_up()
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
    return found.find(request_id)
