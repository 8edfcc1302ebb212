"""A library that repeats itself thousands of times while a broker is away is written seldom."""

import logging

from hocket.runtime.logs import Seldom


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
