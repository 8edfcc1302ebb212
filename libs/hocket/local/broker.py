"""A real Apache Kafka broker, single node, on this machine's loopback address. No Docker, no Java set-up."""

import base64
import contextlib
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from hocket.local import jars, settings
from hocket.local.folder import BrokerFolder, LastRun
from hocket.local.process import (
    HOST,
    BrokerError,
    Java,
    ServerProcess,
    class_path_in_environment,
    find_java,
    free_ports,
    port_is_free,
    relevant_lines,
    wait_until,
)

_PORT_TRIES = 3
_LONG_START_S = 15.0
_METADATA_REQUEST = struct.pack(">hhihi", 3, 1, 0, -1, 0)  # Metadata v1, no client id, no topics


@dataclass(frozen=True, kw_only=True)
class BrokerOptions:
    """How to run the broker.

    `data_dir` keeps everything there; without it the data lives in a temporary folder that `stop` deletes.
    `port` is for clients; without it a free one is taken (and, with a data folder, taken again next time if
    still free). `listeners` adds listeners by name and security protocol, for example
    `{"SASL": "SASL_PLAINTEXT"}`, each on a free port. `properties` are Kafka's own and win over ours.
    """

    data_dir: Path | None = None
    port: int | None = None
    heap: str = "512m"
    listeners: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    # After a crash Kafka looks through every partition before it answers: 30 s and more where there are thousands.
    # Killed meanwhile it would begin anew next time, so only one that hangs may be.
    start_timeout: float = 300.0
    stop_timeout: float = 10.0
    java_flags: Sequence[str] = ()
    # Once per cache folder and Java release, spend some 8 s so that each later start takes 1 s less.
    quick_start: bool = True


