"""Fetching, against a small Maven repository served on the loopback address."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hocket.local import jars, maven
from hocket.local.jars import Bundle
from hocket.local.process import BrokerError, wait_until

BUNDLE = Bundle(title="Demo 1.0", folder="demo-1.0", artifacts=("g:server:1.0",), excluded=("g:unwanted",))
POM = "<project><modelVersion>4.0.0</modelVersion><groupId>g</groupId><artifactId>{}</artifactId>{}</project>"
NEEDS = (
    "<version>1.0</version><dependencies>"
    "<dependency><groupId>g</groupId><artifactId>library</artifactId><version>1.0</version></dependency>"
    "<dependency><groupId>g</groupId><artifactId>unwanted</artifactId><version>1.0</version></dependency>"
    "</dependencies>"
)
FILES = {
    "/g/server/1.0/server-1.0.pom": POM.format("server", NEEDS).encode(),
    "/g/server/1.0/server-1.0.jar": b"server" * 100,
    "/g/library/1.0/library-1.0.pom": POM.format("library", "<version>1.0</version>").encode(),
    "/g/library/1.0/library-1.0.jar": b"library" * 100,
}
INSTALL = """
import sys
from hocket.local import jars
bundle = jars.Bundle(title="Demo 1.0", folder="demo-1.0", artifacts=("g:server:1.0",), excluded=("g:unwanted",))
print([path.name for path in jars.installed(bundle)])
"""


class Repository:
    """What the server offers; tests spoil `bodies` and `checksums`, or hold answers back at `gate`."""

    def __init__(self):
        self.bodies = dict(FILES)
        self.checksums = {path: hashlib.sha1(body).hexdigest() for path, body in FILES.items()}
        self.asked = []
        self.failures = {}
        self.gate = threading.Event()
        self.gate.set()
        self.held_path = None

    def answer(self, path):
        self.asked.append(path)
        if self.failures.get(path, 0) > 0:
            self.failures[path] -= 1
            return 503, b""
        if path.endswith(".sha1"):
            body = self.checksums.get(path.removesuffix(".sha1"), "").encode()
        else:
            body = self.bodies.get(path, b"")
        return (200, body) if body else (404, b"")


@contextmanager
def served(repository):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            status, body = repository.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.path == repository.held_path:
                self.wfile.write(body[:50])
                repository.gate.wait(10)
                body = body[50:]
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    repository.gate.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    offered = Repository()
    monkeypatch.setattr(maven, "_PAUSE_S", 0.0)
    monkeypatch.setenv("HOCKET_CACHE", str(tmp_path))
    with served(offered) as address:
        monkeypatch.setenv("HOCKET_MAVEN", f"{address}/")
        yield offered


def names(files):
    return sorted(path.name for path in files)


def test_a_bundle_is_fetched_once_with_what_it_needs(repository):
    messages = []
    files = jars.installed(BUNDLE, messages.append)
    assert names(files) == ["library-1.0.jar", "server-1.0.jar"]
    assert all(path.read_bytes() == FILES[f"/g/{path.parent.parent.name}/1.0/{path.name}"] for path in files)
    assert messages[-1] == "Fetching Demo 1.0: 2 of 2 files, 0 MB"

    asked = len(repository.asked)
    assert jars.installed(BUNDLE) == files
    assert len(repository.asked) == asked


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"half"), Path.unlink])
def test_a_damaged_or_missing_file_is_fetched_again_and_nothing_else(repository, damage):
    files = jars.installed(BUNDLE)
    damage(files[0])
    repository.asked.clear()
    assert jars.installed(BUNDLE) == files
    assert names(Path(path) for path in repository.asked) == [files[0].name, f"{files[0].name}.sha1"]


def test_another_list_of_artifacts_is_resolved_anew(repository):
    jars.installed(BUNDLE)
    fewer = Bundle(title="Demo", folder=BUNDLE.folder, artifacts=("g:library:1.0",))
    assert names(jars.installed(fewer)) == ["library-1.0.jar"]


def test_a_fetch_killed_midway_heals_at_the_next_start(repository, tmp_path):
    repository.held_path = "/g/server/1.0/server-1.0.jar"
    repository.gate.clear()
    with subprocess.Popen([sys.executable, "-c", INSTALL], env=dict(os.environ)) as first:
        home = tmp_path / BUNDLE.folder
        assert wait_until(lambda: list(home.rglob("server-1.0.jar.*.part")) != [], 30)
        first.send_signal(signal.SIGKILL)
    assert jars.read_marker(BUNDLE, home) is None
    repository.gate.set()
    repository.held_path = None
    assert names(jars.installed(BUNDLE)) == ["library-1.0.jar", "server-1.0.jar"]
    assert list(home.rglob("*.part")) == []


def test_two_processes_at_once_fetch_once(repository):
    commands = [sys.executable, "-c", INSTALL]
    both = [subprocess.Popen(commands, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [one.communicate(timeout=60)[0] for one in both]
    assert answers == ["['library-1.0.jar', 'server-1.0.jar']\n"] * 2
    assert repository.asked.count("/g/server/1.0/server-1.0.jar") == 1


def test_a_file_with_a_wrong_checksum_never_gets_its_name(repository, tmp_path):
    repository.checksums["/g/library/1.0/library-1.0.jar"] = "0" * 40
    with pytest.raises(BrokerError, match=r"library-1\.0\.jar: the checksum does not match"):
        jars.installed(BUNDLE)
    assert list(tmp_path.rglob("library-1.0.jar*")) == []


def test_an_unreadable_description_fails_the_fetch_instead_of_leaving_out_what_it_lists(repository):
    del repository.bodies["/g/library/1.0/library-1.0.pom"]
    with pytest.raises(BrokerError, match=r"HTTP 404 from .*library-1\.0\.pom"):
        jars.installed(BUNDLE)


def test_a_busy_repository_is_asked_again(repository):
    repository.failures["/g/server/1.0/server-1.0.pom"] = 2
    assert len(jars.installed(BUNDLE)) == 2


def test_no_network_says_what_to_do(repository, monkeypatch):
    monkeypatch.setenv("HOCKET_MAVEN", "http://127.0.0.1:9")
    with pytest.raises(BrokerError) as caught:
        jars.installed(BUNDLE)
    for part in ("Demo 1.0", "can't be reached", "Connect to the network", "HOCKET_MAVEN"):
        assert part in str(caught.value)


def test_a_cache_folder_that_cannot_be_written_says_so(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOCKET_CACHE", str(tmp_path / "file"))
    with pytest.raises(BrokerError, match="Set HOCKET_CACHE to a folder you own"):
        jars.installed(BUNDLE)


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("HOCKET_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jars.cache_root() == tmp_path / "hocket"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert jars.cache_root() == Path.home() / ".cache" / "hocket"
    monkeypatch.setenv("HOCKET_CACHE", "~/elsewhere")
    assert jars.cache_root() == Path.home() / "elsewhere"
