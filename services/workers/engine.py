"""Runs one task: climbs the specialty's ladder from engine to engine until one delivers, and accounts for every try."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import structlog

from hocket.contracts.records import Attempt, Error, Usage
from hocket.contracts.specialties import Specialty
from hocket.core.work import BadInput, EngineLost, NeedsModel, Work
from hocket.llm.asking import Asker, Found
from hocket.llm.base import ModelError
from hocket.llm.models import SET_A_KEY, Models
from hocket.llm.schemas import faults, fitted
from services.workers.question import question_of

log = structlog.get_logger(__name__)
LOCAL = "local"
LOCAL_THREADS = max(2, os.cpu_count() or 2)
Run = Callable[[Work], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended: `output` (it fits the specialty's record) or `error`; `why` explains the choice of engine."""

    output: dict[str, Any] | None = None
    text: str = ""
    error: Error | None = None
    usage: tuple[Usage, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    engine: str | None = None
    why: str | None = None


class Engines:
    """All engines of a worker process, loaded when first used. Safe for any number of tasks at once."""

    def __init__(self, models: Models | None, now_ms: Callable[[], int]) -> None:
        self._models = models if models is not None else Models(providers={}, entries=())
        self._now_ms = now_ms
        self._threads = ThreadPoolExecutor(LOCAL_THREADS, thread_name_prefix="engine")
        self._loaded: dict[str, Run] = {}

    async def run(self, specialty: Specialty, work: Work, *, strategy: str, deadline_ms: int | None) -> Outcome:
        """Runs the task; every failure of an engine or a model is an Outcome with `error`, none is raised.

        A cancelled run ends its model call and its connection at once; a local engine's thread runs on to its end
        unheard, because Python cannot stop it.
        """
        climb = _Climb(self, specialty, work, strategy=strategy, deadline_ms=deadline_ms)
        return await climb.run()

    async def close(self) -> None:
        """Closes the providers' connections; local engines under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._models.close()

    @property
    def models(self) -> Models:
        """The models that can be called; falsy when there is none."""
        return self._models

    @property
    def now_ms(self) -> Callable[[], int]:
        """The clock that everything here is told by."""
        return self._now_ms

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        """Runs blocking work in one of the engines' threads; waits for a free one."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def local(self, specialty: Specialty) -> Run:
        """The specialty's local engine, loaded at its first use. Raises whatever its module raises; blocks."""
        if specialty.name not in self._loaded:
            self._loaded[specialty.name] = _load(specialty)
        return self._loaded[specialty.name]


def _load(specialty: Specialty) -> Run:
    if specialty.builtin:
        module = importlib.import_module(f"services.workers.{specialty.name.replace('-', '_')}.local")
    else:
        path = specialty.folder / "local.py"
        name = f"hocket_specialty_{specialty.name.replace('-', '_')}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is not a Python module")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up there
        spec.loader.exec_module(module)
    run: Run = module.run
    return run


