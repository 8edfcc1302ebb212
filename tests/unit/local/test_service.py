"""One child process: its lines, its readiness, its end, and that it never outlives its owner."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hocket.local.process import command_of, free_ports
from hocket.local.service import LogFile, Service, ServiceSpec

Make = Callable[..., Service]


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def make(tmp_path: Path, lines: list[tuple[str, str]]) -> Iterator[Make]:
    made: list[Service] = []

    def build(*arguments: str) -> Service:
        spec = ServiceSpec(
            name="fake",
            module="tests.support.fake_service",
            arguments=arguments,
            port=free_ports(1)[0],
            log=tmp_path / "logs" / "fake.log",
            env={"HOCKET_INSTANCE": "i", "HOCKET_PREFIX": "p-"},
        )
        made.append(Service(spec, lambda name, line: lines.append((name, line))))
        return made[-1]

    yield build
    for service in made:
        service.stop(0)


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    give_up = time.monotonic() + seconds
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.02)
    return condition()


def gone(pid: int) -> bool:
    return "fake_service" not in command_of(pid)


def test_it_is_ready_when_it_says_so_and_its_lines_are_passed_on(
    make: Make, lines: list[tuple[str, str]], tmp_path: Path
) -> None:
    service = make("0.3")
    service.start()
    assert not service.probe()
    assert eventually(service.probe)
    service.ask_to_stop()
    assert service.stop(5)
    assert service.poll() == -signal.SIGTERM
    assert lines == [("fake", "i begins, prefix p-")]
    assert (tmp_path / "logs" / "fake.log").read_text() == "i begins, prefix p-\n"


def test_it_can_be_started_again_after_its_death(make: Make) -> None:
    service = make("0", "0.2", "7")
    service.start()
    first = service.pid
    assert eventually(lambda: service.poll() is not None)
    assert service.poll() == 7
    service.join()
    assert service.last_lines[-1] == "last words", "without colours"
    service.start()
    assert service.pid != first
    assert service.poll() is None
    assert not service.ready


def test_one_that_does_not_listen_is_killed(make: Make) -> None:
    service = make("0", "--deaf")
    service.start()
    assert eventually(service.probe)
    service.ask_to_stop()
    assert not service.stop(0.3)
    assert service.poll() == -signal.SIGKILL


def test_it_dies_with_its_owner_even_by_sigkill(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    owner_code = f"""
import time
from pathlib import Path
from hocket.local.service import Service, ServiceSpec
spec = ServiceSpec(name="fake", module="tests.support.fake_service", arguments=("0", "--deaf"), port={port},
                   log=Path({str(tmp_path / "log")!r}), env={{"HOCKET_INSTANCE": "i", "HOCKET_PREFIX": ""}})
service = Service(spec, lambda name, line: None)
service.start()
while not service.probe():
    time.sleep(0.02)
print(service.pid, flush=True)
time.sleep(60)
"""
    owner = subprocess.Popen([sys.executable, "-c", owner_code], stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert not gone(pid)
        owner.kill()
    assert eventually(lambda: gone(pid))


def test_a_child_without_a_living_owner_does_not_run() -> None:
    env = {**os.environ, "HOCKET_OWNER_PID": "1", "HOCKET_INSTANCE": "i", "HOCKET_HTTP_PORT": "1"}
    if os.getpid() == 1:
        pytest.skip("this test runs as init itself")
    run = subprocess.run(
        [sys.executable, "-m", "hocket.local.child", "tests.support.fake_service", "0"],
        env=env,
        check=False,
        timeout=20,
    )
    assert run.returncode == -signal.SIGKILL


def test_a_log_keeps_its_last_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with LogFile(path, limit=1000) as log:
        for i in range(130):
            log.write(f"\x1b[31mline {i:04}\x1b[0m")
    kept = [p.read_text() for p in (path.with_name("x.log.1"), path)]
    assert kept[0].splitlines()[-1] != kept[1].splitlines()[-1] == "line 0129"
    assert "\x1b" not in "".join(kept)
    assert path.stat().st_size + path.with_name("x.log.1").stat().st_size < 2100


def test_the_thread_that_started_it_must_live_on(make: Make) -> None:
    """Why DevStack starts everything from one thread that lives as long as the stack (Linux, PR_SET_PDEATHSIG)."""
    if sys.platform != "linux":
        pytest.skip("only Linux ties a child to the thread")
    service = make("0")

    def start() -> None:
        service.start()
        assert eventually(service.probe)

    starter = threading.Thread(target=start)
    starter.start()
    starter.join()
    assert eventually(lambda: service.poll() == -signal.SIGKILL)
