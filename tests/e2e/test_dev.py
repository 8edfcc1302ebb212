"""`hocket dev` with the real services and the embedded broker, as a user has it."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from hocket.cli.ask import Wish, ask, build_request, find
from hocket.cli.demo import SCENES, examples, fault_of
from hocket.contracts.records import Answer
from hocket.kafka.admin import list_topics
from hocket.local.dev import DevStack
from hocket.local.process import command_of
from hocket.local.runfile import RunFile
from hocket.local.stack import DevOptions
from hocket.runtime.clock import now_ms

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]
COMPLAINT = SCENES[1]


@pytest.fixture
def pids() -> Iterator[dict[int, str]]:
    """Every process a stack has had, with its command; none of them may be left."""
    seen: dict[int, str] = {}
    yield seen
    left = {pid: command for pid, command in seen.items() if command and command_of(pid) == command}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == {}


def remember(pids: dict[int, str], stack: DevStack) -> None:
    found = [s.pid for s in stack.services.values()]
    if stack.broker_pid is not None:
        found.append(stack.broker_pid)
    pids |= {pid: command_of(pid) for pid in found}


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.05)
    return condition()


def complain(stack: DevStack, request_id: str) -> Answer:
    """The complaint of the demo, without naming a workflow."""
    wish = Wish(files=[examples() / COMPLAINT.file])
    request = build_request(wish, stack.settings, request_id=request_id, now_ms=now_ms())
    answer = asyncio.run(ask(stack.settings, request, seconds=60))
    assert answer is not None
    return answer


def test_it_survives_kills_and_keeps_its_data_and_can_be_isolated(tmp_path: Path, pids: dict[int, str]) -> None:
    options = DevOptions(data=tmp_path / "dev", publish=False, without_models=True)
    with DevStack(options) as stack:
        remember(pids, stack)
        assert fault_of(COMPLAINT, complain(stack, "first")) is None
        before = {n: s.pid for n, s in stack.services.items()}
        broker = stack.broker_pid
        assert broker is not None
        for pid in (*before.values(), broker):
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: stack.broker_pid not in (None, broker), 60)
        assert eventually(lambda: {s.pid for s in stack.services.values()}.isdisjoint(before.values()), 60)
        # Killed without a word, the broker reads its logs first; `ask` would wait for it five seconds only.
        asyncio.run(list_topics(stack.settings, wait_seconds=60))
        remember(pids, stack)
        assert fault_of(COMPLAINT, complain(stack, "after-kills")) is None
    assert all(s.poll() is not None for s in stack.services.values())

    with DevStack(DevOptions(**{**vars(options), "isolate": True})) as isolated:
        remember(pids, isolated)
        assert len(isolated.services) > 5
        kept = asyncio.run(find(isolated.settings, "first", seconds=30, from_offset=None))
        assert kept is not None
        assert kept.status == "completed"
        assert fault_of(COMPLAINT, complain(isolated, "isolated")) is None


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    env = {**os.environ, "HOCKET_DATA": str(tmp_path / "home"), "TMPDIR": str(tmp_path), "NO_COLOR": "1"}

    def start(*arguments: str) -> subprocess.Popen[str]:
        code = "from hocket.cli.app import main; main()"
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *arguments],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(stream: IO[str] | None, word: str) -> list[str]:
    assert stream is not None
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError(f"ended without {word!r}: {''.join(lines)}")


def published(tmp_path: Path, pids: dict[int, str]) -> RunFile:
    found = next((tmp_path / "home").rglob("run.json"))
    run = RunFile(**json.loads(found.read_text()))
    pids |= {pid: command_of(pid) for pid in run.pids.values()}
    assert len(pids) == 4, "aggregator, monitor, workers, broker"
    return run


def three_megabytes(path: Path) -> Path:
    """A PDF above Kafka's message limit: one sentence, and a picture that does not compress."""
    page = canvas.Canvas(str(path))
    page.drawString(72, 720, "Nothing in this contract is unusual at all.")
    noise = Image.frombytes("RGB", (1024, 1024), random.Random(1).randbytes(3 * 1024 * 1024))
    page.drawImage(ImageReader(noise), 72, 72, 300, 300)
    page.save()
    assert path.stat().st_size > 3_000_000
    return path


def test_the_command_is_found_by_others_and_ends_in_order(
    tmp_path: Path, pids: dict[int, str], command: Callable[..., subprocess.Popen[str]]
) -> None:
    dev = command("dev", "--ephemeral")
    shown = "".join(until(dev.stdout, "up after"))
    run = published(tmp_path, pids)
    for word in (run.bootstrap, run.monitor or "-", "hocket ask", "Ctrl-C"):
        assert word in shown
    asked = command("ask", "-a", str(examples() / COMPLAINT.file), "-o", "json")
    out, err = asked.communicate(timeout=90)
    assert asked.returncode == 0, err
    assert json.loads(out)["receipt"]["workflow"] == COMPLAINT.expected
    assert "reply: completed" in err
    large = three_megabytes(tmp_path / "large.pdf")
    asked = command("ask", "-a", str(large), "--workflow", "document-brief", "-o", "json")
    out, err = asked.communicate(timeout=90)
    assert asked.returncode == 0, err
    assert json.loads(out)["content"] == "Nothing in this contract is unusual at all."
    dev.send_signal(signal.SIGTERM)
    _, err = dev.communicate(timeout=30)
    assert dev.returncode == 0
    assert "stopped" in err
    assert list((tmp_path / "home").rglob("run.json")) == []
    assert list(tmp_path.glob("hocket-dev-*")) == []


def test_a_killed_supervisor_takes_everything_with_it(
    tmp_path: Path, pids: dict[int, str], command: Callable[..., subprocess.Popen[str]]
) -> None:
    dev = command("dev", "--ephemeral")
    until(dev.stdout, "up after")
    published(tmp_path, pids)
    dev.kill()
    dev.communicate()
    assert eventually(lambda: not any(command_of(pid) == c for pid, c in pids.items()), 40)


def test_the_demo_answers_both_and_leaves_nothing(
    tmp_path: Path, command: Callable[..., subprocess.Popen[str]]
) -> None:
    demo = command("demo")
    out, err = demo.communicate(timeout=200)
    assert demo.returncode == 0, err
    for scene in SCENES:
        assert scene.title in out
        assert f"({scene.expected})" in out
    assert "Total time" in err
    assert list(tmp_path.glob("hocket-*")) == []
