"""What this process has learned of each model: how long its calls take, and whether it can be had now."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from hocket.core import breaker
from hocket.core.breaker import Breaker, Ending, Rules
from hocket.core.pace import Pace
from hocket.runtime import metrics, tracing

log = structlog.get_logger(__name__)
HALF_LIFE = 50
"""Calls after which what was learned weighs half: a provider that slows down is believed within a minute or so."""
MAX_FRAMES = 1_000
"""Frames of calls (models times specialties and their versions) whose size is remembered."""
_LEVEL = {"closed": 0, "half_open": 1, "open": 2}


@dataclass(kw_only=True)
class Vitals:
    """Shared by all tasks of a process, on one event loop; holds as many models as the catalogue names."""

    rules: Rules = field(default_factory=Rules)
    _breakers: dict[str, Breaker] = field(default_factory=dict)
    _paces: dict[str, Pace] = field(default_factory=dict)
    _frames: dict[tuple[str, str], int] = field(default_factory=dict)

    def breaker(self, engine: str) -> Breaker:
        """The model's breaker as it stands."""
        return self._breakers.get(engine) or Breaker()

    def pace(self, engine: str) -> Pace:
        """The model's learned times."""
        return self._paces.setdefault(engine, Pace(half_life=HALF_LIFE))

    def free_at(self, engine: str, now_ms: int) -> int | None:
        """From when on it may be called; None while a probe is out."""
        return breaker.free_at(self.breaker(engine), now_ms)

    def admits(self, engine: str, now_ms: int) -> bool:
        """Whether it may be called now."""
        return breaker.admits(self.breaker(engine), now_ms)

    def begin(self, engine: str, now_ms: int) -> int:
        """Notes that a call begins; the number that `end` wants. Raises ValueError if none may."""
        self._set(engine, breaker.begun(self.breaker(engine), now_ms))
        return self.breaker(engine).era

    def end(self, engine: str, ending: Ending, *, era: int, now_ms: int, retry_after_ms: int | None = None) -> None:
        """Notes how a call ended; `retry_after_ms` is what the provider asked for, and holds for all tasks."""
        after = breaker.ended(self.breaker(engine), ending, era=era, now_ms=now_ms, rules=self.rules)
        self._set(engine, after if retry_after_ms is None else breaker.rested(after, retry_after_ms, now_ms))

    def took(self, engine: str, millis: int) -> None:
        """Notes the duration of a call that ended by itself."""
        self.pace(engine).note(millis)
        metrics.CALL_SECONDS.labels(engine).observe(millis / 1000, tracing.exemplar())

    def seen(self, engine: str, frame: str) -> int | None:
        """The fewest input tokens that the model billed for a call with this frame; None before the first one."""
        return self._frames.get((engine, frame))

    def billed(self, engine: str, frame: str, input_tokens: int) -> None:
        """Notes the input tokens of a call that ended well, all of them: cached ones too."""
        key = (engine, frame)
        if input_tokens > 0 and (key in self._frames or len(self._frames) < MAX_FRAMES):
            self._frames[key] = min(input_tokens, self._frames.get(key, input_tokens))

    def _set(self, engine: str, after: Breaker) -> None:
        before = self.breaker(engine)
        self._breakers[engine] = after
        if after.state != before.state:
            metrics.BREAKER.labels(engine).set(_LEVEL[after.state])
            metrics.BREAKER_CHANGES.labels(engine, after.state).inc()
            log.warning("model availability changed", engine=engine, breaker=after.state, failures=after.failures)
