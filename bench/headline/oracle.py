"""Whether an output is right, for the score; and the check in front of acceptance, which knows less and errs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bench.headline.provider import case_of, mark_of
from bench.headline.workload import Step
from bench.headline.world import World
from bench.invoices import misses
from hocket.contracts.specialties import Specialty
from hocket.core.work import Input, NeedsModel, Work
from hocket.llm.cache import key_of
from services.workers.hooks import Checks, Hooks, Run

_MEMO: dict[str, dict[str, Any] | str] = {}
"""What local engines really gave, by their input: they are deterministic, so one run is enough for all systems."""


def verdict(world: World, step: Step, output: Mapping[str, Any]) -> tuple[str, bool]:
    """Who gave the output, and whether it is right."""
    marked = mark_of(step.case, output)
    if marked is not None:
        return marked
    return "local", _is_true(world, step, output)


def _is_true(world: World, step: Step, output: Mapping[str, Any]) -> bool:
    """Of a local engine: held against what is true where a program can know it, else drawn by the assumed share."""
    match step.kind:
        case "extraction":
            return not misses(step.truth, dict(output))
        case "analysis" if step.truth is not None:
            sums = [c["total"] for t in output["tables"] for c in t["columns"] if c["name"] == "amount"]
            return len(sums) == 1 and abs(sums[0] - step.truth) < 0.005
        case "sentiment":
            return bool(output["label"] == step.truth[1])
        case "synthesis":
            return not step.scored or world.dice("joined", step.case) < world["local"]["joined"]
    return bool(world.dice("local", step.case) < world["local"][step.kind])


def warm(hooks: BenchHooks, specialties: Mapping[str, Specialty], steps: Iterable[Step]) -> None:
    """Runs the local engines that read documents beforehand: a run on a real clock then charges their assumed time."""
    for step in steps:
        if step.kind in ("extraction", "analysis") and "local" in specialties[step.kind].ladder["balanced"]:
            work = work_of(step, ())
            with contextlib.suppress(NeedsModel):
                hooks.engine(specialties[step.kind])(work)


def work_of(step: Step, inputs: tuple[Input, ...]) -> Work:
    """The step as a worker gets it."""
    return Work(
        task_id=step.task_id,
        specialty=step.kind,
        instruction=step.instruction,
        text=step.text,
        documents=step.documents,
        inputs=inputs,
        options=step.options,
    )


class BenchHooks(Hooks):
    """The workers' hooks: the real local engines, each case computed once; as `check.py`, the check that errs."""

    def __init__(self, world: World, steps: Mapping[str, Step], *, checking: bool) -> None:
        super().__init__()
        self._world, self._by_case, self._checking = world, steps, checking

    def engine(self, specialty: Specialty) -> Run:
        """The local engine, remembered."""
        real = super().engine(specialty)

        def run(work: Work) -> dict[str, Any]:
            _, kind = case_of(work.instruction)
            if kind == "synthesis":
                return real(work)
            key = key_of("", "", replace(work, inputs=()))
            if key not in _MEMO:
                try:
                    _MEMO[key] = real(work)
                except NeedsModel as e:
                    _MEMO[key] = str(e)
            found = _MEMO[key]
            if isinstance(found, str):
                raise NeedsModel(found)
            return found

        return run

    def checks(self, specialty: Specialty) -> Checks:  # noqa: ARG002 - one check for all kinds
        """The erring check."""
        return Checks(accept=self._accept) if self._checking else Checks()

    def _accept(self, work: Work, output: dict[str, Any]) -> list[str]:
        step = self._by_case[case_of(work.instruction)[0]]
        if not step.scored:
            return []
        source, right = verdict(self._world, step, output)
        return ["it does not stand up to the check"] if self._world.objects(step.case, source, right=right) else []
