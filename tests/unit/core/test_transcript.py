"""Any order of disconnects, duplicates and repeated runs gives exactly the text that was delivered."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import Answer, Output, Progress, Receipt, TaskInput
from hocket.core.transcript import MAX_RUNS, Change, Transcript


def said(text: str, start: int = 0, task: str = "t", run: str = "0", **more: object) -> Progress:
    return Progress(
        **({"request_id": "r", "task_id": task, "kind": "text", "worker": "w", "text": text, "at": 1} | more),
        run=run, start=start,
    )  # fmt: skip


def done(chars: int, **more: object) -> Progress:
    return said("", chars, kind="completed", **more)


def answer(**texts: str) -> Answer:
    outputs = tuple(
        TaskInput(task_id=i, output=Output(specialty="writing", text=t, data="{}")) for i, t in texts.items()
    )
    return Answer(request_id="r", status="completed", outputs=outputs, receipt=Receipt(admitted_at=0, answered_at=1))


@dataclass
class Client:
    """A reader of changes: text is what it was up to `start`, then the change's text."""

    texts: dict[str, str] = field(default_factory=dict)

    def apply(self, *changes: Change | None) -> None:
        for change in changes:
            if change is not None:
                known = self.texts.get(change.task_id, "")
                assert change.start <= len(known), "no gap"
                self.texts[change.task_id] = known[: change.start] + change.text


def test_pieces_add_up_and_repeated_ones_change_nothing() -> None:
    transcript = Transcript()
    assert transcript.take(said("one ")) == Change(task_id="t", start=0, text="one ")
    assert transcript.take(said("one ")) is None
    assert transcript.take(said("ne two", 1)) == Change(task_id="t", start=4, text="two")
    assert transcript.text("t") == "one two"


def test_what_is_missing_is_waited_for_and_known() -> None:
    transcript = Transcript()
    transcript.take(said("one "))
    assert transcript.take(said("three", 8)) is None
    assert transcript.missing("t")
    assert transcript.take(said("two ", 4)) == Change(task_id="t", start=4, text="two three")
    assert not transcript.missing("t")
    transcript.take(done(20))
    assert transcript.missing("t"), "its end was told, and is not there"


def test_a_later_attempt_replaces_the_text_and_an_earlier_one_never_does() -> None:
    transcript = Transcript()
    transcript.take(said("old"))
    assert transcript.take(said("new", attempt=2)) == Change(task_id="t", start=0, text="new")
    assert transcript.take(said(" words", 3)) is None, "a zombie goes on writing"
    assert transcript.take(said("best", revision=1)) == Change(task_id="t", start=0, text="best")
    assert transcript.text("t") == "best"


def test_the_run_that_completed_is_shown_whatever_began_after_it() -> None:
    transcript = Transcript()
    transcript.take(said("mine", run="a"))
    assert transcript.take(said("other", run="b")) == Change(task_id="t", start=0, text="other")
    assert transcript.take(done(4, run="a")) == Change(task_id="t", start=0, text="mine")
    assert transcript.take(said("s", 5, run="b")) is None


def test_the_answer_has_the_last_word_only_where_something_was_streamed() -> None:
    transcript = Transcript()
    transcript.take(said("The end is"))
    assert transcript.mend(answer(t="The end was lost", quiet="x")) == [Change(task_id="t", start=8, text="was lost")]
    assert transcript.text("t") == "The end was lost"
    assert transcript.mend(answer(t="The end was lost")) == []
    assert transcript.text("quiet") is None


def test_memory_is_bounded() -> None:
    transcript = Transcript()
    for run in range(10 * MAX_RUNS):
        transcript.take(said("x", run=str(run)))
    assert len(transcript._tasks["t"].runs) <= MAX_RUNS
    assert transcript.text("t") == "x"


@dataclass
class World:
    """A partition as crashing workers write it: runs of tasks, the last of each completes."""

    rng: random.Random
    log: list[Progress] = field(default_factory=list)
    oracle: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        streams = [self._task(f"t{n}") for n in range(self.rng.randint(1, 3))]
        while streams := [s for s in streams if s]:
            self.log.append(self.rng.choice(streams).pop(0))
        for _ in range(self.rng.randint(0, 5)):  # a producer that repeats itself, soon or late
            at = self.rng.randrange(len(self.log))
            self.log.insert(self.rng.randint(at + 1, len(self.log)), self.log[at])

    def _task(self, task: str) -> list[Progress]:
        found, attempt, zombie = [], 1, list[Progress]()
        for number in range(self.rng.randint(1, 4)):
            attempt += self.rng.random() < 0.5
            text = "".join(self.rng.choice("ab\n😀") for _ in range(self.rng.randint(1, 30)))
            pieces = self._pieces(text, task, f"w{number}", attempt)
            found += self._mixed(zombie, pieces)
            cut = self.rng.randint(1, len(pieces))
            zombie = pieces[cut:] if self.rng.random() < 0.5 else []
            self.oracle[task] = text
        end = Progress(
            request_id="r", task_id=task, kind="completed", worker=f"w{number}", attempt=attempt, run="0",
            start=len(text), at=1,
        )  # fmt: skip
        return [*found, end]

    def _mixed(self, zombie: list[Progress], pieces: list[Progress]) -> list[Progress]:
        sides, found = [list(zombie), list(pieces)], []
        while sides := [s for s in sides if s]:
            found.append(self.rng.choice(sides).pop(0))
        return found

    def _pieces(self, text: str, task: str, worker: str, attempt: int) -> list[Progress]:
        found, at = [], 0
        while at < len(text):
            size = self.rng.randint(1, 6)
            found.append(said(text[at : at + size], at, task=task, worker=worker, attempt=attempt))
            at += size
        return found


@given(st.integers(0, 2**32))
def test_any_world_read_by_a_client_that_is_killed_again_and_again(seed: int) -> None:
    """Each new client makes its state anew from the records before the token, and tells only what is after it."""
    world = World(random.Random(seed))
    client, told, rng = Client(), 0, random.Random(seed + 1)
    while told < len(world.log):
        transcript, lives = Transcript(), rng.randint(1, 12)
        for record in world.log[:told]:
            transcript.take(record)
        for record in world.log[told : told + lives]:
            client.apply(transcript.take(record))
        told = min(len(world.log), told + lives)
    assert client.texts == world.oracle
    assert client.texts == {task: transcript.text(task) for task in world.oracle}


@given(st.integers(0, 2**32), st.floats(0, 0.5))
def test_lost_records_are_mended_by_the_answer(seed: int, loss: float) -> None:
    world = World(random.Random(seed))
    client, transcript, rng = Client(), Transcript(), random.Random(seed + 1)
    for record in world.log:
        if rng.random() >= loss:
            client.apply(transcript.take(record))
    streamed = set(client.texts)
    client.apply(*transcript.mend(answer(**world.oracle)))
    assert streamed <= set(client.texts)
    assert client.texts == {task: world.oracle[task] for task in client.texts}
