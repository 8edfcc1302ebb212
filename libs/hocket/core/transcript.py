"""The streamed text of a request's tasks, put together from its progress records. Pure.

Records may come twice, overlap, come from a run that was given up, or be missing. A task may have several runs (sent
again, delivered again after a crash, a reply begun anew), each with a text of its own; shown is the one that
completed, until then the latest: of the highest revision and attempt, and of those the one that was heard of last.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hocket.contracts.records import Answer, Progress

MAX_TASKS = 1_000
MAX_RUNS = 16
"""Runs of one task that are kept; of more, those that began first are forgotten."""
MAX_CHARS = 4_000_000
MAX_EARLY = 1_000
"""Pieces of one run that wait for what comes before them."""

_Key = tuple[int, int, str, str]


@dataclass(frozen=True, kw_only=True)
class Change:
    """The task's text is now what it was up to `start`, and then `text`."""

    task_id: str
    start: int
    text: str


@dataclass(kw_only=True)
class _Run:
    key: _Key
    parts: list[str] = field(default_factory=list)
    chars: int = 0
    early: dict[int, str] = field(default_factory=dict)

    def add(self, start: int, text: str) -> None:
        if start > self.chars:
            if len(self.early) < MAX_EARLY:
                self.early[start] = max(self.early.get(start, ""), text, key=len)
            return
        self._append(text[self.chars - start :])
        while follower := min((s for s in self.early if s <= self.chars), default=None):
            self._append(self.early.pop(follower)[self.chars - follower :])

    def _append(self, text: str) -> None:
        text = text[: MAX_CHARS - self.chars]
        if text:
            self.parts.append(text)
            self.chars += len(text)

    @property
    def text(self) -> str:
        self.parts = ["".join(self.parts)]
        return self.parts[0]


@dataclass(kw_only=True)
class _Task:
    runs: dict[_Key, _Run] = field(default_factory=dict)
    settled: _Key | None = None
    total: int | None = None
    told: _Key | None = None
    chars: int = 0

    def run(self, key: _Key) -> _Run:
        if key not in self.runs:
            self.runs[key] = _Run(key=key)
            spare = [k for k in self.runs if k not in (key, self.settled)]
            if len(self.runs) > MAX_RUNS and spare:
                del self.runs[spare[0]]
        return self.runs[key]

    def shown(self) -> _Run | None:
        if self.settled in self.runs:
            return self.runs[self.settled]
        latest = max((k[:2] for k in self.runs), default=None)
        return next((r for k, r in reversed(self.runs.items()) if k[:2] == latest), None)


class Transcript:
    """Takes progress records in the order in which they stand in their partition. Bounded."""

    def __init__(self) -> None:
        self._tasks: dict[str, _Task] = {}

    def take(self, event: Progress) -> Change | None:
        """What the record changes in its task's text. The changes of all records, applied in order, give `text`."""
        if event.task_id is None or not event.run or event.kind not in ("text", "completed"):
            return None
        if event.task_id not in self._tasks and len(self._tasks) >= MAX_TASKS:
            return None
        task = self._tasks.setdefault(event.task_id, _Task())
        key = (event.revision, event.attempt, event.worker or "", event.run)
        if event.kind == "text":
            task.run(key).add(event.start, event.text)
        elif task.settled is None:
            task.settled, task.total = key, event.start
        return self._change(event.task_id, task)

    @staticmethod
    def _change(task_id: str, task: _Task) -> Change | None:
        run = task.shown()
        if run is None or not run.chars or (run.key == task.told and run.chars == task.chars):
            return None
        start = task.chars if run.key == task.told else 0
        task.told, task.chars = run.key, run.chars
        return Change(task_id=task_id, start=start, text=run.text[start:])

    def mend(self, answer: Answer) -> list[Change]:
        """What the answer's own outputs change: the texts of streamed tasks that are not what the tasks delivered.

        None, unless progress was lost, or two workers ran one task and the other one's result counted. Outputs that
        travel by reference are not compared: their text is cut.
        """
        found = []
        for given in answer.outputs:
            shown, text = self.text(given.task_id), given.output.text
            if shown is None or given.output.data is None or shown == text:
                continue
            same = _common(shown, text)
            task = self._tasks[given.task_id]
            run = task.run((-1, 0, "", "answer"))
            run.parts, run.chars = [text], len(text)
            task.settled = task.told = run.key
            task.chars = run.chars
            found.append(Change(task_id=given.task_id, start=same, text=text[same:]))
        return found

    def text(self, task_id: str) -> str | None:
        """The task's text so far; None when nothing was streamed."""
        task = self._tasks.get(task_id)
        run = None if task is None else task.shown()
        return None if run is None else run.text

    def missing(self, task_id: str) -> bool:
        """Whether some of the text is known to be missing: it is there again when the lost piece, or the answer, is."""
        task = self._tasks.get(task_id)
        run = None if task is None else task.shown()
        if task is None or run is None:
            return False
        return bool(run.early) or (run.key == task.settled and task.total is not None and run.chars < task.total)


def _common(a: str, b: str) -> int:
    """How many characters both begin with."""
    shorter = min(len(a), len(b))
    return next((n for n in range(shorter) if a[n] != b[n]), shorter)
