"""What stands in a line, and that a library that repeats itself while a broker is away is written seldom."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from hocket.runtime.logs import Seldom, about, content, setup_logs, tasks
from hocket.runtime.settings import Settings


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_every_line_says_what_it_is_about_whoever_logs_it(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logs(Settings(log_format="json"), service="worker", worker="w-1")
    with about(lambda: {"request_id": "r", "read": "tasks-code/3/17"}):
        logging.getLogger("some.library").warning("slow: %s", "very", extra={"written": ["results/0/4"]})
        structlog.get_logger("ours").info("done", request_id="its own")
    logging.getLogger("some.library").warning("later")
    first, second, third = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["event"], first["request_id"], first["read"]) == ("slow: very", "r", "tasks-code/3/17")
    assert (first["written"], first["service"], first["worker"]) == (["results/0/4"], "worker", "w-1")
    assert (second["event"], second["request_id"], second["read"]) == ("done", "its own", "tasks-code/3/17")
    assert "request_id" not in third


@pytest.mark.parametrize(
    ("given", "shown"),
    [({}, (False, True)), ({"log_content": True}, (True, True)), ({"log_format": "text"}, (False, False)),
     ({"log_format": "text", "log_tasks": True}, (False, True)), ({"log_tasks": False}, (False, False))],
)  # fmt: skip
def test_texts_are_shown_when_asked_for_and_tasks_not_in_a_terminal(
    restored: None, given: dict[str, Any], shown: tuple[bool, bool]
) -> None:
    setup_logs(Settings(**({"log_format": "json"} | given)))
    assert (content(), tasks()) == shown
    setup_logs(Settings(log_format="json"))


def record(message: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("aiokafka", logging.ERROR, "x", 1, message, values, None)


def test_the_same_message_passes_once_in_its_time() -> None:
    seldom = Seldom(seconds=60)
    passed = [seldom.filter(record("no broker at %s", port)) for port in range(100)]
    assert passed == [True] + [False] * 99
    assert seldom.filter(record("something else"))


def test_it_remembers_a_bounded_number_of_messages() -> None:
    seldom = Seldom(seconds=60, most=3)
    assert all(seldom.filter(record(f"message {n}")) for n in range(10))
    assert seldom.filter(record("message 0"))
