"""Bad plans of every kind: none passes unsound, and most are mended without another model call."""

from __future__ import annotations

import pytest

from bench.plan_fuzz import FAULTS, KNOWN, Modelled, modelled, run, unsound
from hocket.contracts.records import PlannedTask
from hocket.core.compile import Compiled


def test_no_bad_plan_passes_and_most_are_mended() -> None:
    tally = run(len(FAULTS) * 40, seed=7)
    assert tally.unsound.total() == 0
    assert tally.changed.total() == 0
    assert tally.share >= 0.6
    for kind in ("circle", "dangling", "no instruction", "too many", "too deep", "unknown specialty", "no plan"):
        assert tally.mended[kind] == 0, f"{kind}: nobody can know what was meant"


def test_the_oracle_sees_a_circle_by_itself() -> None:
    tasks = tuple(PlannedTask(task_id=i, specialty=KNOWN[0], instruction="x", depends_on=(j,)) for i, j in ("ab", "ba"))
    assert "circle" in unsound(Compiled(tasks=tasks, output_task="a"))


@pytest.mark.parametrize("draft", modelled(), ids=lambda d: f"{d.style}: {d.what}")
def test_what_a_model_might_write_becomes_what_it_meant_or_is_refused(draft: Modelled) -> None:
    assert draft.outcome() == ("refused" if draft.edges is None else "mended")


def test_most_of_what_models_might_write_needs_no_other_call() -> None:
    drafts = modelled()
    assert {d.style for d in drafts} == {"anthropic", "openai"}
    assert sum(d.outcome() == "mended" for d in drafts) >= 0.6 * len(drafts)
