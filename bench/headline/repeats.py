"""The figures once more, each input at half and at one and a half times, and on other workloads."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from bench.headline import report
from bench.headline.oracle import BenchHooks, warm
from bench.headline.simulate import Figures, simulate
from bench.headline.systems import System, specialties_for
from bench.headline.workload import Asked, workload
from bench.headline.world import RUNGS, World
from hocket.llm.catalogue import Entry

INPUTS = (
    "latency of all models",
    *(f"latency of {rung}" for rung in RUNGS),
    *(f"price of {rung}" for rung in RUNGS),
    *(f"errors of {rung}" for rung in RUNGS),
    "errors of local",
    "length of replies",
    *(f"workload.known.{shape}" for shape in ("invoice", "review", "sales", "dossier")),
    *(f"workload.{name}" for name in ("open_share", "repeat_share", "per_day")),
    *(f"latency.{name}" for name in ("fixed_share", "sigma", "stall_share", "stall_factor", "local_ms", "hop_ms")),
    *(f"errors.{name}" for name in ("rate", "after_ms", "retry_after_ms")),
    *(f"check.{name}" for name in ("false_accept", "false_reject")),
    "quality.alike",
    "prompt_cache.seconds",
)
"""Every number in assumptions.toml, those of one meaning together; World.changed knows the names."""
FACTORS = (0.5, 1.5)
OPEN_SHARES = (0.0, 0.02, 0.10, 1.0)
SEEDS = (1, 2, 3)
Job = tuple[str, World, Sequence[Asked], Sequence[Entry]]


def repeats(world: World, base: System, full: System, *, requests: int, at_ms: int, only: str = "*") -> None:
    """Prints a line for each input (those that fit `only`, with shell wildcards); then which missed a floor."""
    print(f"\nrepeats; ! misses its floor; {requests} requests each unless said otherwise")
    print(f"{'':40} {'cost':>6}  {'p95':>6}  {'small':>6}  {'quality':>7}")
    missed, number = list[str](), 0
    for name, figures in _both(list(_jobs(world, requests, at_ms, only)), base, full):
        line = report.short(name, figures[1], figures[0])
        print(line, flush=True)
        number += 1
        missed += [name] if "!" in line else []
    print(
        f"{number - len(missed)} of {number} repeats keep every floor; not: {', '.join(missed) or 'none'}", flush=True
    )


def _jobs(world: World, requests: int, at_ms: int, only: str) -> Iterator[Job]:
    made = dict[str, tuple[Asked, ...]]()
    for name, changed in _worlds(world, requests):
        if fnmatch.fnmatch(name, only):
            key = repr(changed["workload"])
            if key not in made:
                made[key] = workload(changed)
            yield name, changed, made[key], changed.entries(at_ms)


def _worlds(world: World, requests: int) -> Iterator[tuple[str, World]]:
    for seed in SEEDS:
        other = world.with_workload(seed=seed)
        yield f"seed {seed}, {other['workload']['requests']} requests", other
    short = world.with_workload(requests=requests)
    yield "as assumed", short
    for what in INPUTS:
        for factor in FACTORS:
            yield f"{what} x {factor:g}", short.changed(what, factor)
    for share in OPEN_SHARES:
        yield f"{share:.0%} open requests", short.with_workload(open_share=share)


def _both(jobs: Sequence[Job], base: System, full: System) -> Iterator[tuple[str, tuple[Figures, Figures]]]:
    for _, world, asked, _ in jobs[:1]:
        warmed(world, full, asked)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = [(name, [pool.submit(one, w, s, a, e) for s in (base, full)]) for name, w, a, e in jobs]
        for name, (first, second) in found:
            yield name, (first.result(), second.result())


def warmed(world: World, system: System, asked: Sequence[Asked]) -> None:
    """Processes that are forked after this know what local engines gave here."""
    steps = {s.case: s for a in asked for s in a.steps}
    warm(BenchHooks(world, steps, checking=False), specialties_for(system), steps.values())


def one(world: World, system: System, asked: Sequence[Asked], entries: Sequence[Entry]) -> Figures:
    """One system's figures, in a process of its own: virtual time is not disturbed."""
    report.silent()
    return simulate(world, system, asked, entries).figures
