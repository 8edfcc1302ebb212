"""Following a request live: what happens, and the streamed text, from any point on and over disconnects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from hocket.cli.base import CliError, Output, say, usage
from hocket.cli.exchange import Exchange, Heard, Place, connect, offsets_of
from hocket.cli.follow import document
from hocket.cli.render import Watcher, watching
from hocket.contracts.records import Answer, Progress
from hocket.core.transcript import Change, Transcript
from hocket.runtime.settings import Settings

FOLLOW_SECONDS = 300.0


class Follower:
    """Tells a watcher what is new; knows the token to go on from."""

    def __init__(self, watch: Watcher) -> None:
        self._watch = watch
        self.place: Place | None = None

    async def hear(self, story: AsyncIterator[Heard], place: Place) -> Answer | None:
        """Listens to the story's end; the answer, if it came."""
        self.place = place
        transcript = Transcript()
        async for heard in story:
            changes = _changes(transcript, heard.record)
            self.place = heard.place
            if heard.new:
                self._watch(heard.record, changes)
            if isinstance(heard.record, Answer):
                return heard.record
        return None

    @property
    def token(self) -> str | None:
        """Where to go on; None before anything was followed."""
        return None if self.place is None else self.place.token


class Documents(Follower):
    """Prints what is new as JSON lines, each with the token that goes on after it."""

    def __init__(self) -> None:
        super().__init__(self._print)

    def _print(self, event: Progress | Answer, changes: Sequence[Change] = ()) -> None:
        print(json.dumps(document(event, changes, self.token or ""), ensure_ascii=False), flush=True)


def _changes(transcript: Transcript, event: Progress | Answer) -> Sequence[Change]:
    if isinstance(event, Answer):
        return transcript.mend(event)
    change = transcript.take(event)
    return [] if change is None else [change]


@contextmanager
def telling(request_id: str, output: Output) -> Iterator[Follower]:
    """A follower that tells all: on stderr for people, as JSON lines on stdout with `-o json`."""
    if output is Output.json:
        yield Documents()
        return
    with watching(request_id, texts=True) as watch:
        yield Follower(watch)


def say_how_to_go_on(request_id: str, follower: Follower) -> None:
    """How to go on where this follower stopped."""
    if follower.token is not None:
        say(f"To go on from here: hocket follow {request_id} --from {follower.token}")


async def _follow(
    exchange: Exchange, follower: Follower, request_id: str, token: str | None, seconds: float
) -> Answer | None:
    place = await exchange.place(request_id, replay=token is None, token=token)
    return await follower.hear(exchange.follow(place, seconds=seconds), place)


def run_follow(settings: Settings, request_id: str, *, token: str | None, seconds: float, output: Output) -> int:
    """`hocket follow`: returns the exit code, which tells how the request ended."""
    from hocket.cli.ask import late, show

    _checked(token)

    async def following(follower: Follower) -> Answer | None:
        async with connect(settings) as exchange:
            return await _follow(exchange, follower, request_id, token, seconds)

    with telling(request_id, output) as follower:
        try:
            answer = asyncio.run(following(follower))
        except (KeyboardInterrupt, CliError):
            say_how_to_go_on(request_id, follower)
            raise
    if answer is None:
        say_how_to_go_on(request_id, follower)
        raise late(request_id, seconds)
    return show(answer, output, told=output is Output.json)


def _checked(token: str | None) -> None:
    try:
        if token is not None:
            offsets_of(token)
    except ValueError:
        usage(f"--from takes what an earlier `hocket follow` printed, not {token!r}")
