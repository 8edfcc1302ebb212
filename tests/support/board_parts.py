"""Records for tests of the board."""

from hocket.contracts.records import Answer, PlannedTask, Progress, Receipt, TaskReceipt


def progress(request_id, task_id, kind, *, at, **more):
    return Progress(request_id=request_id, task_id=task_id, kind=kind, at=at, **more)


def planned(request_id, *, at):
    tasks = (
        PlannedTask(task_id="read", specialty="extraction", instruction="-"),
        PlannedTask(task_id="write", specialty="synthesis", instruction="-", depends_on=("read",)),
    )
    return Progress(request_id=request_id, kind="planned", tasks=tasks, at=at)


def answer(request_id, *, at, status="completed"):
    tasks = (TaskReceipt(task_id="read", specialty="extraction", state="completed", cost_usd=0.5),)
    receipt = Receipt(tasks=tasks, submitted_at=1_000, admitted_at=1_100, answered_at=at)
    return Answer(request_id=request_id, status=status, receipt=receipt)
