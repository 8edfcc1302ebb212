"""The folder a broker runs in: who may use it, what it holds, what the last run left in it."""

import contextlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from hocket.local.jars import KAFKA_VERSION
from hocket.local.process import BrokerError, command_of, file_lock, wait_until

_ORPHAN_WAIT_S = 5.0  # the watchdog ends an orphaned broker within milliseconds
_ADVICE = "Remove that folder to begin anew, or use another one or none (--ephemeral)."


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """What the latest start in this folder recorded."""

    kafka: str
    pid: int
    ports: dict[str, int]


class BrokerFolder:
    """A folder held by this process alone, until `close`."""

    def __init__(self, kept: Path | None) -> None:
        """Take `kept`, or a temporary folder that `close` deletes."""
        self.temporary = kept is None
        self._lock = contextlib.ExitStack()
        self.path = self._take(kept.expanduser().absolute()) if kept else _temporary()
        self.data = self.path / "kafka"
        self.config = self.path / "server.properties"
        self.log_config = self.path / "log4j2.properties"
        self.log = self.path / "logs" / "broker.log"
        self.console = self.path / "logs" / "console.log"
        self._state = self.path / "state.json"

    def _take(self, path: Path) -> Path:
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock.enter_context(file_lock(path / ".lock", wait=False))
        except BlockingIOError as error:
            raise BrokerError(
                f"Data folder {path} is in use by a running broker. Stop that one first, "
                "or use another folder or none (--ephemeral)."
            ) from error
        except OSError as error:
            raise BrokerError(f"Data folder {path} can't be used ({error.strerror}); choose another.") from error
        return path

    def close(self) -> None:
        """Let others use the folder; delete it if it is temporary."""
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()

    def last_run(self) -> LastRun | None:
        """None when there was none, or its record can't be read."""
        try:
            found = json.loads(self._state.read_text())
            return LastRun(kafka=str(found["kafka"]), pid=int(found["pid"]), ports=dict(found["ports"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def record(self, run: LastRun) -> None:
        """Remember a start, whole or not at all."""
        draft = self._state.with_suffix(".part")
        draft.write_text(json.dumps(asdict(run)))
        draft.replace(self._state)

    def refuse_unusable(self) -> None:
        """Raise unless our Kafka version can serve the data here and no orphaned broker still does."""
        last = self.last_run()
        if last and _minor(last.kafka) > _minor(KAFKA_VERSION):
            raise BrokerError(
                f"Data folder {self.path} was last used by Kafka {last.kafka}; this is Kafka {KAFKA_VERSION}, "
                f"which can't read it. {_ADVICE}"
            )
        if last and not wait_until(lambda: not self._served_by(last.pid), _ORPHAN_WAIT_S):
            raise BrokerError(
                f"Data folder {self.path} is in use by broker process {last.pid}, whose owner is gone. "
                f"End it with: kill {last.pid}"
            )
        if self.data.exists() and not (self.data / "meta.properties").exists():
            if any(self.data.iterdir()):
                raise BrokerError(f"Data folder {self.path} has data but lacks kafka/meta.properties. {_ADVICE}")
            self.data.rmdir()

    def _served_by(self, pid: int) -> bool:
        # Process ids are used again: only a command line that names our configuration is our broker.
        return str(self.config) in command_of(pid)

    def last_words(self) -> str:
        """What the latest run printed and logged."""
        files = [self.console, self.log]
        return "".join(file.read_text(errors="replace") for file in files if file.exists())


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="hocket-kafka-"))


def _minor(version: str) -> tuple[int, ...]:
    """What decides whether data can be read: 4.1.2 and 4.1.0 are alike."""
    return tuple(int(part) for part in version.split(".")[:2])
