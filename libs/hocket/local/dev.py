"""The supervisor behind `hocket dev`: a broker, the topics and all services, up together and down together.

One thread of its own starts, watches and stops everything: Linux ties a child to the thread that started it, and the
embedded broker belongs to one thread. What dies is started again at once; what keeps dying stops the whole stack. When
the supervisor itself dies, even by SIGKILL, its children and the broker die with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from hocket.contracts.specialties import SpecialtyError, load_specialties
from hocket.contracts.workflows import WorkflowError, load_workflows
from hocket.kafka.admin import KafkaUnreachable, TopicsError, apply_topics, check_joined
from hocket.local.broker import BrokerOptions, EmbeddedBroker
from hocket.local.process import BrokerError, file_lock
from hocket.local.runfile import RunFile, read_run, remove_run, write_run
from hocket.local.service import Say, Service, ServiceSpec
from hocket.local.stack import DEFAULT_PARTITIONS, DevOptions, service_specs, stack_settings
from hocket.runtime.settings import Settings

_LOOK_SECONDS = 0.1
_KAFKA_SECONDS = 10.0
_TEMPORARY, _LOCK = "hocket-dev-", "dev.lock"
_BACKOFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0)
_KNOWN_FAILURES = (BrokerError, KafkaUnreachable, TopicsError, SpecialtyError, WorkflowError, OSError)
Specs = Callable[[DevOptions, Settings, Path, list[str]], list[ServiceSpec]]


class DevError(RuntimeError):
    """The stack cannot run; the message says why and what to do."""


def sweep_abandoned(root: Path) -> None:
    """Removes temporary folders of stacks that were killed; those of running stacks are locked."""
    for lock in root.glob(f"{_TEMPORARY}*/{_LOCK}"):
        with contextlib.suppress(BlockingIOError, OSError), file_lock(lock, wait=False):
            shutil.rmtree(lock.parent, ignore_errors=True)


class _Stopped(BaseException):
    """Stop was asked for while the stack was still coming up."""


def _silent(_service: str, _line: str) -> None:
    """Shows nothing; the services' logs are in the data folder anyway."""


