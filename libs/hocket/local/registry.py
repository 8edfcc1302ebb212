"""A real schema registry on this machine's loopback address: Apicurio, in memory, with Confluent's API."""

import http.client
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from hocket.local import jars
from hocket.local.process import (
    HOST,
    BrokerError,
    ServerProcess,
    class_path_in_environment,
    find_java,
    free_ports,
    port_is_free,
    relevant_lines,
    wait_until,
)

_API = "/apis/ccompat/v7"
_HEAP = "256m"


class ApicurioRegistry:
    """One registry; its schemas live in memory, and only until it ends.

    Every method blocks; run them in a thread from asyncio. Not thread-safe. The registry dies with this process,
    whatever ends it. All failures are `BrokerError`.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        start_timeout: float = 60.0,
        stop_timeout: float = 10.0,
        progress: jars.Progress = jars.silent,
    ) -> None:
        """Serve on `port`, or on a free one that stays the same from start to start."""
        self._port = port
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._progress = progress
        self._folder: Path | None = None
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """What Confluent's clients take as `schema.registry.url`."""
        if self._port is None:
            raise BrokerError("The registry has no address yet; start it first.")
        return f"http://{HOST}:{self._port}{_API}"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.exit_code() is None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start and return once the registry answers. It starts empty, on the port that it had before."""
        if self.running:
            raise BrokerError("The registry is running already.")
        files = jars.installed(jars.REGISTRY, self._progress)
        (runner,) = (file for file in files if file.name.endswith("-runner.jar"))
        if self._port is None:
            (self._port,) = free_ports(1)
        elif not port_is_free(self._port):
            raise BrokerError(
                f"Port {self._port} on {HOST} is taken by another program; stop that one, or choose another port."
            )
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="hocket-registry-"))
        try:
            self._run(self._folder, runner, self._port)
        except BaseException:
            self.kill()
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down in good order, killing after `stop_timeout`. May be repeated."""
        if self._process is not None:
            self._process.stop(self._stop_timeout)
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def kill(self) -> None:
        """End the registry as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _run(self, folder: Path, runner: Path, port: int) -> None:
        java = find_java()
        console = folder / "console.log"
        options = {
            "quarkus.http.host": HOST,
            "quarkus.http.port": str(port),
            "quarkus.log.level": "WARN",
            "quarkus.banner.enabled": "false",
        }
        settings = [f"-D{name}={value}" for name, value in options.items()]
        process = self._process = ServerProcess(
            [str(java.path), *java.flags(_HEAP), *settings, "-jar", str(runner)],
            environment=class_path_in_environment([]),
            folder=folder,
            console=console,
            delete=True,
        )
        wait_until(lambda: process.exit_code() is not None or answers(port), self._start_timeout)
        code = process.exit_code()
        if code is not None or not answers(port):
            problem = (
                f"did not answer within {self._start_timeout:.0f} s" if code is None else f"ended with code {code}"
            )
            said = relevant_lines(console.read_text(errors="replace"))
            raise BrokerError(f"The schema registry {problem} at start. It said:\n{said}")


def answers(port: int, timeout: float = 5.0) -> bool:
    """Whether a schema registry lists its subjects on this port."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", f"{_API}/subjects")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
