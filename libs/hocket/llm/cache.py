"""Outputs that models gave before, for exactly the same input under the same prompt: bounded, with an end, opt-in."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hocket.core.work import Work

MAX_ENTRIES = 5_000
MAX_BYTES = 64 * 1024 * 1024
_PRUNE_EVERY = 200


@dataclass(frozen=True, kw_only=True)
class Cached:
    """An output, the engine that gave it, and until when it counts."""

    engine: str
    output: dict[str, Any]
    until_ms: int


@dataclass(kw_only=True)
class ResultCache:
    """The least recently used entries go first. With a folder, entries outlive the process and are shared by those that
    see it; losing or damaging a file there is a miss. Safe in threads; blocks on the folder."""

    folder: Path | None = None
    max_entries: int = MAX_ENTRIES
    max_bytes: int = MAX_BYTES
    _entries: OrderedDict[str, tuple[Cached, int]] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _puts: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> ResultCache:
        """HOCKET_RESULT_CACHE names the folder; without it entries live in the process only."""
        folder = (os.environ if env is None else env).get("HOCKET_RESULT_CACHE", "").strip()
        return cls(folder=Path(folder) if folder else None)

    def get(self, key: str, now_ms: int) -> Cached | None:
        """What is known for the key and has not ended."""
        with self._lock:
            return self._get(key, now_ms)

    def _get(self, key: str, now_ms: int) -> Cached | None:
        found, _ = self._entries.get(key, (None, 0))
        if found is None and self.folder is not None:
            found = self._load(self.folder / f"{key}.json")
            if found is not None and found.until_ms > now_ms:
                self._keep(key, found)
        if found is None:
            return None
        if found.until_ms <= now_ms:
            self._drop(key)
            return None
        if key in self._entries:
            self._entries.move_to_end(key)
        return found

    def put(self, key: str, found: Cached) -> None:
        """Keeps an output. OSError when the folder cannot be written to."""
        with self._lock:
            self._keep(key, found)
            self._store(key, found)

    def _store(self, key: str, found: Cached) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{key}.{os.getpid()}.part"
        part.write_text(json.dumps(asdict(found)), "utf-8")
        part.replace(self.folder / f"{key}.json")
        self._puts += 1
        if self._puts % _PRUNE_EVERY == 1:
            self._prune(self.folder)

    def _keep(self, key: str, found: Cached) -> None:
        self._drop(key)
        size = len(json.dumps(found.output))
        self._entries[key] = (found, size)
        self._bytes += size
        while len(self._entries) > self.max_entries or self._bytes > self.max_bytes:
            _, (_, gone) = self._entries.popitem(last=False)
            self._bytes -= gone

    def _drop(self, key: str) -> None:
        if key in self._entries:
            self._bytes -= self._entries.pop(key)[1]

    @staticmethod
    def _load(path: Path) -> Cached | None:
        try:
            said = json.loads(path.read_text("utf-8"))
            engine, output, until = said["engine"], said["output"], said["until_ms"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not (isinstance(engine, str) and isinstance(output, dict) and isinstance(until, int)):
            return None
        return Cached(engine=engine, output=output, until_ms=until)

    def _prune(self, folder: Path) -> None:
        """Leaves the newest files; another process may prune at the same time."""
        dated = []
        for path in folder.glob("*.json"):
            try:
                dated.append((path.stat().st_mtime, path))
            except FileNotFoundError:
                continue
        for _, path in sorted(dated)[: -self.max_entries]:
            path.unlink(missing_ok=True)


def key_of(version: str, strategy: str, work: Work) -> str:
    """Names an input under a prompt: all that an engine is handed, documents' bytes included, but the task's id."""
    parts: list[Any] = [version, strategy, work.specialty, work.instruction, work.text, work.workflow]
    parts += [dict(work.constants), dict(work.options)]
    parts += [[i.task_id, i.specialty, dict(i.output)] for i in work.inputs]
    parts += [[d.name, d.media_type, hashlib.sha256(d.data).hexdigest()] for d in work.documents]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