class EmbeddedBroker:
    """One broker that can be started, killed and started again on the same ports and data.

    Every method blocks; run them in a thread from asyncio. Not thread-safe. The broker dies with this process,
    whatever ends it. All failures are `BrokerError`.
    """

    def __init__(self, options: BrokerOptions | None = None, *, progress: jars.Progress = jars.silent) -> None:
        self.options = options or BrokerOptions()
        self._progress = progress
        self._java: Java | None = None
        self._jars: tuple[Path, ...] = ()
        self._quick_start: list[str] = []
        self._ports: dict[str, int] = {}
        self._folder: BrokerFolder | None = None
        self._process: ServerProcess | None = None

    @property
    def bootstrap(self) -> str:
        """What clients connect to: host:port."""
        return self.address(settings.CLIENT)

    def address(self, listener: str) -> str:
        """host:port of a listener by name."""
        if listener not in self._ports:
            raise BrokerError(f"The broker has no listener {listener} yet; start it first, or add it to listeners.")
        return f"{HOST}:{self._ports[listener]}"

    @property
    def running(self) -> bool:
        """Whether the process lives (it may still be starting, or be frozen)."""
        return self._process is not None and self._process.exit_code() is None

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        if self._process is None:
            raise BrokerError("The broker is not running; start it first.")
        return self._process.pid

    @property
    def folder(self) -> Path:
        """Where this broker keeps its data, configuration and logs."""
        return self._held.path

    @property
    def log(self) -> Path:
        """The broker's own log file."""
        return self._held.log

    @property
    def _held(self) -> BrokerFolder:
        if self._folder is None:
            raise BrokerError("The broker has no folder now; start it first.")
        return self._folder

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start and return once the broker answers a client.

        Again after `kill`: same ports, same data. Again after `stop`: same ports, and the data if it was kept.
        """
        if self.running:
            raise BrokerError("The broker is running already.")
        self._install()
        fresh = self._folder is None
        if self._folder is None:
            self._folder = BrokerFolder(self.options.data_dir)
        try:
            self._launch()
        except BaseException:
            self._end(graceful=False)
            if fresh:  # else the data of the run before must stay for another try
                self._close_folder()
            raise

    def stop(self) -> None:
        """Shut down in good order, killing after `stop_timeout`; a temporary folder is deleted. May be repeated."""
        self._end(graceful=True)
        self._close_folder()

    def kill(self) -> None:
        """End the broker as a crash would; data stays as it was on disk, for the next `start`."""
        self._end(graceful=False)

    def restart(self) -> None:
        """Shut down in good order and start again on the same data, which stays even in a temporary folder."""
        self._end(graceful=True)
        self.start()

    def run_tool(self, main_class: str, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run one of Kafka's own command-line tools, for example
        `org.apache.kafka.tools.consumer.group.ConsumerGroupCommand`; exit code and output are the caller's.
        """
        self._install()
        try:
            return subprocess.run(  # noqa: S603  (no shell)
                [*self._java_command("256m"), main_class, *arguments],
                env=class_path_in_environment(self._jars),
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BrokerError(f"Kafka's tool {main_class} gave no result in {timeout:.0f} s.") from error

    def _install(self) -> None:
        if self._java is not None:
            return
        self._jars = jars.installed(jars.KAFKA, self._progress)
        java = find_java()
        if self.options.quick_start and java.release:
            archive = quick_start_archive(java, self._progress)
            self._quick_start = [f"-XX:AOTCache={archive}"] if archive else []
        self._java = java

    def _java_command(self, heap: str) -> list[str]:
        if self._java is None:
            raise AssertionError
        return [str(self._java.path), *self._java.flags(heap), *self._quick_start]

    def _close_folder(self) -> None:
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _end(self, *, graceful: bool) -> None:
        if self._process is None:
            return
        if graceful:
            self._process.stop(self.options.stop_timeout)
        else:
            self._process.kill()
        self._process = None

    def _launch(self) -> None:
        self._held.refuse_unusable()
        for attempt in range(_PORT_TRIES):
            settled = bool(self._ports)
            self._choose_ports(avoid_last=attempt > 0)
            self._configure()
            if not self._held.data.exists():
                self._format()
            try:
                self._run()
            except _PortTakenError as error:
                # Someone was quicker between our look and the broker's start.
                self._end(graceful=False)
                if settled or attempt == _PORT_TRIES - 1:
                    raise BrokerError(str(error)) from error
                self._ports = {}
            else:
                return

    def _choose_ports(self, *, avoid_last: bool) -> None:
        if self._ports:
            for port in self._ports.values():
                _require_free(port, "stop what took it, so that this broker can come back where it was")
            return
        if self.options.port:
            _require_free(self.options.port, "stop the program that uses it, or choose another port")
        names = [settings.CLIENT, settings.CONTROLLER, *self.options.listeners]
        last = self._held.last_run()
        if last and not avoid_last and list(last.ports) == names and all(map(port_is_free, last.ports.values())):
            ports = last.ports
        else:
            ports = dict(zip(names, free_ports(len(names), taken=[self.options.port or 0]), strict=True))
        self._ports = ports | ({settings.CLIENT: self.options.port} if self.options.port else {})

    def _properties(self, data: Path) -> str:
        properties = settings.server_properties(
            data=data,
            ports=self._ports,
            listeners=self.options.listeners,
            extra=self.options.properties,
        )
        return settings.render(properties)

    def _configure(self) -> None:
        folder = self._held
        _write_private(folder.config, self._properties(folder.data))
        folder.log_config.write_text(settings.render(settings.log_properties(folder.log)))

    def _format(self) -> None:
        """Give a new folder its cluster id, by one rename: a half-formatted folder can't come to be."""
        draft, config = self.folder / "kafka.part", self.folder / "format.properties"
        shutil.rmtree(draft, ignore_errors=True)
        _write_private(config, self._properties(draft))
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # An id that starts with a dash would be taken for an option.
        made = self.run_tool("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(config))
        config.unlink()
        if made.returncode != 0 or not draft.exists():
            raise BrokerError(
                f"Kafka could not prepare its data folder {self._held.data}; a property may be wrong. It said:\n"
                f"{relevant_lines(made.stdout + made.stderr)}"
            )
        draft.replace(self._held.data)

    def _run(self) -> None:
        folder = self._held
        folder.log.unlink(missing_ok=True)  # else an earlier run's last words would explain this run's end
        command = [
            *self._java_command(self.options.heap),
            *self.options.java_flags,
            f"-Dlog4j2.configurationFile={folder.log_config}",
            f"-XX:ErrorFile={folder.path / 'logs' / 'crash.log'}",
            "kafka.Kafka",
            str(folder.config),
        ]
        process = self._process = ServerProcess(
            command,
            environment=class_path_in_environment(self._jars),
            folder=folder.path,
            console=folder.console,
            delete=folder.temporary,
        )
        folder.record(LastRun(kafka=jars.KAFKA_VERSION, pid=process.pid, ports=self._ports))
        port = self._ports[settings.CLIENT]
        patience = self.options.start_timeout
        if not wait_until(lambda: process.exit_code() is not None or answers(port), min(patience, _LONG_START_S)):
            self._progress("Kafka does not answer yet: after a crash it looks through all its data first")
            wait_until(lambda: process.exit_code() is not None or answers(port), patience - _LONG_START_S)
        if process.exit_code() is not None or not answers(port):
            raise self._failure(process.exit_code())

    def _failure(self, code: int | None) -> Exception:
        said = self._held.last_words()
        if "Address already in use" in said:
            return _PortTakenError(
                f"One of the ports {sorted(self._ports.values())} on {HOST} was taken while the broker started. "
                "Stop what took it and start again, or choose another port."
            )
        patience = f"did not answer within {self.options.start_timeout:.0f} s"
        problem = patience if code is None else f"ended with code {code} at start"
        return BrokerError(f"The Kafka broker {problem}. It said:\n{relevant_lines(said)}")


class _PortTakenError(Exception):
    pass


def answers(port: int, timeout: float = 2.0) -> bool:
    """Whether a Kafka broker serves clients on this port: its metadata lists at least one broker."""
    try:
        with socket.create_connection((HOST, port), timeout) as connection:
            connection.sendall(struct.pack(">i", len(_METADATA_REQUEST)) + _METADATA_REQUEST)
            with connection.makefile("rb") as reply:
                header = reply.read(12)  # size, correlation id, number of brokers
    except OSError:
        return False
    return len(header) == 12 and struct.unpack(">iii", header)[2] > 0


def _require_free(port: int, advice: str) -> None:
    if not port_is_free(port):
        raise BrokerError(f"Port {port} on {HOST} is taken by another program; {advice}.")


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)  # properties may hold passwords
    path.write_text(text)


def quick_start_archive(java: Java, progress: jars.Progress) -> Path | None:
    """Java's ahead-of-time cache for the broker, made by one trial run if there is none; None if that failed.

    It saves each later start some 60 % of its time. Java checks it against jars and flags, and ignores it if
    they differ, so a stale one costs only time.
    """
    home = jars.cache_root() / jars.KAFKA.folder
    archive, failed = home / f"start-{java.release}.aot", home / f"start-{java.release}.failed"
    if archive.exists():
        return archive
    if failed.exists():
        return None
    try:
        with jars.install_lock(home, "the broker's quick start", progress):
            if not (archive.exists() or failed.exists()):
                progress("Preparing Kafka for quick starts (once)")
                _train(home / f"{archive.name}.part")
                (home / f"{archive.name}.part").replace(archive)
    except (BrokerError, OSError):
        # A read-only cache folder, say. The broker works without, so this must not keep anyone from starting.
        with contextlib.suppress(OSError):
            failed.touch()
    return archive if archive.exists() else None


def _train(archive: Path) -> None:
    record = f"-XX:AOTCacheOutput={archive}"
    options = BrokerOptions(quick_start=False, java_flags=[record], stop_timeout=60.0)
    with EmbeddedBroker(options):
        pass
    if not archive.exists():
        raise BrokerError("Java made no archive.")
