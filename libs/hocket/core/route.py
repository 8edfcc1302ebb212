"""Which model is asked next: up the ladder after a rejected reply; sideways, down, then up for one that is away. Pure.

Only the rungs of the specialty's ladder are used. Where the climb stands is the first rung on the ladder whose reply
was not rejected. From there the order is: the models of that rung, the lower rungs of the ladder from the nearest down,
the higher ones from the nearest up.

A model is passed over if it failed this task, its breaker or a rest holds it back, its quality is below the floor, the
input is longer than its context, its price exceeds what is left (or is unknown while a limit holds), or if even its
fast calls would end too late. Those that would probably end too late come after all others.

The last rung that is left, when the models before it are away, and a model that will probably end too late are asked
as a fallback: for a quick reply, possibly less detailed.

Among the models of one rung the provider that is preferred comes first, unless the strategy knows better: `fast` takes
one that is learned to be clearly faster, `best` one of higher quality.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

RANK = {"small": 0, "middle": 1, "frontier": 2}
CLEARLY = 0.8
"""A model counts as faster than another below this share of its time: less is noise, and the choice would flutter."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model as the router sees it, in order of preference. `fast_ms` and `typical_ms` are learned quantiles.

    Without enough calls to learn from, `fast_ms` is None and `typical_ms` is the catalogue's word. `cost_usd` is the
    upper bound of the call's price, None if unknown.
    """

    engine: str
    rung: str
    quality: int
    typical_ms: float
    fast_ms: float | None = None
    free_at_ms: int | None
    cost_usd: float | None = None
    holds: bool = True
    """Whether the call may fit into its context."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the choice must keep to. None means no limit."""

    strategy: str = "balanced"
    floor: int = 1
    now_ms: int
    deadline_ms: int | None = None
    left_usd: float | None = None


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The model to ask now; or None, and when the first one is free again (None: never for this task)."""

    engine: str | None = None
    why: str = ""
    free_at_ms: int | None = None
    passed: tuple[str, ...] = ()
    """Why others were passed over."""
    short: bool = False
    """Whether one was passed over for its price."""
    long: bool = False
    """Whether one was passed over for its context."""
    fallback: str = ""
    """Why the model should be asked for a quick reply, possibly less detailed; empty when it should not."""


def pick(
    candidates: Sequence[Candidate],
    ladder: Sequence[str],
    limits: Limits,
    *,
    rejected: Collection[str] = (),
    lost: Collection[str] = (),
) -> Pick:
    """The next model; `rejected` names the rungs whose reply was not good enough, `lost` the models that failed."""
    order = in_order(ladder, rejected)
    fit: list[Candidate] = []
    passed: list[str] = []
    waits: list[int] = []
    away: list[Candidate] = []
    short = long = False
    for c in candidates:
        if c.rung not in order or c.engine in lost:
            away += [c] if c.rung in order else []
            continue
        objection = _objection(c, limits)
        if objection:
            passed.append(f"{c.engine} ({objection})")
            short = short or _too_dear(c, limits) != ""
            long = long or not c.holds
        elif c.free_at_ms is None or c.free_at_ms > limits.now_ms:
            passed.append(f"{c.engine} (left alone after failures)")
            away.append(c)
            # While a probe is out, somebody will know soon.
            waits.append(limits.now_ms + 100 if c.free_at_ms is None else c.free_at_ms)
        else:
            fit.append(c)
    if not fit:
        return Pick(free_at_ms=min(waits, default=None), passed=tuple(passed), short=short, long=long)
    place = {rung: n for n, rung in enumerate(order)}
    first = min(place[c.rung] for c in fit)
    chosen = min(fit, key=lambda c: (_late(c, limits), place[c.rung], _taste(c, fit, limits.strategy)))
    why = _why(chosen, limits, place[chosen.rung] > first)
    fallback = "little time is left" if _late(chosen, limits) else ""
    if chosen.rung == order[-1] and any(place[c.rung] < place[chosen.rung] for c in away):
        fallback = "the last models that are left"
    return Pick(engine=chosen.engine, why=why, passed=tuple(passed), fallback=fallback)


def in_order(ladder: Sequence[str], rejected: Collection[str]) -> tuple[str, ...]:
    """The ladder's rungs that are still worth asking, in the order in which a lost model is replaced."""
    left = [rung for rung in ladder if rung not in rejected and rung in RANK]
    if not left:
        return ()
    start = RANK[left[0]]
    below = sorted((r for r in left[1:] if RANK[r] < start), key=lambda r: -RANK[r])
    above = sorted((r for r in left[1:] if RANK[r] > start), key=lambda r: RANK[r])
    return tuple(dict.fromkeys((left[0], *below, *above)))


def _objection(c: Candidate, limits: Limits) -> str:
    if c.quality < limits.floor:
        return f"quality {c.quality} is below {limits.floor}"
    if not c.holds:
        return "the input is longer than its context"
    if dear := _too_dear(c, limits):
        return dear
    if limits.deadline_ms is not None and c.fast_ms is not None and limits.now_ms + c.fast_ms > limits.deadline_ms:
        return "too slow for the time left"
    return ""


def _too_dear(c: Candidate, limits: Limits) -> str:
    if limits.left_usd is None:
        return ""
    if c.cost_usd is None:
        return "its price is unknown, and the budget is limited"
    return f"up to ${c.cost_usd:.4f}, ${limits.left_usd:.4f} left" if c.cost_usd > limits.left_usd else ""


def _late(c: Candidate, limits: Limits) -> bool:
    return limits.deadline_ms is not None and limits.now_ms + c.typical_ms > limits.deadline_ms


def _taste(c: Candidate, fit: Sequence[Candidate], strategy: str) -> float:
    """Smaller is better; equal leaves it to the order of preference."""
    if strategy == "best":
        return -c.quality
    fastest = min(o.typical_ms for o in fit if o.rung == c.rung)
    if strategy == "fast" and c.fast_ms is not None and fastest < CLEARLY * c.typical_ms:
        return 1
    return 0


def _why(c: Candidate, limits: Limits, moved: bool) -> str:
    said = [f"{c.rung} model", f"{'learned' if c.fast_ms is not None else 'expected'} {c.typical_ms / 1000:.1f} s"]
    if limits.left_usd is not None and c.cost_usd is not None:
        said.append(f"at most ${c.cost_usd:.4f}")
    if moved:
        said.append("the rung before would be too slow")
    return ", ".join(said)
