import socket
import struct
import threading
from pathlib import Path

import pytest

from hocket.local import broker, jars
from hocket.local.broker import EmbeddedBroker
from hocket.local.process import BrokerError, Java

JAVA = Java(path=Path("java"), release="25.0")


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOCKET_CACHE", str(tmp_path))
    return tmp_path / jars.KAFKA.folder


def reply_once(brokers):
    """A listener that answers one metadata request with this many brokers."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with server, server.accept()[0] as connection:
            connection.recv(100)
            connection.sendall(struct.pack(">iii", 8, 0, brokers))

    thread = threading.Thread(target=serve)
    thread.start()
    return server.getsockname()[1], thread


@pytest.mark.parametrize(("brokers", "ready"), [(1, True), (0, False)])
def test_a_broker_answers_when_it_lists_itself(brokers, ready):
    port, thread = reply_once(brokers)
    assert broker.answers(port) is ready
    thread.join()


def test_nothing_answers_on_a_closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not broker.answers(port)


def test_the_quick_start_is_prepared_once(monkeypatch, home):
    runs = []

    def train(archive):
        runs.append(archive)
        archive.touch()

    monkeypatch.setattr(broker, "_train", train)
    first = broker.quick_start_archive(JAVA, jars.silent)
    assert first == home / "start-25.0.aot"
    assert broker.quick_start_archive(JAVA, jars.silent) == first
    assert len(runs) == 1


def test_a_failed_preparation_is_not_fatal_and_not_tried_at_every_start(monkeypatch, home):
    runs = []

    def train(archive):
        runs.append(archive)
        raise BrokerError("no room")

    monkeypatch.setattr(broker, "_train", train)
    assert [broker.quick_start_archive(JAVA, jars.silent) for _ in range(2)] == [None, None]
    assert len(runs) == 1


def test_asking_a_broker_that_was_not_started():
    idle = EmbeddedBroker()
    assert not idle.running
    for attribute in ("bootstrap", "pid", "folder", "log"):
        with pytest.raises(BrokerError, match="start it first"):
            getattr(idle, attribute)
    idle.kill()
    idle.stop()
