from __future__ import annotations

import pytest

from hocket.contracts.records import Away, Handover
from hocket.core.donemap import Flight
from hocket.core.handover import SILENCE_MS, Claims, owner_of


def word(worker: str, ended: int, *away: Away) -> Handover:
    return Handover(worker=worker, topic="t", ended=ended, away=away, at=0)


def flight(owner: str, deliveries: int = 1) -> Flight:
    return Flight(owner=owner, deliveries=deliveries)


def test_what_an_old_owner_says_it_runs_is_left_to_it_until_it_is_done() -> None:
    claims = Claims("me")
    claims.hear(word("a", 1, Away(partition=0, running=(3, 5))), 0)
    assert [claims.fate(0, o, flight("a.1")) for o in (3, 4, 5)] == ["running", None, "running"]
    claims.hear(word("a", 1, Away(partition=0, running=(5,), done=(3,))), 10)
    assert [claims.fate(0, o) for o in (3, 5)] == ["done", "running"]
    claims.hear(word("a", 1), 20)
    assert [claims.fate(0, o) for o in (3, 5)] == [None, None]


def test_an_owner_that_never_said_that_its_assignment_ended_has_crashed() -> None:
    claims = Claims("me")
    assert claims.died("a.1")
    assert claims.crashes(flight("a.1", 2)) == 2
    claims.hear(word("a", 1), 0)
    assert not claims.died("a.1")
    assert claims.crashes(flight("a.1", 2)) == 1, "the call was given up in good order"
    assert claims.died("a.2"), "it came back, and died in its second assignment"
    assert claims.crashes(None) == 0


def test_my_own_earlier_assignments_and_nobody_have_not_crashed() -> None:
    claims = Claims("w/writing@1f")
    assert [claims.died(o) for o in (owner_of("w/writing@1f", 1), "")] == [False, False]
    assert claims.died("foreign")
    claims.hear(word("w/writing@1f", 1, Away(partition=0, running=(1,))), 0)
    assert claims.fate(0, 1) is None, "what I said myself holds nothing back"


def test_an_owner_that_falls_silent_is_taken_for_dead() -> None:
    claims = Claims("me")
    claims.hear(word("a", 1, Away(partition=0, running=(3,), done=(4,))), 0)
    claims.hear(word("quiet", 1, Away(partition=1, done=(9,))), 0)
    assert not claims.lapse(SILENCE_MS)
    claims.renew(SILENCE_MS)
    assert not claims.lapse(2 * SILENCE_MS), "each assignment gives it the time anew"
    assert claims.lapse(2 * SILENCE_MS + 1)
    assert not claims.lapse(3 * SILENCE_MS), "told once"
    assert [claims.fate(0, 3), claims.fate(0, 4), claims.fate(1, 9)] == [None, "done", "done"]
    assert claims.crashes(flight("a.1")) == 1
    assert claims.crashes(flight("quiet.1")) == 0, "it ran nothing: silence says nothing"
    claims.hear(word("a", 1, Away(partition=0, running=(3,))), 4 * SILENCE_MS)
    assert claims.fate(0, 3) == "running", "it was only slow"


def test_a_claim_is_void_when_its_owner_took_the_task_back_and_died_with_it() -> None:
    claims = Claims("me")
    claims.hear(word("a", 1, Away(partition=0, running=(3,))), 0)
    assert claims.fate(0, 3, flight("a.1")) == "running"
    assert claims.fate(0, 3, flight("a.2")) is None
    assert claims.fate(0, 3, flight("b.2")) == "running", "somebody else's flight says nothing of this claim"


def test_owners_are_forgotten_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hocket.core.handover._OWNERS", 3)
    claims = Claims("me")
    for n in range(5):
        claims.hear(word(f"w{n}", 1, Away(partition=0, running=(n,))), 0)
    assert [claims.fate(0, n) for n in range(5)] == [None, None, "running", "running", "running"]
