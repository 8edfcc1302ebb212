"""The supervisor, on a real broker with fake services: what dies comes back, what keeps dying ends everything."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hocket.local.dev import DevError, DevStack, sweep_abandoned
from hocket.local.process import command_of, file_lock, free_ports
from hocket.local.runfile import read_run
from hocket.local.service import ServiceSpec
from hocket.local.stack import DevOptions, service_specs
from hocket.runtime.settings import Settings

pytestmark = pytest.mark.kafka
Lines = list[tuple[str, str]]


@pytest.fixture
def options(broker: Any, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DevOptions:
    monkeypatch.setenv("HOCKET_DATA", str(tmp_path / "home"))
    return DevOptions(bootstrap=broker.bootstrap, prefix=settings.prefix, data=tmp_path / "data", ready_seconds=20)


@pytest.fixture
def lines() -> Lines:
    return []


@pytest.fixture
def pids() -> Iterator[set[int]]:
    """Every process id a stack has had; none of them may be left."""
    seen: set[int] = set()
    yield seen
    left = {pid for pid in seen if "fake_service" in command_of(pid)}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == set()


def fakes(**arguments: tuple[str, ...]) -> Callable[..., list[ServiceSpec]]:
    def specs(options: DevOptions, settings: Settings, folder: Path, _specialties: list[str]) -> list[ServiceSpec]:
        real = service_specs(options, settings, folder, [])[0]
        return [
            replace(
                real, name=name, module="tests.support.fake_service", arguments=given, port=port,
                log=folder / f"{name}.log",
            )
            for (name, given), port in zip(arguments.items(), free_ports(len(arguments)), strict=True)
        ]  # fmt: skip

    return specs


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    give_up = time.monotonic() + seconds
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.02)
    return condition()


def test_all_come_up_and_all_go_down(options: DevOptions, lines: Lines, pids: set[int]) -> None:
    with DevStack(options, say=lambda *x: lines.append(x), specs=fakes(a=("0.2",), monitor=("0",))) as stack:
        pids |= {s.pid for s in stack.services.values()}
        assert all("fake_service" in command_of(pid) for pid in pids)
        run = read_run()
        assert run is not None
        assert (run.bootstrap, run.prefix, run.partitions) == (options.bootstrap, options.prefix, 4)
        assert run.pids == {n: s.pid for n, s in stack.services.items()}
        assert run.monitor == stack.monitor_url
        assert not stack.wait(0.2), "it goes on"
    assert read_run() is None
    assert stack.wait(0)
    assert ("a", "ready") in lines
    assert any(name == "a" and f"prefix {options.prefix}" in line for name, line in lines)
    stack.stop()


def test_a_killed_service_is_started_again_at_once(options: DevOptions, lines: Lines, pids: set[int]) -> None:
    with DevStack(options, say=lambda *x: lines.append(x), specs=fakes(a=("0",))) as stack:
        first = stack.services["a"].pid
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: stack.services["a"].pid != first and stack.services["a"].ready)
        pids |= {first, stack.services["a"].pid}
        run = read_run()
        assert run is not None
        assert run.pids == {"a": stack.services["a"].pid}
    assert ("a", "was killed by signal 9; starting it again") in lines


def test_what_keeps_dying_ends_everything_with_its_last_words(options: DevOptions, pids: set[int]) -> None:
    quick = replace(options, max_restarts=2)
    stack = DevStack(quick, specs=fakes(good=("0",), bad=("0.5", "0.1", "7")))
    with pytest.raises(DevError, match=r"(?s)bad keeps dying.*ended with code 7.*last words"):
        stack.start()
    pids |= {s.pid for s in stack.services.values()}
    assert read_run() is None


def test_one_that_dies_later_too(options: DevOptions, pids: set[int]) -> None:
    with DevStack(replace(options, max_restarts=1), specs=fakes(bad=("0", "0.7"))) as stack:
        with pytest.raises(DevError, match="keeps dying"):
            stack.wait(20)
        pids |= {s.pid for s in stack.services.values()}


def test_one_that_never_gets_ready_is_named(options: DevOptions, pids: set[int]) -> None:
    stack = DevStack(replace(options, ready_seconds=1), specs=fakes(slow=("60",), quick=("0",)))
    with pytest.raises(DevError, match=r"(?s)not ready after 1 s: slow\..*begins"):
        stack.start()
    pids |= {s.pid for s in stack.services.values()}


def test_one_that_does_not_stop_is_killed(options: DevOptions, lines: Lines, pids: set[int]) -> None:
    quick = replace(options, stop_seconds=0.5)
    with DevStack(quick, say=lambda *x: lines.append(x), specs=fakes(deaf=("0", "--deaf"))) as stack:
        pids |= {s.pid for s in stack.services.values()}
    assert any(name == "deaf" and "was killed" in line for name, line in lines)


def test_two_on_one_folder_is_told_and_the_first_goes_on(options: DevOptions, pids: set[int]) -> None:
    with DevStack(options, specs=fakes(a=("0",))) as stack:
        with pytest.raises(DevError, match=r"another `hocket dev` runs on .*data"):
            DevStack(options, specs=fakes(a=("0",))).start()
        pids |= {s.pid for s in stack.services.values()}
        assert not stack.wait(0.2)
        assert read_run() is not None, "the run file is the first one's"
    with DevStack(options, specs=fakes(a=("0",))) as again:
        pids |= {s.pid for s in again.services.values()}
        assert again.folder == stack.folder


def test_an_ephemeral_folder_is_gone_afterwards(options: DevOptions) -> None:
    with DevStack(replace(options, ephemeral=True), specs=fakes(a=("0",))) as stack:
        folder = stack.folder
        assert (folder / "a.log").exists()
    assert not folder.exists()


def test_abandoned_temporary_folders_are_swept_and_used_ones_stay(tmp_path: Path) -> None:
    for name in ("hocket-dev-old", "hocket-dev-used", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dev.lock").touch()
    with file_lock(tmp_path / "hocket-dev-used" / "dev.lock", wait=False):
        sweep_abandoned(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"hocket-dev-used", "mine"}


def test_kept_topics_decide_the_partitions(options: DevOptions) -> None:
    with DevStack(replace(options, partitions=3), specs=fakes(a=("0",))) as stack:
        assert stack.settings.partitions == 3
    with DevStack(options, specs=fakes(a=("0",))) as stack:
        assert stack.settings.partitions == 3
    with pytest.raises(DevError, match="HOCKET_PARTITIONS=3"):
        DevStack(replace(options, partitions=5), specs=fakes(a=("0",))).start()


def test_stop_while_it_comes_up_leaves_nothing(options: DevOptions, pids: set[int]) -> None:
    import threading

    stack = DevStack(options, specs=fakes(slow=("60",)))
    starting = threading.Thread(target=stack.start)
    starting.start()
    assert eventually(lambda: "slow" in stack.services and stack.services["slow"].pid != 0)
    pids |= {stack.services["slow"].pid}
    stack.stop()
    starting.join(30)
    assert not starting.is_alive()
    assert read_run() is None


def test_no_broker_there_is_one_sentence(options: DevOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hocket.local.dev._KAFKA_SECONDS", 0.2)
    with pytest.raises(DevError, match=r"no Kafka broker answers at 127\.0\.0\.1:1\."):
        DevStack(replace(options, bootstrap="127.0.0.1:1"), specs=fakes(a=("0",))).start()


def test_isolated_there_is_a_process_for_each_role(settings: Settings, tmp_path: Path) -> None:
    specs = service_specs(DevOptions(isolate=True), settings, tmp_path, ["extraction", "decision"])
    assert [(s.name, s.module, s.arguments) for s in specs] == [
        ("aggregator", "services.aggregator", ()),
        ("monitor", "services.monitor", ()),
        ("planner", "services.planner", ()),
        ("worker-decision", "services.workers", ("--specialty", "decision")),
        ("worker-extraction", "services.workers", ("--specialty", "extraction")),
    ]
    assert len({s.port for s in specs}) == len({s.env["HOCKET_INSTANCE"] for s in specs}) == 5


def test_keys_are_hidden_when_no_model_may_be_called(settings: Settings, tmp_path: Path) -> None:
    (first, *_) = service_specs(DevOptions(without_models=True), settings, tmp_path, [])
    assert first.env["ANTHROPIC_API_KEY"] == first.env["OPENAI_API_KEY"] == ""
    (first, *_) = service_specs(DevOptions(), settings, tmp_path, [])
    assert "ANTHROPIC_API_KEY" not in first.env
