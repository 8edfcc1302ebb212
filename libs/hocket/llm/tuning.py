"""What an operator may set about calls to models; every field is an environment variable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hocket.core.breaker import Rules
from hocket.core.retry import SCHEDULE_MS, schedule_of
from hocket.llm.catalogue import CatalogueError
from hocket.llm.wire import STALL_MS


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Retries, patience, breakers and hedging; docs/howto/models.md explains each variable.

    `max_calls` bounds what one task may ask of models, repairs, retries and hedges included.
    """

    schedule_ms: tuple[int, ...] = SCHEDULE_MS
    patience_ms: int = 30_000
    stall_ms: int = STALL_MS
    hedge: float | None = None
    second_opinion: bool = True
    max_calls: int = 12
    rules: Rules = field(default_factory=Rules)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Tuning:
        """Raises CatalogueError that names the variable, the value and what may stand there."""
        try:
            schedule = schedule_of(env.get("HOCKET_RETRY_MS", ""))
        except ValueError as e:
            raise CatalogueError(f"HOCKET_RETRY_MS: {e}") from e
        hedge = _number(env, "HOCKET_HEDGE", 0.0, 0.0, 0.999)
        open_ms = int(_number(env, "HOCKET_BREAKER_OPEN_MS", 5_000, 1, 600_000))
        return cls(
            schedule_ms=schedule,
            patience_ms=int(_number(env, "HOCKET_PATIENCE_MS", 30_000, 1, 300_000)),
            stall_ms=int(_number(env, "HOCKET_STALL_MS", STALL_MS, 1, 300_000)),
            hedge=hedge or None,
            second_opinion=_number(env, "HOCKET_SECOND_OPINION", 1, 0, 1) > 0,
            max_calls=int(_number(env, "HOCKET_MAX_CALLS", 12, 1, 100)),
            rules=Rules(
                failures=int(_number(env, "HOCKET_BREAKER_FAILURES", 5, 1, 1_000)),
                open_ms=open_ms,
                max_open_ms=max(60_000, open_ms),
            ),
        )


def _number(env: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    said = env.get(name, "").strip()
    try:
        value = float(said) if said else default
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise CatalogueError(f"{name}: {said!r}: give a number from {least:g} to {most:g}")
    return value
