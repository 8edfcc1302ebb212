"""`hocket demo`: two documents through a whole stack on this machine, without any model."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hocket.cli.ask import Wish, ask, build_request
from hocket.cli.base import COMPLETE, WRONG, CliError, say, usage
from hocket.cli.dev import Prefixed, interrupt_on_signals
from hocket.cli.live import Follower
from hocket.cli.render import print_answer, watching
from hocket.contracts.records import Answer
from hocket.local.dev import DevError, DevStack
from hocket.local.stack import DevOptions
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings

_ANSWER_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One request of the demo; `expected` is the workflow that its receipt must name."""

    title: str
    file: str
    text: str
    workflow: str | None
    expected: str


SCENES = (
    Scene(
        title="An invoice, by a declared workflow",
        file="invoice.png",
        text="Process this invoice.",
        workflow="invoice-intake",
        expected="invoice-intake",
    ),
    Scene(
        title="A complaint, without naming a workflow: the planner recognises it",
        file="complaint.eml",
        text="",
        workflow=None,
        expected="complaint-triage",
    ),
)


def examples() -> Path:
    """The folder with the demo's documents. Raises CliError (usage) when only the package is installed."""
    places = (Path(str(files("hocket"))).parents[1] / "examples", Path("examples"))
    found = next((p for p in places if (p / SCENES[0].file).is_file()), None)
    return found or usage("the demo's documents are in a checkout's examples/ folder: run `make demo` there")


def run_demo() -> int:
    """Runs the demo; exit code 0 when both answers are complete."""
    folder = examples()
    interrupt_on_signals()
    begun = time.monotonic()
    stack = DevStack(DevOptions(ephemeral=True, publish=False, without_models=True), say=_Brief())
    try:
        say("Starting a Kafka broker and all services (the first time, Kafka is fetched) ...")
        stack.start()
        say(f"Everything is up after {time.monotonic() - begun:.1f} s.")
        faults = [f for scene in SCENES if (f := _play(scene, folder, stack.settings)) is not None]
    except KeyboardInterrupt:
        say("\nstopping ...")
        raise
    except DevError as e:
        raise CliError(str(e), code=WRONG, kind="dev") from e
    finally:
        stack.stop()
    for fault in faults:
        say(f"hocket: {fault}")
    say(f"Everything is stopped. Total time: {time.monotonic() - begun:.1f} s.")
    return WRONG if faults else COMPLETE


class _Brief(Prefixed):
    """Of the services' lines, only what tells that something goes on or wrong."""

    def __init__(self) -> None:
        super().__init__(sys.stderr, colours=sys.stderr.isatty())

    def __call__(self, service: str, line: str) -> None:
        if service in ("broker", "topics", "dev") or line == "ready" or "starting it again" in line:
            super().__call__(service, line)


def _play(scene: Scene, folder: Path, settings: Settings) -> str | None:
    """Asks and shows; returns what is wrong with the answer, None when nothing is."""
    print(f"\n=== {scene.title} ({scene.file}) ===\n", flush=True)
    wish = Wish(text=scene.text, files=[folder / scene.file], workflow=scene.workflow)
    request = build_request(wish, settings, request_id=f"demo-{uuid.uuid4().hex[:8]}", now_ms=now_ms())
    with watching(request.request_id) as watch:
        answer = asyncio.run(ask(settings, request, seconds=_ANSWER_SECONDS, follower=Follower(watch)))
    if answer is None:
        return f"{scene.file}: no answer within {_ANSWER_SECONDS:.0f} s"
    print_answer(answer)
    return fault_of(scene, answer)


def fault_of(scene: Scene, answer: Answer) -> str | None:
    """What is wrong with a scene's answer, None when nothing is."""
    if answer.status != "completed":
        why = f": {answer.error.message}" if answer.error is not None else ""
        return f"{scene.file}: the answer is {answer.status}{why}"
    if answer.receipt.workflow != scene.expected:
        return f"{scene.file}: worked by {answer.receipt.workflow or 'no workflow'} instead of {scene.expected}"
    return None
