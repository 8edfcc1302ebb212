"""When a model is left alone: a circuit breaker with half-open probes, and the rests that providers ask for. Pure.

| state | event | then |
|---|---|---|
| closed | `failures` failures in a row and no fewer than calls are out, or one that blocks (quota, key) | open |
| open | a call begins after `until_ms` | half_open, that call is the probe |
| half_open | the probe succeeds | closed |
| half_open | the probe fails | open, twice as long, `max_open_ms` at most |
| half_open | the probe is given up | half_open, another may probe |

Failures come faster than replies: of a hundred calls that begin together, one in five failing, the first twenty to end
have all failed. So as long as more calls are out than have failed in a row, these may still say that it works.

Calls that began before the last change of state are not heard: what they say is old. A rest (Retry-After) holds in
every state, and old calls may lengthen it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

State = Literal["closed", "open", "half_open"]
Ending = Literal["succeeded", "failed", "blocked", "given_up"]
"""How a call ended, for its model's availability. `blocked`: no later call can succeed until somebody acts."""
MAX_REST_MS = 3_600_000
"""No provider's word stops a model for longer than an hour."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a breaker opens, and for how long."""

    failures: int = 5
    open_ms: int = 5_000
    max_open_ms: int = 60_000

    def __post_init__(self) -> None:
        """ValueError for rules by which a breaker could never open or never close."""
        if self.failures < 1 or not 0 < self.open_ms <= self.max_open_ms:
            raise ValueError("failures must be at least 1, and 0 < open_ms <= max_open_ms")


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """What is known about one model's availability. `era` counts the changes of state; `out` are the calls that began
    in this one, closed, and have not ended."""

    state: State = "closed"
    era: int = 0
    failures: int = 0
    out: int = 0
    until_ms: int = 0
    open_ms: int = 0
    probing: bool = False
    rest_until_ms: int = 0


def free_at(breaker: Breaker, now_ms: int) -> int | None:
    """From when on a call may begin (not before now); None while a probe is out and nobody can say."""
    if breaker.probing:
        return None
    held = breaker.until_ms if breaker.state == "open" else 0
    return max(now_ms, held, breaker.rest_until_ms)


def admits(breaker: Breaker, now_ms: int) -> bool:
    """Whether a call may begin now."""
    return free_at(breaker, now_ms) == now_ms


def begun(breaker: Breaker, now_ms: int) -> Breaker:
    """After a call began. ValueError if none may."""
    if not admits(breaker, now_ms):
        raise ValueError(f"no call may begin at {now_ms}: {breaker}")
    if breaker.state == "closed":
        return replace(breaker, out=breaker.out + 1)
    era = breaker.era + (breaker.state == "open")
    return replace(breaker, state="half_open", era=era, probing=True)


def ended(breaker: Breaker, ending: Ending, *, era: int, now_ms: int, rules: Rules) -> Breaker:
    """After a call ended that began in the era given."""
    if era != breaker.era:
        return breaker
    out = max(0, breaker.out - 1)
    if ending == "given_up":
        return replace(breaker, probing=False, out=out)
    if ending == "succeeded":
        return replace(
            breaker, state="closed", era=era + (breaker.state != "closed"), failures=0, probing=False, out=out
        )
    failures = breaker.failures + 1
    if breaker.state == "closed" and ending == "failed" and failures < max(rules.failures, out):
        return replace(breaker, failures=failures, out=out)
    longest = rules.max_open_ms
    wait = longest if ending == "blocked" else min(longest, 2 * breaker.open_ms) if breaker.probing else rules.open_ms
    return replace(
        breaker,
        state="open",
        era=era + 1,
        failures=failures,
        until_ms=now_ms + wait,
        open_ms=wait,
        probing=False,
        out=0,
    )


def rested(breaker: Breaker, retry_after_ms: int, now_ms: int) -> Breaker:
    """After the provider asked to be left alone for so long; a shorter rest does not end a longer one."""
    until = now_ms + min(retry_after_ms, MAX_REST_MS)
    return replace(breaker, rest_until_ms=max(breaker.rest_until_ms, until))
