"""The monitor's faust app takes every setting that the other services take."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hocket.runtime.settings import Settings
from services.monitor.app import MAX_SESSION_S, _faust_app, session_s


@pytest.mark.parametrize("millis", [6_000, 30_000, 30_001, 180_000])
def test_faust_starts_with_any_session_timeout(millis: int) -> None:
    conf = _faust_app(Settings(session_timeout_ms=millis), 1).conf
    assert conf.broker_session_timeout <= conf.broker_request_timeout, "faust refuses anything else"
    assert conf.broker_heartbeat_interval < conf.broker_session_timeout


def test_a_dead_monitor_is_not_waited_for_longer_than_its_successor_may_take_to_start() -> None:
    assert session_s(Settings(session_timeout_ms=6_000)) == 6.0
    assert session_s(Settings(session_timeout_ms=600_000)) == MAX_SESSION_S


def test_replay_wants_a_token() -> None:
    with pytest.raises(ValidationError, match="HOCKET_MONITOR_TOKEN"):
        Settings(monitor_replay=True)
