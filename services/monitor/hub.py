"""Server-sent events: the page's sections are made once per tick for all, and each page gets those that changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

TICK_S = 0.5
_KEEP_ALIVE_TICKS = 20
MAX_PAGES = 50

Sections = Callable[[], Mapping[str, Any]]
Find = Callable[[str], Any | None]


class Hub:
    """Makes the sections while anybody looks. `made` is how many milliseconds the last round took."""

    def __init__(self, sections: Sections, find: Find) -> None:
        self.sections, self._find = sections, find
        self._made: dict[str, tuple[int, bytes]] = {}
        self._round = 0
        self._pages = 0
        self._ticked = asyncio.Condition()
        self.made_ms = 0.0

    async def run(self) -> None:
        """Makes sections until cancelled; rests while no page is open."""
        loop = asyncio.get_running_loop()
        while True:
            if self._pages:
                began = loop.time()
                await self.make()
                self.made_ms = (loop.time() - began) * 1000
            await asyncio.sleep(TICK_S)

    async def make(self) -> None:
        """One round: every section anew, with a new version where it says something else."""
        self._round += 1
        for name, section in self.sections().items():
            body = orjson.dumps(section, option=orjson.OPT_NON_STR_KEYS)
            if name not in self._made or self._made[name][1] != body:
                self._made[name] = (self._round, body)
        async with self._ticked:
            self._ticked.notify_all()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One page's stream; `?request=ID` adds that request whenever it changes."""
        if self._pages >= MAX_PAGES:
            return web.json_response({"error": "too many pages are open"}, status=503)
        reply = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        await reply.prepare(request)
        self._pages += 1
        try:
            with contextlib.suppress(ConnectionError):
                await self._stream(reply, request.query.get("request", "")[:200])
        finally:
            self._pages -= 1
        return reply

    async def _stream(self, reply: web.StreamResponse, request_id: str) -> None:
        await self.make()
        seen, told, quiet = 0, b"", 0
        await reply.write(b"retry: 1000\n\n")
        while True:
            newest = self._round
            news = [_event(name, body) for name, (version, body) in self._made.items() if version > seen]
            seen = newest
            if request_id:
                found = orjson.dumps(self._find(request_id))
                if found != told:
                    told = found
                    news.append(_event("request", found))
            quiet = 0 if news else quiet + 1
            if news:
                await reply.write(b"".join(news))
            elif quiet >= _KEEP_ALIVE_TICKS:
                quiet = 0
                await reply.write(b": still here\n\n")
            async with self._ticked:
                await self._ticked.wait()


def _event(name: str, body: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + body + b"\n\n"
