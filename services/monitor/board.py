"""What the live page knows of requests: those in progress as task trees, the latest answers, rates, times, cost. Pure.

It is fed by progress, answers and dead letters in whatever order they come, some of them twice after a restart. Memory
is bounded: the oldest requests give way, and of text only the end is kept.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from itertools import islice
from typing import Any

from hocket.contracts.records import Answer, DeadLetter, Progress, TaskReceipt

MAX_OPEN = 20_000
MAX_ANSWERED = 500
MAX_DEAD = 50
MAX_ENDED = 200_000
"""So many ids of answered requests are remembered, some 20 MB: after a restart progress may be read behind answers, and
would open its request for good."""
ROWS = 40
"""So many requests in progress are sent to a page, the newest first; the counts tell of the others."""
FORGET_MS = 3_600_000
"""A request that nobody has said anything of for so long is taken off the board; its answer may have been missed."""
TEXT_KEPT = 2_000
PLANNING = "planning"
_TIMES = 2_000


@dataclass(kw_only=True)
class Step:
    """One task as the page shows it. `base` is where the kept text begins in the whole of it."""

    task_id: str
    specialty: str = ""
    depends_on: tuple[str, ...] = ()
    state: str = "pending"
    worker: str | None = None
    note: str = ""
    started_at: int | None = None
    ended_at: int | None = None
    dispatch: tuple[int, int] = (0, 0)
    run: str = ""
    base: int = 0
    text: str = ""

    def say(self, event: Progress) -> None:
        """Takes a piece of streamed text; another run begins anew."""
        at = event.start - self.base
        if event.run != self.run or not 0 <= at <= len(self.text):
            self.run, self.base, self.text = event.run, event.start, ""
            at = 0
        text = self.text[:at] + event.text
        self.base += max(0, len(text) - TEXT_KEPT)
        self.text = text[-TEXT_KEPT:]

    def move(self, event: Progress) -> None:
        """Takes a change of state; what an older dispatch says comes too late."""
        dispatch = (event.revision, event.attempt if event.kind == "assigned" else max(event.attempt, self.dispatch[1]))
        ended = self.state in ("completed", "failed")
        if event.revision < self.dispatch[0] or (event.kind == "assigned" and ended and dispatch <= self.dispatch):
            return
        self.dispatch, self.state = dispatch, event.kind
        self.worker = event.worker or self.worker
        if event.kind == "assigned":
            self.started_at, self.ended_at = event.at, None
        else:
            self.ended_at, self.note = event.at, event.text


@dataclass(kw_only=True)
class Asked:
    """A request on the board."""

    request_id: str
    first_at: int
    last_at: int
    steps: dict[str, Step] = field(default_factory=dict)
    answer: Answer | None = None

    @property
    def running(self) -> list[Step]:
        """What runs now."""
        return [s for s in self.steps.values() if s.state == "assigned"]


@dataclass(kw_only=True)
class Dead:
    """A dead letter by its id (partition:offset of it), and where it was replayed to, if it was."""

    id: str
    letter: DeadLetter
    again: str = ""


@dataclass(kw_only=True)
class Minute:
    """Counts of the last minute, by name."""

    span: int = 60
    _seconds: dict[str, dict[int, int]] = field(default_factory=dict)

    def add(self, name: str, at_ms: int) -> None:
        """Counts one at a moment; moments may come in any order."""
        seconds = self._seconds.setdefault(name, {})
        seconds[at_ms // 1000] = seconds.get(at_ms // 1000, 0) + 1
        if len(seconds) > 3 * self.span:
            newest = max(seconds)
            self._seconds[name] = {s: n for s, n in seconds.items() if s > newest - self.span}

    def sum(self, name: str, now_ms: int) -> int:
        """What was counted within the span."""
        now = now_ms // 1000
        return sum(
            n for second, n in self._seconds.get(name, {}).items() if now - self.span < second <= now + self.span
        )


class Board:
    """The state of the page. Not thread-safe; every method is quick."""

    def __init__(self) -> None:
        self.open: OrderedDict[str, Asked] = OrderedDict()
        self.answered: OrderedDict[str, Asked] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self.dead: deque[Dead] = deque(maxlen=MAX_DEAD)
        self.rates = Minute()
        self.seconds: deque[tuple[int, float]] = deque(maxlen=_TIMES)
        self.engines: dict[tuple[str, str], deque[float]] = {}
        self.history: dict[int, list[float]] = {}
        """Tokens and dollars of the answers of each minute (since the epoch) of the last hour."""

    def progress(self, event: Progress) -> None:
        """Takes a word on a request under way; what comes after its answer changes nothing."""
        if event.request_id in self._ended:
            return
        asked = self.open.get(event.request_id)
        if asked is None:
            asked = Asked(request_id=event.request_id, first_at=event.at, last_at=event.at)
            self.open[event.request_id] = asked
            if len(self.open) > MAX_OPEN:
                self.open.popitem(last=False)
        asked.last_at = max(asked.last_at, event.at)
        if event.kind == "planned":
            self._planned(asked, event)
        elif event.task_id is not None:
            self._step(asked, event)

    def _planned(self, asked: Asked, event: Progress) -> None:
        self.rates.add("plans", event.at)
        planning = asked.steps.get(PLANNING)
        if planning is not None and planning.state == "assigned":
            planning.state, planning.ended_at = "completed", event.at
        for t in event.tasks:
            step = asked.steps.setdefault(t.task_id, Step(task_id=t.task_id))
            step.specialty, step.depends_on = t.specialty, tuple(t.depends_on)

    def _step(self, asked: Asked, event: Progress) -> None:
        task_id = event.task_id or ""
        step = asked.steps.get(task_id)
        if step is None:
            step = asked.steps[task_id] = Step(task_id=task_id, specialty=PLANNING if task_id == PLANNING else "")
        if event.kind == "text":
            step.say(event)
        elif event.kind == "other":
            step.note = event.text
        else:
            before = step.state
            step.move(event)
            if step.specialty and step.state != before:
                kind = "tasks" if step.state == "assigned" else "results"
                self.rates.add(f"{kind}/{step.specialty}", event.at)

    def answer(self, answer: Answer) -> None:
        """Takes an answer: the request leaves those in progress; saying so twice counts once."""
        if answer.request_id in self._ended:
            return
        self._ended[answer.request_id] = None
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)
        receipt = answer.receipt
        asked = self.open.pop(answer.request_id, None)
        if asked is None:
            asked = Asked(request_id=answer.request_id, first_at=receipt.admitted_at, last_at=receipt.answered_at)
        asked.answer, asked.last_at = answer, receipt.answered_at
        for t in receipt.tasks:
            _settle(asked, t)
        self.answered[answer.request_id] = asked
        if len(self.answered) > MAX_ANSWERED:
            self.answered.popitem(last=False)
        self._count(answer)

    def _count(self, answer: Answer) -> None:
        receipt, at = answer.receipt, answer.receipt.answered_at
        began = receipt.admitted_at if receipt.submitted_at is None else receipt.submitted_at
        self.rates.add("answers", at)
        self.rates.add(f"answers/{answer.status}", at)
        self.seconds.append((at, max(0, at - began) / 1000))
        tokens = receipt.input_tokens + receipt.output_tokens
        minute = self.history.setdefault(at // 60_000, [0.0, 0.0, 0.0])
        minute[0] += tokens
        minute[1] += receipt.cost_usd or 0.0
        minute[2] += 1
        for old in [m for m in self.history if m <= at // 60_000 - 60]:
            del self.history[old]
        for t in receipt.tasks:
            if t.started_at is not None and t.ended_at is not None and t.state == "completed":
                kept = self.engines.setdefault((t.specialty, t.engine or "?"), deque(maxlen=256))
                kept.append(max(0, t.ended_at - t.started_at) / 1000)

    def dead_letter(self, letter: DeadLetter, place: tuple[int, int] = (0, 0)) -> None:
        """Takes a dead letter and its place in the topic of dead letters; the same one is shown once."""
        origin = (letter.topic, letter.partition, letter.offset)
        if all((d.letter.topic, d.letter.partition, d.letter.offset) != origin for d in self.dead):
            self.dead.append(Dead(id=f"{place[0]}:{place[1]}", letter=letter))

    def sent_again(self, letter_id: str, where: str) -> None:
        """A dead letter was replayed from the page; forgotten with a restart, the topic it went to remembers."""
        for d in self.dead:
            if d.id == letter_id:
                d.again = where

    def forget(self, now_ms: int) -> None:
        """Takes off what nobody has spoken of for long. Looks at the oldest only, so it is quick."""
        for asked in list(islice(self.open.values(), 200)):
            if now_ms - asked.last_at > FORGET_MS:
                del self.open[asked.request_id]

    def find(self, request_id: str) -> Asked | None:
        """A request on the board."""
        return self.open.get(request_id) or self.answered.get(request_id)

    def rows(self) -> list[Asked]:
        """The newest requests in progress."""
        return nlargest(ROWS, self.open.values(), key=lambda a: a.first_at)

    def latest(self, count: int = 20) -> list[Asked]:
        """The newest answers."""
        return nlargest(count, self.answered.values(), key=lambda a: a.last_at)


def _settle(asked: Asked, t: TaskReceipt) -> None:
    """The receipt has the last word on every task."""
    step = asked.steps.setdefault(t.task_id, Step(task_id=t.task_id))
    step.specialty, step.depends_on, step.state = t.specialty, t.depends_on, t.state
    step.worker = t.worker or step.worker
    step.started_at, step.ended_at = t.started_at, t.ended_at
    step.note = t.error.message if t.error is not None else ""


def quantile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that so large a share does not exceed; None without values."""
    rising = sorted(values)
    return rising[min(len(rising) - 1, max(0, round(share * len(rising) + 0.5) - 1))] if rising else None