class _Climb:
    """One task's way up the ladder."""

    def __init__(
        self, engines: Engines, specialty: Specialty, work: Work, *, strategy: str, deadline_ms: int | None
    ) -> None:
        self._engines, self._specialty, self._work = engines, specialty, work
        self._strategy = strategy if strategy in specialty.ladder else "balanced"
        rungs = tuple(specialty.ladder[self._strategy])
        # The last step of degradation: better a local engine's honest work than none, on whatever ladder.
        self._rungs = rungs if LOCAL in rungs or not specialty.has_local else (*rungs, LOCAL)
        self._asker = Asker(models=engines.models, now_ms=engines.now_ms, deadline_ms=deadline_ms)
        self._deadline_ms = deadline_ms
        self._needs: str | None = None
        self._failed: Error | None = None

    async def run(self) -> Outcome:
        """Local rungs run here, one by one; a stretch of model rungs is climbed as one."""
        waiting = list(self._rungs)
        while waiting:
            if waiting[0] == LOCAL:
                waiting.pop(0)
                ended = await self._try_local() if self._specialty.has_local else None
            else:
                cut = waiting.index(LOCAL) if LOCAL in waiting else len(waiting)
                stretch, waiting = waiting[:cut], waiting[cut:]
                ended = await self._try_models(stretch)
            if ended is not None:
                return ended
        return self._nothing_left()

    async def _try_local(self) -> Outcome | None:
        started = self._engines.now_ms()
        scope = asyncio.timeout(self._seconds_left())
        try:
            async with scope:
                output = await self._engines.in_thread(self._run_local)
        except NeedsModel as e:
            self._note("needs_model", str(e), started)
            self._needs = str(e)
            return None
        except BadInput as e:
            self._note("bad_input", str(e), started)
            return self._outcome(error=Error(kind="bad_input", message=str(e)), engine=LOCAL)
        except EngineLost as e:
            self._lost(str(e), started)
            return None
        except Exception as e:
            # An engine may be a user's code: its crash is this task's failure, not the worker's.
            if scope.expired():
                self._timed_out(started)
            else:
                log.exception("local engine crashed", specialty=self._specialty.name, task_id=self._work.task_id)
                self._engine_failed(f"{type(e).__name__}: {e}", started)
            return None
        wrong = faults(self._specialty.output_schema, output)
        if wrong:
            self._engine_failed(f"its output does not fit the specialty's record: {'; '.join(wrong)}", started)
            return None
        self._note("completed", None, started)
        return self._delivered(output, LOCAL, "no model needed")

    def _run_local(self) -> dict[str, Any]:
        try:
            return self._engines.local(self._specialty)(self._work)
        except StopIteration as e:  # asyncio cannot carry it out of the thread: the task would wait for ever
            raise RuntimeError("StopIteration: next() found nothing") from e

    def _timed_out(self, started: int) -> None:
        message = f"The local engine of {self._specialty.name} did not end before the deadline."
        self._note("timeout", message, started)
        self._failed = Error(kind="timeout", message=message, retryable=True)

    def _lost(self, message: str, started: int) -> None:
        self._note("engine_lost", message, started)
        self._failed = Error(kind="engine_lost", message=message, retryable=True)

    def _engine_failed(self, said: str, started: int) -> None:
        message = f"The local engine of {self._specialty.name} failed ({said[:400]}): mend {self._specialty.folder}."
        self._note("engine_failed", message, started)
        self._failed = Error(kind="engine_failed", message=message)

    async def _try_models(self, rungs: list[str]) -> Outcome | None:
        if not any(self._engines.models.choices(rung) for rung in rungs):
            return None
        try:
            call = await self._engines.in_thread(lambda: question_of(self._specialty, self._work))
        except BadInput as e:
            return self._outcome(error=Error(kind="bad_input", message=str(e)))
        except EngineLost as e:
            return self._outcome(error=Error(kind="engine_lost", message=str(e), retryable=True))
        schema = self._specialty.output_schema
        found = await self._asker.climb(rungs, call, lambda data: faults(schema, data))
        if isinstance(found, Found):
            return self._delivered(found.data, found.entry.engine, f"{found.entry.alias} model")
        if isinstance(found, ModelError):
            self._failed = Error(kind=found.kind, message=found.message, retryable=found.retryable)
        return None

    def _delivered(self, output: Mapping[str, Any], engine: str, note: str) -> Outcome:
        data = fitted(self._specialty.output_schema, output)
        said = data.get(self._specialty.text_field)
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        return replace(self._outcome(engine=engine), output=data, text=text, why=self._why(engine, note))

    def _why(self, engine: str, note: str) -> str:
        name = "local engine" if engine == LOCAL else engine
        passed = {a.engine: a.outcome for a in self._asker.ledger.attempts if a.engine != engine}
        if not passed and engine == LOCAL and self._rungs[0] != LOCAL:
            return f"{name}: no model of the {self._strategy} ladder is configured, {note}"
        if not passed:
            return f"{name}: first on the {self._strategy} ladder, {note}"
        before = ", ".join(f"{e} ({outcome})" for e, outcome in passed.items())
        return f"{name}: next on the {self._strategy} ladder after {before}, {note}"

    def _nothing_left(self) -> Outcome:
        if self._failed is not None:
            return self._outcome(error=self._failed)
        wanted = ", ".join(r for r in self._rungs if r != LOCAL)
        what = self._needs or f"The specialty {self._specialty.name} needs a model ({wanted or 'its ladder is empty'})."
        if not wanted:
            mend = f"Add small, middle or frontier to the {self._strategy} ladder of {self._specialty.folder}."
        else:
            mend = "Name a model for it in HOCKET_MODELS." if self._engines.models else SET_A_KEY
        return self._outcome(error=Error(kind="needs_model", message=f"{what} {mend}"))

    def _outcome(self, *, error: Error | None = None, engine: str | None = None) -> Outcome:
        ledger = self._asker.ledger
        return Outcome(error=error, usage=tuple(ledger.usage), attempts=tuple(ledger.attempts), engine=engine)

    def _note(self, outcome: str, message: str | None, started: int) -> None:
        self._asker.ledger.add(LOCAL, outcome, message, started, self._engines.now_ms())

    def _seconds_left(self) -> float | None:
        return None if self._deadline_ms is None else max(0.0, (self._deadline_ms - self._engines.now_ms()) / 1000)
