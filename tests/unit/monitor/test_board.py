from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import DeadLetter, PlannedTask, Progress
from services.monitor.board import (
    FORGET_MS,
    MAX_ANSWERED,
    MAX_OPEN,
    ROWS,
    TEXT_KEPT,
    Board,
    Minute,
    Step,
    quantile,
    tree,
)
from services.monitor.views import answered_row, dead_letters, request_view, row, summary
from tests.support.board_parts import answer, planned, progress


def test_a_request_goes_from_planned_to_answered():
    board = Board()
    board.progress(progress("r", "planning", "assigned", at=1_000))
    assert row(board.rows()[0])["steps"] == [["planning", "planning", "assigned"]]
    board.progress(planned("r", at=2_000))
    board.progress(progress("r", "read", "assigned", at=3_000, worker="w"))
    board.progress(progress("r", "read", "completed", at=4_000))
    board.progress(progress("r", "write", "assigned", at=4_500))
    board.progress(progress("r", "write", "text", at=4_600, text="Dear", run="x"))
    shown = row(board.rows()[0])
    assert shown["steps"] == [["read", "extraction", "completed"], ["write", "synthesis", "assigned"]]
    assert shown["text"] == "Dear"
    found = request_view(board.open["r"])
    assert [(t["id"], t["level"], t["state"]) for t in found["tasks"] if t["id"] != "planning"] == [
        ("read", 0, "completed"), ("write", 1, "assigned"),
    ]  # fmt: skip
    told = answer("r", at=9_000)
    told = told.model_copy(update={"receipt": told.receipt.model_copy(update={"lost_runs": 2})})
    board.answer(told)
    board.answer(told)
    board.progress(progress("r", "write", "completed", at=8_000))  # late
    assert not board.open
    assert answered_row(board.latest()[0])["seconds"] == 8.0
    assert summary(board, [], [], 10_000)["answers_per_minute"] == 1
    costs = {t["id"]: t.get("cost_usd") for t in request_view(board.answered["r"])["tasks"]}
    assert costs == {"planning": None, "read": 0.5, "write": None}
    assert request_view(board.answered["r"])["lost_runs"] == 2


def test_a_repeated_or_late_word_does_not_turn_a_task_back():
    step = Step(task_id="t")
    for kind, attempt in (("assigned", 1), ("completed", 1), ("assigned", 1)):
        step.move(progress("r", "t", kind, at=1, attempt=attempt))
    assert step.state == "completed"
    step.move(progress("r", "t", "assigned", at=2, attempt=2))
    assert step.state == "assigned"


@given(st.lists(st.text(max_size=400), max_size=12), st.integers(0, 11))
def test_text_in_pieces_is_the_text_and_pieces_told_twice_change_nothing(pieces, again):
    step, at, told = Step(task_id="t"), 0, []
    for text in pieces:
        told.append(progress("r", "t", "text", at=1, text=text, start=at, run="x"))
        at += len(text)
    for event in told:
        step.say(event)
    if told:
        step.say(told[-1])
    whole = "".join(pieces)
    assert step.text == whole[-TEXT_KEPT:]
    step.say(progress("r", "t", "text", at=1, text="new", start=0, run="y"))
    assert step.text == "new"


def test_memory_is_bounded_and_the_newest_stay():
    board = Board()
    for n in range(MAX_OPEN + 10):
        board.progress(planned(f"r{n}", at=n))
    assert len(board.open) == MAX_OPEN
    assert [a.request_id for a in board.rows()][:2] == [f"r{MAX_OPEN + 9}", f"r{MAX_OPEN + 8}"]
    assert len(board.rows()) == ROWS
    for n in range(MAX_ANSWERED + 5):
        board.answer(answer(f"a{n}", at=n))
    assert len(board.answered) == MAX_ANSWERED
    board.progress(planned("a0", at=1))  # read behind its answer, which is not shown any more
    assert "a0" not in board.open
    before = len(board.open)
    board.forget(FORGET_MS + MAX_OPEN)
    assert len(board.open) < before


@given(st.lists(st.integers(0, 200_000), max_size=300))
def test_a_minute_counts_what_is_in_it_whatever_the_order(moments):
    minute, now = Minute(), 200_000
    for at in moments:
        minute.add("x", at)
    assert minute.sum("x", now) == sum(at // 1000 > now // 1000 - 60 for at in moments)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_one_of_the_values_and_covers_its_share(values, share):
    found = quantile(values, share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values) - 1
    assert quantile([], share) is None


@given(st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdefx")), max_size=6))
def test_a_tree_shows_every_task_once_also_of_a_plan_with_a_cycle(plan):
    steps = [Step(task_id=i, depends_on=tuple(sorted(deps))) for i, deps in plan.items()]
    shown = [n["step"].task_id for n in tree(steps)]
    assert sorted(shown) == sorted(plan)


def test_a_dead_letter_read_twice_is_shown_once():
    board = Board()
    letter = DeadLetter(topic="t", partition=0, offset=1, kind="invalid", reason="x", service="s", at=1)
    board.dead_letter(letter, (2, 17))
    board.dead_letter(letter, (2, 17))
    [row] = dead_letters(board, replay=True)
    assert (row["id"], row["again"], row["replay"]) == ("2:17", "", False), "its bytes are not kept"
    board.sent_again("2:17", "t/0 at 9")
    board.sent_again("0:0", "nowhere")
    assert [d["again"] for d in dead_letters(board)] == ["t/0 at 9"]


def test_what_a_plan_says_of_an_unknown_task_is_kept():
    board = Board()
    board.progress(progress("r", "read", "assigned", at=1))
    board.progress(
        Progress(
            request_id="r", kind="planned", at=2, tasks=(PlannedTask(task_id="read", specialty="code", instruction=""),)
        )
    )
    assert row(board.rows()[0])["steps"] == [["read", "code", "assigned"]]