def tree(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps in the order of a tree with their depth: each under its dependency that stands latest; cycles are cut."""
    known = {s.task_id: s for s in steps}
    depth: dict[str, int] = {}

    def deep(task_id: str, above: frozenset[str]) -> int:
        if task_id not in depth:
            before = [d for d in known[task_id].depends_on if d in known and d not in above]
            depth[task_id] = 1 + max((deep(d, above | {task_id}) for d in before), default=-1)
        return depth[task_id]

    for s in steps:
        deep(s.task_id, frozenset({s.task_id}))
    children: dict[str | None, list[Step]] = {}
    parent: dict[str, str | None] = {}
    for s in sorted(steps, key=lambda s: depth[s.task_id]):
        before = [d for d in s.depends_on if d in depth and depth[d] < depth[s.task_id]]
        parent[s.task_id] = max(before, key=lambda d: depth[d], default=None)
        children.setdefault(parent[s.task_id], []).append(s)
    found: list[dict[str, Any]] = []
    stack = [(s, 0) for s in reversed(children.get(None, []))]
    while stack:
        s, level = stack.pop()
        also = [d for d in s.depends_on if d in known and d != parent[s.task_id]]
        found.append({"level": level, "step": s, "also": also})
        stack += [(c, level + 1) for c in reversed(children.get(s.task_id, []))]
    return found
