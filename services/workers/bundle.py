"""The steps of a bundle: done one after the other by local engines, behind the task that they were sent with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from hocket.contracts.claims import INLINE_LIMIT, held_inline
from hocket.contracts.records import BundledResult, BundledStep, Output, Result, Task, TaskInput
from hocket.contracts.specialties import Specialty
from hocket.core.context import CONTEXT_BYTES, fit
from hocket.core.work import BadInput, Work
from services.workers.engine import Outcome

log = structlog.get_logger(__name__)


class RunsLocally(Protocol):
    """What a bundle asks of a worker's engines; see services.workers.engine.Engines."""

    async def run_local(
        self, specialty: Specialty, work: Work, *, strategy: str, deadline_ms: int | None
    ) -> Outcome | None:
        """The local engine's undoubted outcome; None when it takes more."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Does the steps. `look` turns a task into what engines see, without any blob store; may raise BadInput."""

    engines: RunsLocally
    known: Mapping[str, Specialty]
    look: Callable[[Task], Work]
    now_ms: Callable[[], int]

    async def run(self, task: Task, head: Result, told: Callable[[Task], None]) -> Sequence[BundledResult]:
        """Those that were done, up to the first that needs more than a local engine, more time, or more room in the
        record. `told` is called with each one that is done. A crash or a cancellation loses them all: they cost
        nothing and are done again."""
        if head.status != "completed" or head.output is None or head.output.data is None:
            return ()
        done: dict[str, Output] = {task.task_id: head.output}
        found: list[BundledResult] = []
        room = INLINE_LIMIT - _weight(head.output)
        for step in task.bundle:
            as_task = task_of(task, step, done)
            part = await self._step(as_task)
            room -= _weight(part.output) if part is not None else 0
            if part is None or room < 0:
                break
            found.append(part)
            done[step.task_id] = part.output
            told(as_task)
        return found

    async def _step(self, task: Task) -> BundledResult | None:
        specialty, started = self.known.get(task.specialty), self.now_ms()
        if specialty is None or not held_inline(task) or (task.deadline is not None and started >= task.deadline):
            return None
        try:
            work = self.look(task)
        except BadInput as e:  # it comes again the ordinary way, whose result says so
            log.info("a bundled step is left alone", task_id=task.task_id, reason=str(e))
            return None
        outcome = await self.engines.run_local(specialty, work, strategy=task.strategy, deadline_ms=task.deadline)
        if outcome is None or outcome.output is None:
            return None
        data = json.dumps(outcome.output, ensure_ascii=False)
        return BundledResult(
            task_id=task.task_id,
            specialty=task.specialty,
            output=Output(specialty=task.specialty, text=outcome.text, data=data, size=len(data.encode())),
            attempts=outcome.attempts,
            engine=outcome.engine,
            why=outcome.why,
            prompt_version=specialty.version,
            attempt=task.attempt,
            revision=task.revision,
            started_at=started,
            ended_at=max(started, self.now_ms()),
        )


def task_of(task: Task, step: BundledStep, done: Mapping[str, Output]) -> Task:
    """The step as the task that it would have been, had it been dispatched when those before it were done."""
    new = tuple(TaskInput(task_id=i, output=done[i]) for i in step.depends_on if i in done)
    by_id = {i.task_id: i for i in (*step.inputs, *new)}
    far = {o.specialty: o.text for i, o in done.items() if i not in step.depends_on}
    return task.model_copy(
        update={
            "task_id": step.task_id,
            "specialty": step.specialty,
            "instruction": step.instruction,
            "inputs": tuple(by_id[i] for i in step.depends_on if i in by_id),
            "context": _context(step.context, far),
            "options": step.options,
            "strategy": step.strategy,
            "budget_usd": None,
            "attempt": step.attempt,
            "revision": step.revision,
            "bundle": (),
        }
    )


def _context(given: str | None, far: Mapping[str, str]) -> str | None:
    if not far:
        return given
    known = json.loads(given)["results"] if given is not None else {}
    return json.dumps({"results": fit({**known, **far}, CONTEXT_BYTES)}, ensure_ascii=False)


def _weight(output: Output) -> int:
    return len((output.data or "").encode()) + len(output.text.encode())
