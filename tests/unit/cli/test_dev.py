"""How `hocket dev` prints what its services say."""

import io
from typing import Any

import pytest

from hocket.cli.base import Globals
from hocket.cli.dev import Prefixed, run_dev
from hocket.local.dev import DevError
from hocket.local.stack import DevOptions


def test_each_line_has_its_service_in_front_and_no_colours_in_a_pipe() -> None:
    out = io.StringIO()
    show = Prefixed(out, colours=False)
    show("monitor", "\x1b[31mserves\x1b[0m")
    show("workers", "ready")
    assert out.getvalue().splitlines() == ["monitor      serves", "workers      ready"]


def test_in_a_terminal_each_service_has_its_colour() -> None:
    out = io.StringIO()
    show = Prefixed(out, colours=True)
    for name in ("a", "b", "a"):
        show(name, f"{name} {out.tell()} x{'y' * out.tell()}")
    first, second, third = (line.split("m", 1)[0] for line in out.getvalue().splitlines())
    assert first == third != second


def test_lines_that_only_count_are_thinned_out() -> None:
    out = io.StringIO()
    now = [0.0]
    show = Prefixed(out, colours=False, now=lambda: now[0])
    for i in range(100):
        now[0] = i / 10
        show("broker", f"Fetching Kafka: {i} of 100 files")
    show("broker", "done")
    shown = out.getvalue().splitlines()
    assert [line.split()[3] for line in shown[:-1]] == ["0", "50"]
    assert shown[-1].endswith("done")


def test_what_it_remembers_is_bounded() -> None:
    show = Prefixed(io.StringIO(), colours=False)
    for i in range(1000):
        show("a", "x" * i)
    assert len(show._shown) == 200


class Ended:
    """A stack that ends as it is told."""

    made: list[DevOptions]

    def __init__(self, outcome: BaseException) -> None:
        self.outcome, self.made, self.stopped = outcome, [], 0

    def __call__(self, options: DevOptions, **_: Any) -> Any:
        self.made.append(options)
        return self

    def start(self) -> None:
        raise self.outcome

    def stop(self) -> None:
        self.stopped += 1


@pytest.mark.parametrize(("outcome", "code"), [(KeyboardInterrupt(), 0), (DevError("it cannot"), 1)])
def test_it_ends_in_order_and_says_why(
    outcome: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = Ended(outcome)
    monkeypatch.setattr("hocket.cli.dev.DevStack", stack)
    monkeypatch.setattr("hocket.cli.dev.interrupt_on_signals", lambda: None)
    monkeypatch.setenv("HOCKET_PREFIX", "env-")
    monkeypatch.delenv("HOCKET_BOOTSTRAP", raising=False)
    found = run_dev(
        Globals(), ephemeral=True, isolate=False, data=None, partitions=None, specialties=None, workflows=None
    )
    assert (found, stack.stopped) == (code, 1)
    assert (stack.made[0].prefix, stack.made[0].bootstrap) == ("env-", None)
    assert ("it cannot" in capsys.readouterr().err) == (code == 1)