class DevStack:
    """A running stack; a context manager. Its methods block and may be called from any thread.

    `say(service, line)` gets every line of output, from several threads.
    """

    def __init__(self, options: DevOptions | None = None, *, say: Say = _silent, specs: Specs = service_specs) -> None:
        self.options = options or DevOptions()
        self.services: dict[str, Service] = {}
        self._say, self._specs = say, specs
        self._settings: Settings | None = None
        self._folder = Path()
        self._broker: EmbeddedBroker | None = None
        self._deaths: dict[str, deque[float]] = {}
        self._due: dict[str, float] = {}
        self._held = contextlib.ExitStack()
        self._stopping, self._up, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._published = False
        self._thread = threading.Thread(target=self._run, name="hocket-dev", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def settings(self) -> Settings:
        """Settings with which a client reaches this stack."""
        if self._settings is None:
            raise DevError("the stack is not up yet; start it first")
        return self._settings

    @property
    def folder(self) -> Path:
        """Where broker data, state, payloads and logs are."""
        return self._folder

    @property
    def broker_pid(self) -> int | None:
        """The embedded broker's process, None when the broker is the user's own."""
        return self._broker.pid if self._broker is not None else None

    @property
    def monitor_url(self) -> str | None:
        """The monitor's page."""
        return self.services["monitor"].url if "monitor" in self.services else None

    def start(self) -> None:
        """Returns once every service is ready. Raises DevError, and leaves nothing running then."""
        self._thread.start()
        try:
            while not self._up.wait(0.5):  # in short steps: a signal must reach the main thread
                pass
        except BaseException:
            self.stop()
            raise
        if self._error is not None:
            self.stop()
            raise self._error

    def wait(self, seconds: float | None = None) -> bool:
        """Waits for the stack's end; false when it still runs after `seconds`. Raises DevError if it had to end."""
        give_up = None if seconds is None else time.monotonic() + seconds
        while not self._ended.wait(_LOOK_SECONDS):
            if give_up is not None and time.monotonic() > give_up:
                return False
        if self._error is not None:
            raise self._error
        return True

    def stop(self) -> None:
        """Stops everything and returns once nothing runs any more. May be repeated."""
        self._stopping.set()
        if self._thread.ident is not None:
            while self._thread.is_alive():
                self._thread.join(0.5)

    def _run(self) -> None:
        try:
            self._come_up()
            self._up.set()
            while not self._stopping.wait(_LOOK_SECONDS):
                self._look()
        except _Stopped:
            pass
        except DevError as e:
            self._error = e
        except _KNOWN_FAILURES as e:
            self._error = DevError(str(e))
            self._error.__cause__ = e
        except Exception as e:  # noqa: BLE001 - a defect of ours: the caller's thread must hear of it
            self._error = e
        finally:
            try:
                self._go_down()
            finally:
                self._ended.set()
                self._up.set()

    def _come_up(self) -> None:
        self._take_folder()
        specialties = load_specialties(self.options.specialties)
        load_workflows(specialties, self.options.workflows)  # a wrong file is told before anything starts
        bootstrap = self.options.bootstrap or self._start_broker()
        self._settings = self._prepare_topics(bootstrap, list(specialties))
        self._checkpoint()
        for spec in self._specs(self.options, self._settings, self._folder, list(specialties)):
            self.services[spec.name] = service = Service(spec, self._say)
            service.start()
        self._wait_ready()
        self._publish()

    def _take_folder(self) -> None:
        if self.options.ephemeral:
            sweep_abandoned(Path(tempfile.gettempdir()))
            self._folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
            self._held.callback(shutil.rmtree, self._folder, ignore_errors=True)
        else:
            self._folder = self.options.folder()
        try:
            self._held.enter_context(file_lock(self._folder / _LOCK, wait=False))
        except BlockingIOError as e:
            raise DevError(
                f"another `hocket dev` runs on {self._folder}. Use it (hocket ask ...), stop it with Ctrl-C where it "
                "runs, or start this one with --data OTHER_FOLDER or --ephemeral"
            ) from e

    def _start_broker(self) -> str:
        self._say("broker", "starting Apache Kafka")
        # A temporary data folder is ours to delete, so the broker keeps its data there in either case.
        options = BrokerOptions(data_dir=self._folder / "broker")
        self._broker = EmbeddedBroker(options, progress=self._broker_progress)
        self._broker.start()
        self._say("broker", f"Apache Kafka answers at {self._broker.bootstrap}")
        return self._broker.bootstrap

    def _broker_progress(self, message: str) -> None:
        self._checkpoint()  # a first start fetches for a while; Ctrl-C must not have to wait for that
        self._say("broker", message)

    def _prepare_topics(self, bootstrap: str, specialties: list[str]) -> Settings:
        count = self.options.partitions
        settings = stack_settings(self.options, self._folder, bootstrap, count or DEFAULT_PARTITIONS)
        if count is None:
            with contextlib.suppress(TopicsError):
                kept = asyncio.run(check_joined(settings, wait_seconds=_KAFKA_SECONDS))
                settings = stack_settings(self.options, self._folder, bootstrap, kept)
        changes = asyncio.run(apply_topics(settings, specialties, wait_seconds=_KAFKA_SECONDS))
        made = sum(c.action == "created" for c in changes)
        self._say("topics", f"{made} topics made" if made else "all topics are there")
        return settings

    def _checkpoint(self) -> None:
        if self._stopping.is_set():
            raise _Stopped

    def _wait_ready(self) -> None:
        give_up = time.monotonic() + self.options.ready_seconds
        while waiting := [s for s in self.services.values() if not self._probe(s)]:
            if time.monotonic() > give_up:
                names = [s.spec.name for s in waiting]
                last = "\n".join(waiting[0].last_lines)
                raise DevError(
                    f"not ready after {self.options.ready_seconds:.0f} s: {', '.join(names)}. "
                    f"Last lines of {names[0]}:\n{last}"
                )
            self._look()
            self._stopping.wait(_LOOK_SECONDS)
            self._checkpoint()

    def _probe(self, service: Service) -> bool:
        before = service.ready
        if service.probe() and not before:
            self._say(service.spec.name, "ready")
        return service.ready

    def _look(self) -> None:
        """Starts again what has died. Raises DevError when something keeps dying."""
        if self._broker is not None and not self._broker.running and self._died("broker", None):
            self._broker.start()
            self._say("broker", f"answers again at {self._broker.bootstrap}")
            self._publish()
        for name, service in self.services.items():
            code = service.poll()
            if code is not None and self._died(name, code):
                service.join()
                service.start()
                self._publish()
            elif code is None and self._up.is_set():
                self._probe(service)

    def _died(self, name: str, code: int | None) -> bool:
        """Whether the dead one shall be started now; its death is counted when it is first seen."""
        now = time.monotonic()
        if name not in self._due:
            deaths = self._deaths.setdefault(name, deque())
            deaths.append(now)
            while deaths[0] < now - self.options.restart_seconds:
                deaths.popleft()
            how = (
                "ended" if code is None else f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            )
            if len(deaths) > self.options.max_restarts:
                raise DevError(
                    f"{name} keeps dying, so everything stops: it {how}. Its last lines:\n{self._last(name)}"
                )
            self._say(name, f"{how}; starting it again")
            self._due[name] = now + _BACKOFF_SECONDS[min(len(deaths), len(_BACKOFF_SECONDS)) - 1]
        if now < self._due[name]:
            return False
        del self._due[name]
        return True

    def _last(self, name: str) -> str:
        if name in self.services:
            self.services[name].join()
            return "\n".join(self.services[name].last_lines)
        return f"see {self._folder / 'broker' / 'logs'}"

    def _publish(self) -> None:
        """Writes the run file, unless another stack is found by it already."""
        if not self.options.publish:
            return
        found = read_run()
        if found is not None and not self._published:
            self._say("dev", f"another stack is found first by other commands; reach this one with {self._flags()}")
            return
        settings = self.settings
        pids = {n: s.pid for n, s in self.services.items()}
        self._published = True
        write_run(
            RunFile(
                pid=os.getpid(),
                bootstrap=settings.bootstrap,
                prefix=settings.prefix,
                partitions=settings.partitions,
                blob_store=settings.blob_store,
                data=str(self._folder),
                monitor=self.monitor_url,
                specialties=str(settings.specialties) if settings.specialties else None,
                workflows=str(settings.workflows) if settings.workflows else None,
                pids=pids if self._broker is None else pids | {"broker": self._broker.pid},
                ports={n: s.spec.port for n, s in self.services.items()},
            )
        )

    def _flags(self) -> str:
        prefix = f" --prefix {self.settings.prefix}" if self.settings.prefix else ""
        return f"--bootstrap {self.settings.bootstrap}{prefix}"

    def _go_down(self) -> None:
        """Services together, then the broker, then the folder."""
        if self._published:
            remove_run()
        for service in self.services.values():
            service.ask_to_stop()
        give_up = time.monotonic() + self.options.stop_seconds
        for name, service in self.services.items():
            if not service.stop(give_up - time.monotonic()):
                self._say(name, f"did not stop within {self.options.stop_seconds:.0f} s and was killed")
        try:
            if self._broker is not None:
                self._broker.stop()
        finally:
            self._held.close()
