"""Declared steps on the real services: conditions, optional tasks, a person's decision, sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hocket.cli.approvals import run_decision
from hocket.cli.ask import Wish, ask, build_request
from hocket.cli.base import CliError, Output
from hocket.cli.live import Follower
from hocket.contracts.records import Answer, Progress
from hocket.contracts.topics import Topics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, running

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

PAYOUT = """
name: payout
description: Decide, ask a person where the rules say so, and write the letter.
tasks:
  - id: decide
    specialty: decision
    instruction: Decide whether it is paid.
    with:
      rules: [{name: small, when: constants.amount < 100, then: pay, because: Small claims are paid.}]
      otherwise: {then: ask, because: Larger claims are looked at.}
  - id: check
    specialty: decision
    instruction: Look whether it is odd.
    optional: true
    with: {rules: [{name: broken, when: "this is (no rule", then: odd}]}
  - id: release
    when: {task: decide, field: decision, equals: ask}
    approve: {what: May this claim be paid, timeout_seconds: 6, on_timeout: reject}
  - id: letter
    specialty: synthesis
    instruction: Write the letter.
    needs: [decide, check, release]
    with:
      template: >-
        {{ decide.decision }}, check {{ check.decision }}, release {{ release.decision }},
        before {{ earlier.decision }}, for {{ constants.name }}
output: letter
"""


@dataclass
class Desk:
    """A client of the running services."""

    settings: Settings

    async def ask(self, request_id: str, *constants: str, follower: Follower | None = None, **more: Any) -> Answer:
        wish = Wish(text="Pay.", workflow="payout", constants=constants, **more)
        request = build_request(wish, self.settings, request_id=request_id, now_ms=now_ms())
        answer = await ask(self.settings, request, seconds=60, follower=follower)
        assert answer is not None
        return answer

    async def decide(self, request_id: str, action: Any, task: str = "release") -> None:
        await asyncio.to_thread(
            run_decision, self.settings, request_id, task, action, reason="looked at it", now_ms=now_ms(),
            output=Output.json,
        )  # fmt: skip

    async def waiting(self, request_id: str, *constants: str, **more: Any) -> asyncio.Task[Answer]:
        """The request, once it waits for its person."""
        asked = asyncio.Event()

        def watch(event: Progress | Answer, _changes: object = ()) -> None:
            if isinstance(event, Progress) and event.kind == "other":
                asked.set()

        task = asyncio.create_task(self.ask(request_id, *constants, follower=Follower(watch), **more))
        await asyncio.wait_for(asked.wait(), 30)
        return task


@pytest.fixture
async def desk(settings: Settings, topics_ready: Topics, tmp_path: Path) -> AsyncIterator[Desk]:
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "payout.yaml").write_text(PAYOUT)
    aggregator = Service(
        "services.aggregator", settings, tmp_path / "a.log", HOCKET_INSTANCE="a", HOCKET_WORKFLOWS=str(flows)
    )
    worker = Service(
        "services.workers", settings, tmp_path / "w.log", "--specialty", "decision", "--specialty", "synthesis"
    )
    with running(aggregator, worker):
        yield Desk(settings)


def states(answer: Answer) -> dict[str, str]:
    return {t.task_id: t.state for t in answer.receipt.tasks}


async def test_a_condition_has_two_branches_and_an_optional_task_may_fail(desk: Desk) -> None:
    small = await desk.ask("small", "amount=5", "name=Ann")
    assert (small.status, small.content) == (
        "completed",
        "pay, check not found, release not found, before not found, for Ann",
    )
    assert states(small) == {"decide": "completed", "check": "failed", "release": "skipped", "letter": "completed"}
    waiting = await desk.waiting("large", "amount=500", "name=Ben")
    await desk.decide("large", "approve")
    large = await waiting
    assert (large.status, large.content) == (
        "completed",
        "ask, check not found, release approved, before not found, for Ben",
    )
    assert states(large) == {"decide": "completed", "check": "failed", "release": "completed", "letter": "completed"}


async def test_a_refusal_ends_the_request_and_so_does_silence(desk: Desk) -> None:
    refused, silent = await asyncio.gather(desk.waiting("refused", "amount=500"), desk.waiting("silent", "amount=500"))
    with pytest.raises(CliError, match=r"no step 'relaese'\. Waiting: release"):
        await desk.decide("refused", "approve", "relaese")
    await desk.decide("refused", "reject")
    answer = await refused
    assert (answer.status, states(answer)["release"], states(answer)["letter"]) == ("partial", "failed", "skipped")
    assert "looked at it" in str(answer.receipt.tasks)
    with pytest.raises(CliError, match="refused has ended"):
        await desk.decide("refused", "approve")
    late = await silent
    assert (late.status, states(late)["release"]) == ("partial", "failed")
    assert "nobody decided in time" in str(late.receipt.tasks)


async def test_the_second_request_of_a_session_knows_the_first(desk: Desk) -> None:
    first = await desk.ask("s1", "amount=5", "name=Ann", session="claim-7")
    assert first.content is not None
    assert "before not found" in first.content
    second = await desk.ask("s2", "amount=7", session="claim-7", on_busy="enqueue")
    assert second.content == "pay, check not found, release not found, before Small claims are paid., for Ann"
    other = await desk.ask("s3", "amount=7", "name=Cem", session="claim-8")
    assert other.content is not None
    assert "before not found, for Cem" in other.content


async def test_a_busy_session_refuses_or_gives_way(desk: Desk) -> None:
    holder = await desk.waiting("holder", "amount=500", "name=Ann", session="one")
    refused = await desk.ask("second", "amount=5", "name=Ben", session="one")
    assert (refused.status, refused.error and refused.error.kind) == ("failed", "session_busy")
    taker = await desk.ask("third", "amount=5", "name=Cem", session="one", on_busy="replace")
    assert taker.status == "completed"
    assert (await holder).status == "cancelled"
