"""What a running task tells whoever follows it: its text, written beside the call and never in its way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Self

from hocket.core.coalesce import Coalescer, Piece

Write = Callable[[Piece], Awaitable[None]]
"""Returns when the piece is safe."""


class Telling:
    """The text of one run. Use it as `async with`: at a good end all of it is safe, at any other the rest is dropped.

    While Kafka is away text waits in memory, as much as a model may write; the call goes on. At the end it is waited
    for as long as the result itself would have to wait.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._text = Coalescer()
        self._changed = asyncio.Event()
        self._ending = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    def add(self, text: str) -> None:
        """More of the reply; an empty text voids what came before. Never waits. Call it in the event loop."""
        self._text.add(text)
        self._changed.set()
        if self._writer is None and text:
            self._writer = asyncio.create_task(self._run())

    def settle(self, text: str) -> None:
        """The text that was delivered in the end: told anew if what was streamed is another one (a doubted reply, an
        engine that does not stream). Nothing, if nothing was streamed."""
        if self._writer is not None and text != self._text.said():
            self.add("")
            self.add(text)

    @property
    def heard(self) -> tuple[int, int] | None:
        """(reply, characters) of what followers have been told, None for nothing."""
        return (self._text.reply, self._text.chars) if self._writer is not None else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if self._writer is None:
            return
        if kind is not None:
            self._writer.cancel()
        self._ending.set()
        self._changed.set()
        await asyncio.gather(self._writer, return_exceptions=kind is not None)

    async def _run(self) -> None:
        while True:
            wait = self._text.wait_ms(1000 * monotonic())
            if wait is None:
                if self._ending.is_set():
                    return
                self._changed.clear()
                await self._changed.wait()
            elif wait > 0 and not self._ending.is_set():
                await self._pause(wait / 1000)
            else:
                for piece in self._text.take(1000 * monotonic()):
                    await self._write(piece)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            return
