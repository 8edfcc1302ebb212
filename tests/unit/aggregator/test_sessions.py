"""A session: never two holders, bounded, forgotten on time, whatever the order of commands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import AccountCommand, Grant
from services.aggregator import sessions
from services.aggregator.remembering import MalformedCommand
from services.aggregator.sessions import KEPT_BYTES, MAX_WAITING, MEMORY, Session

ACCOUNT = "session/t/s"


def command(asker: str, action: str, number: int = 0, **detail: Any) -> AccountCommand:
    return AccountCommand(
        account_id=ACCOUNT,
        asker=asker,
        command_id=f"{asker}/{action}/{number}",
        action=action,
        detail=json.dumps(detail),
        at=0,
    )


def after(*steps: tuple[AccountCommand, int]) -> tuple[Session | None, list[Grant]]:
    """The session after commands at times, and the grants of the last one."""
    session: Session | None = None
    grants: list[Grant] = []
    for asked, now in steps:
        session, grants = sessions.step(session, asked, now)
    return session, grants


def context(grant: Grant) -> Any:
    return json.loads(grant.detail)["context"]


def test_a_request_finds_what_the_one_before_left() -> None:
    _, [grant] = after(
        (command("r1", "open"), 1),
        (command("r1", "close", results={"research": "found"}, constants={"name": "Ada"}), 2),
        (command("r2", "open"), 3),
    )
    assert (grant.asker, grant.granted, grant.expires_at) == ("r2", True, 3 + 3_600_000)
    assert context(grant) == {"results": {"research": "found"}, "constants": {"name": "Ada"}}


def test_a_busy_session_refuses() -> None:
    session, [grant] = after((command("r1", "open"), 1), (command("r2", "open", on_busy="reject"), 2))
    assert (grant.asker, grant.granted) == ("r2", False)
    assert "request r1 uses the session" in json.loads(grant.detail)["reason"]
    assert session is not None
    assert session.holder is not None
    assert session.holder.asker == "r1"


def test_a_busy_session_lets_wait_and_grants_when_it_is_free() -> None:
    _, nothing = after((command("r1", "open"), 1), (command("r2", "open", on_busy="enqueue"), 2))
    assert nothing == []
    _, [grant] = after(
        (command("r1", "open"), 1),
        (command("r2", "open", on_busy="enqueue"), 2),
        (command("r1", "close", results={"code": "x"}), 5),
    )
    assert (grant.asker, grant.command_id, grant.granted) == ("r2", "r2/open/0", True)
    assert context(grant)["results"] == {"code": "x"}


def test_a_busy_session_is_taken_over_and_its_holder_hears_of_it() -> None:
    session, [revoked, grant] = after((command("r1", "open"), 1), (command("r2", "open", on_busy="replace"), 2))
    assert (revoked.asker, revoked.granted, json.loads(revoked.detail)["revoked"]) == ("r1", False, True)
    assert (grant.asker, grant.granted) == ("r2", True)
    assert session is not None
    kept, none = sessions.step(session, command("r1", "close", results={"late": "x"}), 3)
    assert (kept, none) == (session, [])


def test_a_holder_that_never_closes_loses_the_session_at_its_deadline() -> None:
    opened = (command("r1", "open", deadline=1_000), 1)
    waiting = (command("r2", "open", on_busy="enqueue"), 2)
    session, _ = after(opened, waiting)
    assert session is not None
    assert sessions.due(session) == 1_000
    _, [grant] = after(opened, waiting, (command("", "tick"), 1_000))
    assert (grant.asker, grant.granted) == ("r2", True)


def test_one_that_waits_too_long_hears_so() -> None:
    opened, waiting = (command("r1", "open"), 1), (command("r2", "open", on_busy="enqueue", deadline=50), 2)
    session, [refused] = after(opened, waiting, (command("", "tick"), 50))
    assert (refused.asker, refused.granted) == ("r2", False)
    assert session is not None
    assert session.waiting == ()


def test_an_idle_session_is_forgotten_on_time_and_not_before() -> None:
    used = [(command("r1", "open", ttl_seconds=10), 0), (command("r1", "close", results={"a": "b"}), 5_000)]
    session, _ = after(*used)
    assert session is not None
    assert sessions.due(session) == 15_000
    assert after(*used, (command("", "tick"), 14_999))[0] == session
    assert after(*used, (command("", "tick"), 15_000))[0] is None
    _, [grant] = after(*used, (command("r2", "open"), 15_000))
    assert context(grant)["results"] == {}


def test_a_repeated_open_holds_nothing_again() -> None:
    again, closed = (command("r1", "open"), 9), (command("r1", "close"), 5)
    opened, [first] = after((command("r1", "open"), 1))
    assert after((command("r1", "open"), 1), again) == (opened, [first])
    session, [answer] = after((command("r1", "open"), 1), closed, again)
    assert session is not None
    assert session.holder is None
    assert (answer.granted, answer.expires_at, answer.at) == (True, first.expires_at, 1)


def test_the_oldest_results_go_when_there_are_too_many() -> None:
    steps: list[tuple[AccountCommand, int]] = []
    for n in range(5):
        steps += [(command(f"r{n}", "open"), 2 * n)]
        steps += [(command(f"r{n}", "close", results={f"s{n}": "é" * 5_000}), 2 * n + 1)]
    session, _ = after(*steps)
    assert session is not None
    assert list(session.results) == ["s2", "s3", "s4"]


def test_one_result_that_is_too_large_keeps_its_beginning() -> None:
    session, _ = after((command("r", "open"), 1), (command("r", "close", results={"s": "é" * 40_000}), 2))
    assert session is not None
    size = len(session.results["s"].encode())
    assert KEPT_BYTES - 3 <= size <= KEPT_BYTES
    assert set(session.results["s"]) == {"é"}


@pytest.mark.parametrize(
    "asked", [command("r", "lease"), command("r", "open", on_busy="maybe"), command("r", "close", x=1)]
)
def test_what_cannot_be_understood_is_refused(asked: AccountCommand) -> None:
    with pytest.raises(MalformedCommand):
        sessions.step(None, asked, 1)


COMMANDS = st.builds(
    lambda asker, action, busy, deadline, text: command(
        f"r{asker}",
        action,
        **(
            {"on_busy": busy, "deadline": deadline, "ttl_seconds": 50}
            if action == "open"
            else {"results": {f"s{asker}": text}}
            if action == "close"
            else {}
        ),
    ),
    st.integers(0, 40),
    st.sampled_from(["open", "open", "close", "tick"]),
    st.sampled_from(["reject", "enqueue", "replace"]),
    st.one_of(st.none(), st.integers(0, 200_000)),
    st.integers(0, 20_000).map(lambda n: "x" * n),
)


@given(st.lists(st.tuples(COMMANDS, st.integers(0, 20_000)), max_size=80))
def test_there_are_never_two_holders_and_the_row_is_bounded(steps: list[tuple[AccountCommand, int]]) -> None:
    """Who was told that it holds the session, and neither closed, was replaced nor ran out of time, is alone."""
    session: Session | None = None
    now = 0
    held: dict[str, int] = {}
    for asked, passed in steps:
        now += passed
        session, grants = sessions.step(session, asked, now)
        if asked.action == "close":
            held.pop(asked.asker, None)
        for grant in grants:
            if not grant.granted:
                held.pop(grant.asker, None)
            elif grant.at == now and grant.detail != "{}":
                held[grant.asker] = grant.expires_at or 0
        alive = {a for a, until in held.items() if until > now}
        holder = session.holder.asker if session is not None and session.holder is not None else None
        assert alive <= {holder}
        if session is not None:
            assert sessions.due(session) > now
            assert len(session.waiting) <= MAX_WAITING
            assert len(session.answered) <= MEMORY
            assert sum(len(k) + len(v) for k, v in session.results.items()) <= KEPT_BYTES


@given(st.lists(st.tuples(COMMANDS, st.integers(0, 20_000)), max_size=30))
def test_every_command_twice_changes_nothing(steps: list[tuple[AccountCommand, int]]) -> None:
    """Repeating a command at once leaves the session as it is and never grants anybody else."""
    session: Session | None = None
    now = 0
    for asked, passed in steps:
        now += passed
        session, first = sessions.step(session, asked, now)
        again, second = sessions.step(session, asked, now)
        assert again == session
        assert {g.asker for g in second} <= {asked.asker}
        mine = [g.granted for g in first if g.asker == asked.asker and g.command_id == asked.command_id]
        assert [g.granted for g in second][: len(mine)] == mine[-1:] or not mine
