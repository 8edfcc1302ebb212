"""What a follower sees of a request, however its events come."""

import itertools
from typing import Any

from hocket.cli.follow import View, line
from hocket.contracts.records import Answer, PlannedTask, Progress, Receipt, TaskReceipt


def planned(task_id: str, *depends_on: str) -> PlannedTask:
    return PlannedTask(task_id=task_id, specialty="extraction", instruction="-", depends_on=depends_on)


PLAN = (planned("a"), planned("b"), planned("c", "a", "b"), planned("d", "a", "c"))


def event(kind: Any, task_id: str | None = None, at: int = 0, **more: Any) -> Progress:
    return Progress(request_id="r", kind=kind, task_id=task_id, at=at, **more)


def seen(*events: Progress | Answer) -> View:
    view = View(request_id="r")
    for one in events:
        view = view.after(one)
    return view


def test_a_plan_makes_all_tasks_pending_under_their_last_dependency() -> None:
    view = seen(event("planned", tasks=PLAN))
    assert {t.state for t in view.tasks.values()} == {"pending"}
    assert view.parents() == {"a": None, "b": None, "c": "a", "d": "c"}


def test_states_move_on_and_never_back() -> None:
    begun = event("assigned", "a", at=5, worker="w")
    done = event("completed", "a", at=9, worker="w")
    view = seen(event("planned", tasks=PLAN), done, begun)
    assert (view.tasks["a"].state, view.tasks["a"].ended_at) == ("completed", 9)


def test_the_order_between_plan_and_task_does_not_matter() -> None:
    events = [event("planned", tasks=PLAN), event("assigned", "a", at=5), event("completed", "a", at=9)]
    for order in itertools.permutations(events):
        view = seen(*order)
        assert view.tasks["a"].state == "completed"
        assert view.tasks["a"].planned == PLAN[0]
        assert set(view.tasks) == {"a", "b", "c", "d"}


def test_streamed_text_is_kept_within_bounds() -> None:
    view = seen(event("planned", tasks=PLAN), *(event("text", "a", text="word ") for _ in range(1000)))
    assert len(view.tasks["a"].text) == 200


def test_planning_is_not_one_of_the_tasks() -> None:
    view = seen(event("assigned", "planning", worker="p"), event("completed", "planning", worker="p"))
    assert view.tasks == {}
    assert view.planner == "p"


def test_the_receipt_has_the_last_word() -> None:
    receipt = Receipt(
        tasks=(TaskReceipt(task_id="a", specialty="extraction", state="skipped"),), admitted_at=0, answered_at=1
    )
    view = seen(event("assigned", "a"), Answer(request_id="r", status="partial", receipt=receipt))
    assert {i: t.state for i, t in view.tasks.items()} == {"a": "skipped"}


def test_a_circle_in_a_foreign_plan_does_no_harm() -> None:
    view = seen(event("planned", tasks=(planned("a", "b"), planned("b", "a"), planned("c", "gone"))))
    assert set(view.parents()) == {"a", "b", "c"}


def test_lines_for_pipes() -> None:
    assert line(event("planned", tasks=PLAN[:2])) == "plan: a (extraction), b (extraction)"
    assert line(event("failed", "a", text="no model")) == "a: failed: no model"
    assert line(event("text", "a", text="x")) is None
