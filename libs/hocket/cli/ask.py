"""The commands around one request: ask, submit, result, cancel."""

from __future__ import annotations

import asyncio
import mimetypes
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from hocket.cli.base import EXIT_CODES, TIMED_OUT, CliError, Output, print_json, say, usage, user
from hocket.cli.exchange import Exchange, Place, connect
from hocket.cli.live import FOLLOW_SECONDS, Follower, say_how_to_go_on, telling
from hocket.cli.render import answer_json, print_answer, watching
from hocket.cli.save import save as write
from hocket.contracts import claims
from hocket.contracts.records import Answer, Attachment, Control, OnBusy, Policy, Request, Strategy
from hocket.runtime.settings import Settings

_GRACE_SECONDS = 3.0
_SESSION_BYTES = 200
_SPAN = re.compile(r"(?P<count>\d{1,9}(\.\d+)?)(?P<unit>[smhd])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_EXTRA_TYPES = {
    ".eml": "message/rfc822",
    ".md": "text/markdown",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the command line asks for, still unchecked."""

    text: str = ""
    files: Sequence[Path] = ()
    workflow: str | None = None
    strategy: Strategy = "balanced"
    timeout: float | None = None
    deadline: str | None = None
    session: str | None = None
    on_busy: OnBusy | None = None
    constants: Sequence[str] = field(default_factory=tuple)
    tenant: str = "default"
    priority: int = 5
    max_cost: float | None = None


def media_type(path: Path) -> str:
    """The media type that a file's name promises."""
    known = _EXTRA_TYPES.get(path.suffix.lower())
    return known or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def build_request(wish: Wish, settings: Settings, *, request_id: str, now_ms: int) -> Request:
    """The request that a wish stands for; reads its files. Raises CliError (usage) that names what is wrong."""
    if not wish.text.strip() and not wish.files:
        usage("nothing is asked: give a text, or a file with -a FILE")
    if not request_id or len(request_id.encode()) > 200:
        usage("--id must have 1 to 200 bytes")
    if wish.session is not None and not 0 < len(wish.session.encode()) <= _SESSION_BYTES:
        usage(f"--session must have 1 to {_SESSION_BYTES} bytes")
    if wish.on_busy is not None and wish.session is None:
        usage("--on-busy says what to do when the session is busy: name one with --session")
    if wish.max_cost is not None and not 0 < wish.max_cost < float("inf"):
        usage("--max-cost must be more than 0 US dollars")
    return Request(
        request_id=request_id,
        tenant=wish.tenant,
        session_id=wish.session,
        constants=_constants(wish.constants),
        text=wish.text,
        attachments=tuple(_attachment(p, settings.max_attachment_bytes) for p in wish.files),
        workflow=wish.workflow,
        policy=Policy(
            strategy=wish.strategy,
            max_cost_usd=wish.max_cost,
            deadline=_deadline(wish, now_ms),
            priority=wish.priority,
            on_busy=wish.on_busy or "reject",
        ),
        submitted_at=now_ms,
    )


def _deadline(wish: Wish, now_ms: int) -> int | None:
    if wish.deadline is None:
        return None if wish.timeout is None else now_ms + int(wish.timeout * 1000)
    if wish.timeout is not None:
        usage("--timeout and --deadline say the same thing: give one of them")
    deadline = moment(wish.deadline, now_ms)
    if deadline <= now_ms:
        usage(f"--deadline {wish.deadline} has passed already")
    return deadline


def moment(text: str, now_ms: int) -> int:
    """The time (ms since 1970, UTC) that a span such as 90s, 15m, 2h or 3d from now ends, or that a date and time
    names; without an offset it is meant in this machine's time zone. Raises CliError (usage)."""
    if span := _SPAN.fullmatch(text):
        return now_ms + int(float(span["count"]) * _UNIT_MS[span["unit"]])
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        return usage(f"--deadline takes a span (90s, 15m, 2h, 3d) or a time (2026-11-30T18:00), not {text!r}")


def _constants(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            usage(f"--constant must look like key=value, not {pair!r}")
        found[key] = value
    return found


def _attachment(path: Path, limit: int) -> Attachment:
    try:
        size = path.stat().st_size
        if size > limit:
            usage(f"{path} has {size} bytes, the limit is {limit} (HOCKET_MAX_ATTACHMENT_BYTES)")
        data = path.read_bytes()
    except OSError as e:
        usage(f"cannot read the attachment {path}: {e.strerror}")
    return Attachment(name=path.name, media_type=media_type(path), data=data, size=len(data))


async def ask(
    settings: Settings,
    request: Request,
    *,
    seconds: float,
    replay: bool = False,
    follower: Follower | None = None,
    sent: Callable[[], None] = lambda: None,
) -> Answer | None:
    """Writes the request and follows it to its answer; None when that did not come in time.

    `replay`: the id was chosen by the client, so it may have been answered before: looks at what is there already.
    `sent` is called once Kafka has the request. Raises KafkaUnreachable, TopicsError, ClaimError.
    """
    follower = follower or Follower(lambda _event, _changes=(): None)
    async with connect(settings) as exchange:
        place = await exchange.place(request.request_id, replay=replay)
        await _send(exchange, request, settings)
        sent()
        return await follower.hear(exchange.follow(place, seconds=seconds), place)


async def _send(exchange: Exchange, request: Request, settings: Settings) -> None:
    blobs = claims.Blobs(settings.blob_store)
    small = await asyncio.to_thread(claims.shrink_request, request, blobs.put)
    await exchange.send(small, event_id=request.request_id, at_ms=request.submitted_at)


def run_ask(
    settings: Settings, request: Request, *, replay: bool, follow: bool, output: Output, save: Path | None = None
) -> int:
    """`hocket ask`: returns the exit code. Ctrl-C leaves the request running. `follow` also tells the streamed text;
    `save` is a folder that the answer is written to, too."""
    deadline = request.policy.deadline
    seconds = FOLLOW_SECONDS if deadline is None else (deadline - request.submitted_at) / 1000 + _GRACE_SECONDS
    sent = threading.Event()
    with telling(request.request_id, output) if follow else _quietly(request.request_id) as follower:
        try:
            answer = asyncio.run(
                ask(settings, request, seconds=seconds, replay=replay, follower=follower, sent=sent.set)
            )
        except KeyboardInterrupt:
            if not sent.is_set():
                raise
            say(f"\nThe request goes on without you. Its answer: hocket result {request.request_id}")
            say_how_to_go_on(request.request_id, follower)
            say(f"To stop it: hocket cancel {request.request_id}")
            raise
    if answer is None:
        say_how_to_go_on(request.request_id, follower)
        raise late(request.request_id, seconds)
    code = show(answer, output, told=follow and output is Output.json)
    if save is not None:
        write(answer, save, settings)
    return code


@contextmanager
def _quietly(request_id: str) -> Iterator[Follower]:
    """A follower that shows the tasks' states only."""
    with watching(request_id) as watch:
        yield Follower(watch)


def late(request_id: str, seconds: float) -> CliError:
    """No answer in time."""
    return CliError(
        f"no answer for {request_id} within {seconds:.0f} s. If it comes later, `hocket result {request_id}` finds it",
        code=TIMED_OUT,
        kind="timed_out",
        request_id=request_id,
    )


def show(answer: Answer, output: Output, *, told: bool = False) -> int:
    """Prints the answer, unless it was told as it came; returns its exit code."""
    if told:
        pass
    elif output is Output.json:
        print_json(answer_json(answer))
    else:
        print_answer(answer)
    return EXIT_CODES[answer.status]


async def submit(settings: Settings, request: Request) -> Place:
    """Writes the request; returns the place from which its answer can be found."""
    async with connect(settings) as exchange:
        place = await exchange.place(request.request_id)
        await _send(exchange, request, settings)
        return place


async def find(settings: Settings, request_id: str, *, seconds: float, from_offset: int | None) -> Answer | None:
    """The answer to a request id, waiting at most so long for it after what is there has been read."""
    async with connect(settings) as exchange:
        place = await exchange.place(request_id, replay=from_offset is None, from_offset=from_offset)
        async for heard in exchange.follow(place, seconds=seconds, progress=False):
            if isinstance(heard.record, Answer):
                return heard.record
    return None


async def control(settings: Settings, command: Control) -> None:
    """Writes a command to a request under way."""
    async with connect(settings) as exchange:
        await exchange.send(command, event_id=f"{command.request_id}/{command.action}/{command.at}", at_ms=command.at)


def run_submit(settings: Settings, request: Request, output: Output) -> None:
    """`hocket submit`: prints the id, in JSON also where the answer will stand."""
    place = asyncio.run(submit(settings, request))
    if output is Output.json:
        print_json({"request_id": request.request_id, "partition": place.partition, "answers_from": place.answers_from})
    else:
        print(request.request_id)


def run_cancel(settings: Settings, request_id: str, *, reason: str, now_ms: int, output: Output) -> None:
    """`hocket cancel`: the request's answer will say that it was cancelled, unless it ended before."""
    command = Control(request_id=request_id, action="cancel", reason=reason, by=user(), at=now_ms)
    asyncio.run(control(settings, command))
    if output is Output.json:
        print_json(command.model_dump(mode="json"))
    else:
        print(f"asked to cancel {request_id}; its answer: hocket result {request_id}")
