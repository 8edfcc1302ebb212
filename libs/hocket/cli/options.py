"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hocket.cli.base import Output

OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text, or exactly one JSON document on stdout.")]
TextArg = Annotated[str, typer.Argument(help="What is asked.")]
FilesOption = Annotated[list[Path] | None, typer.Option("--attach", "-a", help="A file to send along; repeatable.")]
WorkflowOption = Annotated[str | None, typer.Option(help="A declared workflow; without it the planner decides.")]
StrategyOption = Annotated[Literal["fast", "balanced", "best"], typer.Option(help="What matters most.")]
ConstantOption = Annotated[list[str] | None, typer.Option(help="key=value that tasks may use; repeatable.")]
TenantOption = Annotated[str, typer.Option(help="On whose behalf.")]
PriorityOption = Annotated[int, typer.Option(min=0, max=9, help="9 is most urgent.")]
MaxCostOption = Annotated[float | None, typer.Option(help="US dollars that it may cost, never more.")]
IdOption = Annotated[str | None, typer.Option("--id", help="Request id; the same id is the same request.")]
DeadlineOption = Annotated[
    float | None, typer.Option("--timeout", min=0.1, help="Seconds that it may take: the request's deadline.")
]
EndOption = Annotated[
    str | None, typer.Option("--deadline", help="When it must have ended: 90s, 15m, 2h, 3d, or 2026-11-30T18:00.")
]
SessionOption = Annotated[
    str | None, typer.Option("--session", help="Go on in this session: it knows what was before.")
]
BusyOption = Annotated[
    Literal["reject", "enqueue", "replace"] | None,
    typer.Option("--on-busy", help="When another request holds the session (default: reject)."),
]
SaveOption = Annotated[
    Path | None,
    typer.Option("--save", help="New folder for the answer's text, each task's output as JSON, and charts as SVG."),
]
IdArg = Annotated[str, typer.Argument(help="The request's id.")]
TaskArg = Annotated[str, typer.Argument(help="The step that waits, by its id.")]
ReasonOption = Annotated[str, typer.Option(help="Why; stands in the answer.")]
SpecialtiesOption = Annotated[Path | None, typer.Option("--specialties", help="Folder with specialties of your own.")]
WorkflowsOption = Annotated[Path | None, typer.Option("--workflows", help="Folder with workflows of your own.")]
WaitOption = Annotated[float, typer.Option("--wait", min=0.0, help="Seconds that a broker may take to come up.")]


def end(code: int) -> None:
    """Ends the command with this exit code, unless it is 0."""
    if code:
        raise typer.Exit(code)
