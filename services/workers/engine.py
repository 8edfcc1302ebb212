"""Runs one task: climbs the specialty's ladder from engine to engine until one delivers, and accounts for every try."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import structlog

from hocket.contracts.records import Attempt, Error, Usage
from hocket.contracts.specialties import Specialty
from hocket.core.precheck import look
from hocket.core.work import BadInput, EngineLost, NeedsModel, Work
from hocket.documents.language import language_of
from hocket.llm.asking import Asker, Found
from hocket.llm.base import ModelError, OnText
from hocket.llm.cache import Cached, ResultCache, key_of
from hocket.llm.gate import Gate, OpenGate
from hocket.llm.models import SET_A_KEY, Models
from hocket.llm.schemas import faults, fitted
from hocket.runtime import metrics
from services.workers.hooks import Hooks
from services.workers.question import Question, question_of

log = structlog.get_logger(__name__)
LOCAL = "local"
LOCAL_THREADS = max(2, os.cpu_count() or 2)


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
    cache_hits: int = 0


class Engines:
    """All engines of a worker process, loaded when first used. Safe for any number of tasks at once."""

    def __init__(self, models: Models | None, now_ms: Callable[[], int], *, cache: ResultCache | None = None) -> None:
        self.models = models if models is not None else Models(providers={}, entries=())
        self.now_ms = now_ms
        self.cache = cache if cache is not None else ResultCache()
        self._threads = ThreadPoolExecutor(LOCAL_THREADS, thread_name_prefix="engine")
        self.hooks = Hooks()

    async def run(
        self,
        specialty: Specialty,
        work: Work,
        *,
        strategy: str,
        deadline_ms: int | None,
        gate: Gate | None = None,
        on_text: OnText | None = None,
    ) -> Outcome:
        """Runs the task; every failure of an engine or a model is an Outcome with `error`, none is raised.

        `gate` guards every call to a model (budget, rate). `on_text` makes calls stream: it gets the readable text
        piece by piece, and an empty piece whenever a reply begins anew and what came before is void.
        A cancelled run ends its model call and its connection at once; a local engine's thread runs on to its end
        unheard, because Python cannot stop it.
        """
        asker = Asker(
            models=self.models,
            now_ms=self.now_ms,
            deadline_ms=deadline_ms,
            strategy=strategy if strategy in specialty.ladder else "balanced",
            floor=specialty.accept.quality,
            gate=gate or OpenGate(),
            on_text=on_text,
        )
        return await _Climb(self, specialty, work, asker).run()

    async def run_local(
        self, specialty: Specialty, work: Work, *, strategy: str, deadline_ms: int | None
    ) -> Outcome | None:
        """What the local engine alone delivers without any doubt; None when the task needs more than that, whatever it
        is, and nothing has been done then. Never calls a model, never raises."""
        if not specialty.has_local or strategy not in specialty.ladder:
            return None
        asker = Asker(models=self.models, now_ms=self.now_ms, deadline_ms=deadline_ms, strategy=strategy)
        found = await _Climb(self, specialty, work, asker).local_alone()
        return found if found is not None and found.error is None else None

    async def close(self) -> None:
        """Closes the providers' connections; local engines under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self.models.close()

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        """Runs blocking work in one of the engines' threads; waits for a free one."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class _Climb:
    """One task's way up the ladder."""

    def __init__(self, engines: Engines, specialty: Specialty, work: Work, asker: Asker) -> None:
        self._engines, self._specialty, self._work, self._asker = engines, specialty, work, asker
        self._strategy, self._deadline_ms = asker.strategy, asker.deadline_ms
        rungs = tuple(specialty.ladder[self._strategy])
        # The last step of degradation: better a local engine's honest work than none, on whatever ladder.
        self._rungs = rungs if LOCAL in rungs or not specialty.has_local else (*rungs, LOCAL)
        self._needs: str | None = None
        self._failed: Error | None = None
        self._kept: Outcome | None = None
        """Usable, but doubted, or less than was asked for: delivered when nothing better can be had."""

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
        if self._kept is None:
            return self._nothing_left()
        kept = replace(self._outcome(engine=self._kept.engine), output=self._kept.output, text=self._kept.text)
        return self._counted(replace(kept, why=f"{self._kept.why}; nothing better could be had"))

    async def local_alone(self) -> Outcome | None:
        """The local rung and no other."""
        return await self._try_local()

    async def _try_local(self) -> Outcome | None:
        started = self._engines.now_ms()
        scope = asyncio.timeout(self._seconds_left())
        try:
            async with scope:
                output, wrong = await self._engines.in_thread(self._run_local)
        except Exception as e:  # noqa: BLE001 - it may be a user's code: its crash is this task's failure, not ours
            return self._not_done(e, started, late=scope.expired())
        if wrong:
            self._engine_failed(f"its output does not fit the specialty's record: {'; '.join(wrong)}", started)
            return None
        if doubt := self._doubt(output):
            self._note("doubted", doubt, started)
            metrics.ESCALATED.labels(LOCAL, "doubted").inc()
            self._kept = self._delivered(output, LOCAL, doubt)
            return None
        self._note("completed", None, started)
        return self._counted(self._delivered(output, LOCAL, "no model needed"))

    def _not_done(self, error: Exception, started: int, *, late: bool) -> Outcome | None:
        """What the local engine's error means: an end only when the input is bad, else the next rung's turn."""
        if isinstance(error, BadInput):
            self._note("bad_input", str(error), started)
            return self._outcome(error=Error(kind="bad_input", message=str(error)), engine=LOCAL)
        if isinstance(error, NeedsModel):
            self._note("needs_model", str(error), started)
            self._needs = str(error)
            if error.instead is not None and self._kept is None:
                self._kept = self._delivered(error.instead, LOCAL, f"a lesser result ({error})")
        elif isinstance(error, EngineLost):
            self._lost(str(error), started)
        elif late:
            self._timed_out(started)
        else:
            log.error(
                "local engine crashed", specialty=self._specialty.name, task_id=self._work.task_id, exc_info=error
            )
            self._engine_failed(f"{type(error).__name__}: {error}", started)
        return None

    def _run_local(self) -> tuple[dict[str, Any], list[str]]:
        try:
            output = self._engines.hooks.engine(self._specialty)(self._work)
            return output, self._faults(output)
        except NeedsModel as e:
            if e.instead is not None and (wrong := self._faults(dict(e.instead))):
                raise ValueError(f"what it gives instead does not fit the record: {'; '.join(wrong)}") from e
            raise
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

    def _faults(self, output: dict[str, Any]) -> list[str]:
        """What keeps the output from being used: its record's shape, then the specialty's own judgement."""
        wrong = faults(self._specialty.output_schema, output)
        return wrong or self._engines.hooks.checks(self._specialty).accept(self._work, output)

    def _doubt(self, output: Mapping[str, Any]) -> str | None:
        accept = self._specialty.accept
        said = output.get(accept.field)
        if isinstance(said, bool) or not isinstance(said, int | float) or said >= accept.least:
            return None
        return f"{accept.field} {said:g} is below {accept.least:g}"

    async def _try_models(self, rungs: list[str]) -> Outcome | None:
        if not any(self._engines.models.choices(rung) for rung in rungs):
            return None
        started = self._engines.now_ms()
        key = await self._cache_key()
        if key is not None and (hit := await self._cached(key, started)) is not None:
            return hit
        try:
            question = await self._engines.in_thread(self._question)
        except Exception as e:  # noqa: BLE001 - the hooks may be a user's code
            return self._not_asked(e, started)
        if stopped := self._looked_at(question):
            self._note(stopped.kind, stopped.message, started)
            self._failed = stopped
            return None
        return await self._ask(rungs, question, key)

    def _not_asked(self, error: Exception, started: int) -> Outcome | None:
        if isinstance(error, BadInput):
            refused = Error(kind="bad_input", message=str(error))
            return self._outcome(error=refused) if self._kept is None else None
        if isinstance(error, EngineLost):
            self._lost(str(error), started)
        else:
            log.error("check crashed", specialty=self._specialty.name, task_id=self._work.task_id, exc_info=error)
            self._engine_failed(f"check.py: {type(error).__name__}: {error}", started)
        return None

    async def _ask(self, rungs: list[str], question: Question, key: str | None) -> Outcome | None:
        found = await self._asker.climb(rungs, question.call, self._judged, doubt=self._doubt)
        if isinstance(found, ModelError):
            self._failed = Error(kind=found.kind, message=found.message, retryable=found.retryable)
        if not isinstance(found, Found):
            return None
        outcome = self._delivered(found.data, found.entry.engine, found.doubt or found.why)
        if found.doubt is not None:
            self._kept = outcome
            return None
        if key is not None and outcome.output is not None and not found.fallback:
            until = self._engines.now_ms() + 1000 * self._specialty.cache_seconds
            entry = Cached(engine=found.entry.engine, output=outcome.output, until_ms=until)
            await self._remember(key, entry)
        return self._counted(outcome, found.entry.alias)

    def _judged(self, output: dict[str, Any]) -> list[str]:
        try:
            return self._faults(output)
        except Exception as e:  # the hooks may be a user's code
            log.exception("specialty's check crashed", specialty=self._specialty.name, task_id=self._work.task_id)
            return [f"check.py of the specialty failed on it: {type(e).__name__}: {e}"]

    def _question(self) -> Question:
        """Raises BadInput, also for what the specialty's own check says."""
        if said := self._engines.hooks.checks(self._specialty).before(self._work):
            raise BadInput(said)
        return question_of(self._specialty, self._work)

    def _looked_at(self, question: Question) -> Error | None:
        """Why the question must not be asked of any model; what was only noticed is counted."""
        pictures = bool(question.call.images)
        found = look(self._specialty.rules, question.texts, has_pictures=pictures, language_of=language_of)
        for finding in found:
            metrics.PRECHECKS.labels(self._specialty.name, finding.check).inc()
        stops = [f for f in found if not f.only_noted]
        if not stops:
            return None
        kind = "bad_input" if stops[0].check in ("input", "size") else f"{stops[0].check}_kept"
        return Error(kind=kind, message=stops[0].message)

    async def _cache_key(self) -> str | None:
        if not self._specialty.cache_seconds:
            return None
        version = self._specialty.version
        key: str = await self._engines.in_thread(lambda: key_of(version, self._strategy, self._work))
        return key

    async def _cached(self, key: str, started: int) -> Outcome | None:
        hit = await self._engines.in_thread(lambda: self._engines.cache.get(key, started))
        usable = hit is not None and not faults(self._specialty.output_schema, hit.output)
        metrics.CACHE_LOOKUPS.labels(self._specialty.name, "hit" if usable else "miss").inc()
        if not usable:
            return None
        self._asker.ledger.add("cache", "completed", None, started, self._engines.now_ms())
        said = f"same input and prompt version {self._specialty.version}, no call needed"
        return self._counted(replace(self._delivered(hit.output, hit.engine, said, of="cache"), cache_hits=1), "cache")

    async def _remember(self, key: str, entry: Cached) -> None:
        try:
            await self._engines.in_thread(lambda: self._engines.cache.put(key, entry))
        except OSError as e:
            log.warning("result cache cannot be written: check HOCKET_RESULT_CACHE", error=str(e))

    def _counted(self, outcome: Outcome, rung: str = LOCAL) -> Outcome:
        metrics.RUNGS.labels(self._specialty.name, rung).inc()
        return outcome

    def _delivered(self, output: Mapping[str, Any], engine: str, note: str, of: str = "") -> Outcome:
        data = fitted(self._specialty.output_schema, output)
        said = data.get(self._specialty.text_field)
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        why = f"{engine}, from the result cache: {note}" if of else self._why(engine, note)
        return replace(self._outcome(engine=engine), output=data, text=text, why=why)

    def _why(self, engine: str, note: str) -> str:
        name = "local engine" if engine == LOCAL else engine
        passed = {a.engine: a.outcome for a in self._asker.ledger.attempts if a.engine != engine}
        over = f"; passed over: {', '.join(self._asker.passed)}" if self._asker.passed and engine != LOCAL else ""
        if not passed and engine == LOCAL and self._rungs[0] != LOCAL:
            return f"{name}: no model of the {self._strategy} ladder is configured, {note}"
        if not passed:
            return f"{name}: first on the {self._strategy} ladder, {note}{over}"
        before = ", ".join(f"{e} ({outcome})" for e, outcome in passed.items())
        return f"{name}: next on the {self._strategy} ladder after {before}, {note}{over}"

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
