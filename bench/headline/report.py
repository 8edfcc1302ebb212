"""The tables."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import structlog

from bench.headline.simulate import Figures

COST_FLOOR, COST_GOAL = 0.35, 0.20
P95_FLOOR, P95_GOAL = 0.24, 0.18
CHEAP_FLOOR = 0.90
QUALITY_FLOOR = -0.01
FIRST_LINE = "simulated: no real model was asked; every assumption stands in bench/headline/assumptions.toml"
_HEAD = (
    f"{'system':34} {'$/request':>9} {'cost':>6} {'p50 s':>6} {'p95 s':>6} {'p99 s':>6} {'p95':>6} {'calls':>6} "
    f"{'small':>6} {'no fr.':>6} {'quality':>7} {'all ok':>6} {'failed':>6} {'levers':>8}"
)
LEGEND = (
    "cost and p95 in percent of the monolith's; small: share of calls to the small model;\n"
    "no fr.: share of calls not to the frontier; quality: share of right steps;\n"
    "all ok: requests without a wrong step; failed: requests without an answer"
)


def silent() -> None:
    """No logs between the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def line(f: Figures, base: Figures, levers: str) -> str:
    """One row."""
    return (
        f"{f.name:34} {f.usd:9.5f} {f.usd / base.usd:6.1%} {f.p50 / 1000:6.2f} {f.p95 / 1000:6.2f} {f.p99 / 1000:6.2f} "
        f"{f.p95 / base.p95:6.1%} {f.calls / f.requests:6.2f} {f.small_calls:6.1%} {f.below_frontier:6.1%} "
        f"{f.quality:7.2%} {f.flawless:6.1%} {f.unanswered:6} {levers:>8}"
    )


def head() -> str:
    """The rows' heading."""
    return _HEAD


def judged(f: Figures, base: Figures) -> list[str]:
    """Each published claim, what was reached, and the verdict."""
    said = [
        _less("cost of the monolith's", f.usd / base.usd, COST_FLOOR, COST_GOAL),
        _less("p95 of the monolith's", f.p95 / base.p95, P95_FLOOR, P95_GOAL),
    ]
    cheap = "floor reached" if f.small_calls >= CHEAP_FLOOR else "BELOW THE FLOOR"
    said.append(f"calls to the small model: {f.small_calls:.1%} of {f.calls} (floor {CHEAP_FLOOR:.0%}): {cheap}")
    gap = f.quality - base.quality
    good = "floor reached" if gap >= QUALITY_FLOOR else "BELOW THE FLOOR"
    said.append(f"quality against the monolith's: {100 * gap:+.2f} points (floor {100 * QUALITY_FLOOR:+.0f}): {good}")
    return said


def brought(full: Figures, others: Sequence[Figures], base: Figures) -> list[str]:
    """What each lever brings: every lever on against all but that one."""
    said = ["what each brings (every lever on, against the row):      cost        p95    quality"]
    for o in others:
        cost, p95, quality = (full.usd - o.usd) / base.usd, (full.p95 - o.p95) / base.p95, full.quality - o.quality
        said.append(f"{o.name:52} {100 * cost:+6.1f} pp {100 * p95:+7.1f} pp {100 * quality:+7.2f} pp")
    return said


def _less(what: str, reached: float, floor: float, goal: float) -> str:
    verdict = "goal reached" if reached <= goal else "floor reached" if reached <= floor else "FLOOR MISSED"
    return f"{what}: {reached:.1%} (floor {floor:.0%}, goal {goal:.0%}): {verdict}"


def short(name: str, f: Figures, base: Figures) -> str:
    """One row of the repeats: only what is claimed, a mark behind what misses its floor."""
    ratios = ((f.usd / base.usd, COST_FLOOR), (f.p95 / base.p95, P95_FLOOR))
    cells = [f"{value:6.1%}{' ' if value <= floor else '!'}" for value, floor in ratios]
    cells.append(f"{f.small_calls:6.1%}{' ' if f.small_calls >= CHEAP_FLOOR else '!'}")
    gap = f.quality - base.quality
    cells.append(f"{100 * gap:+6.2f}{' ' if gap >= QUALITY_FLOOR else '!'}")
    return f"{name:40} " + " ".join(cells)


def share(tasks: dict[str, float]) -> str:
    """Where tasks ended."""
    order: Sequence[str] = ("local", "cache", "small", "middle", "frontier", "failed")
    return ", ".join(f"{rung} {tasks[rung]:.1%}" for rung in order if rung in tasks)
