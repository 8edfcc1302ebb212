"""The `hocket` command: names and options only. What a command does is imported when it runs, so that help is quick."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Annotated, Literal

import typer

from hocket import __version__
from hocket.cli.base import Globals, Output, guarded, settings_of
from hocket.cli.dlq import dlq_app

app = typer.Typer(
    name="hocket",
    help="Split a request between specialists over Apache Kafka, and join their parts into one answer.",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich costs more time than all the rest of the help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
topics_app = typer.Typer(help="The topics on the broker.", no_args_is_help=True, rich_markup_mode=None)
specialties_app = typer.Typer(help="The specialties that are installed.", rich_markup_mode=None)
workflows_app = typer.Typer(help="The workflows that are installed.", rich_markup_mode=None)
new_app = typer.Typer(help="Begin something of your own.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(topics_app, name="topics")
app.add_typer(specialties_app, name="specialties")
app.add_typer(workflows_app, name="workflows")
app.add_typer(new_app, name="new")
app.add_typer(dlq_app, name="dlq")

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
IdArg = Annotated[str, typer.Argument(help="The request's id.")]
SpecialtiesOption = Annotated[Path | None, typer.Option("--specialties", help="Folder with specialties of your own.")]
WorkflowsOption = Annotated[Path | None, typer.Option("--workflows", help="Folder with workflows of your own.")]
WaitOption = Annotated[float, typer.Option("--wait", min=0.0, help="Seconds that a broker may take to come up.")]


@app.callback()
def _globals(
    ctx: typer.Context,
    bootstrap: Annotated[
        str | None, typer.Option(help="Kafka, host:port. Default: HOCKET_BOOTSTRAP, or the running dev stack.")
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="Put before every topic and group name.")] = None,
) -> None:
    import logging

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says is said again, in a sentence
    ctx.obj = Globals(bootstrap=bootstrap, prefix=prefix)


def _end(code: int) -> None:
    if code:
        raise typer.Exit(code)


@app.command()
@guarded
def ask(
    ctx: typer.Context,
    *,
    text: TextArg = "",
    attach: FilesOption = None,
    workflow: WorkflowOption = None,
    strategy: StrategyOption = "balanced",
    timeout: DeadlineOption = None,
    constant: ConstantOption = None,
    tenant: TenantOption = "default",
    priority: PriorityOption = 5,
    max_cost: MaxCostOption = None,
    request_id: IdOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Ask, watch the tasks, get the answer and its receipt.

    Exit codes: 0 completed, 2 wrong usage, 3 partial, 4 failed, 5 timed out, 6 cancelled.
    """
    from hocket.cli.ask import Wish, build_request, run_ask
    from hocket.runtime.clock import now_ms

    settings = settings_of(ctx)
    wish = Wish(
        text=text, files=attach or (), workflow=workflow, strategy=strategy, timeout=timeout,
        constants=constant or (), tenant=tenant, priority=priority, max_cost=max_cost,
    )  # fmt: skip
    request = build_request(wish, settings, request_id=_id(request_id), now_ms=now_ms())
    _end(run_ask(settings, request, timeout=timeout, replay=request_id is not None, output=output))


@app.command()
@guarded
def submit(
    ctx: typer.Context,
    *,
    text: TextArg = "",
    attach: FilesOption = None,
    workflow: WorkflowOption = None,
    strategy: StrategyOption = "balanced",
    timeout: DeadlineOption = None,
    constant: ConstantOption = None,
    tenant: TenantOption = "default",
    priority: PriorityOption = 5,
    max_cost: MaxCostOption = None,
    request_id: IdOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Ask without waiting: prints the request's id for `hocket result`."""
    from hocket.cli.ask import Wish, build_request, run_submit
    from hocket.runtime.clock import now_ms

    settings = settings_of(ctx)
    wish = Wish(
        text=text, files=attach or (), workflow=workflow, strategy=strategy, timeout=timeout,
        constants=constant or (), tenant=tenant, priority=priority, max_cost=max_cost,
    )  # fmt: skip
    run_submit(settings, build_request(wish, settings, request_id=_id(request_id), now_ms=now_ms()), output)


def _id(given: str | None) -> str:
    return uuid.uuid4().hex if given is None else given


@app.command()
@guarded
def result(
    ctx: typer.Context,
    request_id: IdArg,
    timeout: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for an answer that is not there yet.")] = 5.0,
    from_offset: Annotated[int | None, typer.Option(min=0, help="Where in its partition of answers to begin.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Find the answer to a request by its id."""
    from hocket.cli.ask import find, late, show

    found = asyncio.run(find(settings_of(ctx), request_id, seconds=timeout, from_offset=from_offset))
    if found is None:
        raise late(request_id, timeout)
    _end(show(found, output))


@app.command()
@guarded
def cancel(
    ctx: typer.Context,
    request_id: IdArg,
    reason: Annotated[str, typer.Option(help="Stands in the answer.")] = "",
    output: OutputOption = Output.text,
) -> None:
    """Stop a request that is under way."""
    from hocket.cli.ask import run_cancel
    from hocket.runtime.clock import now_ms

    run_cancel(settings_of(ctx), request_id, reason=reason, now_ms=now_ms(), output=output)


@topics_app.command("apply")
@guarded
def topics_apply(
    ctx: typer.Context,
    *,
    partitions: Annotated[int | None, typer.Option(min=1, help="Of joined and task topics when they are made.")] = None,
    task_partitions: Annotated[int | None, typer.Option(min=1, help="Of task topics only; they may grow.")] = None,
    replication: Annotated[int | None, typer.Option(help="Replication factor; default: the broker's.")] = None,
    specialties: SpecialtiesOption = None,
    wait: WaitOption = 30.0,
    output: OutputOption = Output.text,
) -> None:
    """Make what is missing and grow what may grow. Doing it again changes nothing."""
    from hocket.cli.topics import apply

    settings = settings_of(ctx, partitions=partitions, replication=replication, specialties=specialties)
    _end(asyncio.run(apply(settings, task_partitions=task_partitions, wait_seconds=wait, output=output)))


@topics_app.command("list")
@guarded
def topics_list(ctx: typer.Context, wait: WaitOption = 3.0, output: OutputOption = Output.text) -> None:
    """The installation's topics as they stand."""
    from hocket.cli.topics import show

    _end(asyncio.run(show(settings_of(ctx), wait_seconds=wait, output=output)))


@app.command()
@guarded
def tail(
    ctx: typer.Context,
    *,
    topic: Annotated[str, typer.Argument(help="With or without the prefix, such as answers or tasks-research.")],
    start: Annotated[Literal["beginning", "end"], typer.Option("--from", help="Where to begin.")] = "end",
    number: Annotated[int | None, typer.Option("-n", min=1, help="Stop after so many records.")] = None,
    end: Annotated[bool, typer.Option("--exit", "-e", help="Stop at the end of the topic.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Print a topic's records, decoded, one JSON to a line (-o json: with key, headers and offset)."""
    from hocket.cli.tail import tail as run

    beginning = start == "beginning"
    asyncio.run(run(settings_of(ctx), topic, beginning=beginning, limit=number, to_end=end, output=output))


@app.command("export")
@guarded
def export_pairs(
    ctx: typer.Context,
    *,
    specialty: Annotated[str, typer.Option(help="Whose work.")],
    out: Annotated[Path, typer.Option(help="The file to write, JSON Lines.")],
    form: Annotated[Literal["openai", "anthropic"], typer.Option("--format", help="For whose fine-tuning.")] = "openai",
    accepted_by: Annotated[str | None, typer.Option(help="Only by this engine, such as 'anthropic/*'.")] = None,
    rules: Annotated[Path | None, typer.Option(help="Masking rules of your own.")] = None,
    specialties: SpecialtiesOption = None,
) -> None:
    """Write a specialty's completed tasks as training data, personal data masked by rule."""
    from hocket.cli.export import export

    settings = settings_of(ctx, specialties=specialties)
    export(settings, specialty, form=form, out=out, accepted_by=accepted_by, rules=rules)


@app.command()
@guarded
def cost(
    ctx: typer.Context,
    *,
    per_day: Annotated[int, typer.Option(min=1, help="Requests a day.")] = 10_000,
    last: Annotated[int, typer.Option(min=1, help="Measure the newest so many requests.")] = 1_000,
    workload: Annotated[Path | None, typer.Option(help="A workload file (YAML) instead of measured use.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """What so many requests a day cost in a month, per specialty and model."""
    from hocket.cli.cost import run_cost

    run_cost(settings_of(ctx), per_day=per_day, last=last, workload=workload, output=output)


@app.command()
@guarded
def doctor(ctx: typer.Context, output: OutputOption = Output.text) -> None:
    """Look for what is missing or wrong, and say what mends it. Exit code 1 when something fails."""
    from hocket.cli.doctor import doctor as run

    _end(asyncio.run(run(settings_of(ctx), output)))


@specialties_app.callback(invoke_without_command=True)
@guarded
def specialties_list(
    ctx: typer.Context, specialties: SpecialtiesOption = None, output: OutputOption = Output.text
) -> None:
    """The specialties that are installed; `check` looks whether they are sound."""
    if ctx.invoked_subcommand is None:
        from hocket.cli.catalogue import show_specialties

        _end(show_specialties(settings_of(ctx, specialties=specialties), output))


@specialties_app.command("check")
@guarded
def specialties_check(
    ctx: typer.Context,
    folder: Annotated[Path | None, typer.Argument(help="Folder of your specialties; same as --specialties.")] = None,
    specialties: SpecialtiesOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Exit code 1, with every fault named, unless all are sound. Runs your own local engines on their samples."""
    from hocket.cli.catalogue import check_specialties

    _end(check_specialties(settings_of(ctx, specialties=folder or specialties), output))


@workflows_app.callback(invoke_without_command=True)
@guarded
def workflows_list(
    ctx: typer.Context,
    specialties: SpecialtiesOption = None,
    workflows: WorkflowsOption = None,
    output: OutputOption = Output.text,
) -> None:
    """The workflows that are installed; `check` looks whether they are sound."""
    if ctx.invoked_subcommand is None:
        from hocket.cli.catalogue import show_workflows

        _end(show_workflows(settings_of(ctx, specialties=specialties, workflows=workflows), output))


@workflows_app.command("check")
@guarded
def workflows_check(
    ctx: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(help="Workflow files; without any, all installed ones.")] = None,
    specialties: SpecialtiesOption = None,
    workflows: WorkflowsOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Exit code 1, with every fault named, unless all are sound. Says what each workflow needs."""
    from hocket.cli.catalogue import check_workflows

    settings = settings_of(ctx, specialties=specialties, workflows=workflows)
    _end(check_workflows(settings, files or (), output))


@new_app.command("specialty")
@guarded
def new_specialty(
    name: Annotated[str, typer.Argument(help="Small letters, digits and -.")],
    into: Annotated[Path | None, typer.Option(help="Folder of your specialties (default: specialties/).")] = None,
    builtin: Annotated[bool, typer.Option("--builtin", help="Into a checkout of Hocket, as one of its own.")] = False,
    chart: Annotated[Path | None, typer.Option(help="Chart folder or values file that gets a key.")] = None,
) -> None:
    """Write a small folder that loads, runs and passes its own test."""
    from hocket.cli.scaffold import new_specialty as run

    for path in run(name, into=into, builtin=builtin, chart=chart):
        print(path)


@app.command()
@guarded
def dev(
    ctx: typer.Context,
    *,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing.")] = False,
    isolate: Annotated[bool, typer.Option("--isolate", help="One process per specialty, as deployed.")] = False,
    data: Annotated[Path | None, typer.Option(help="Where broker, state and payloads are kept.")] = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Of new topics (default: as the kept ones, else 4).")
    ] = None,
    specialties: SpecialtiesOption = None,
    workflows: WorkflowsOption = None,
) -> None:
    """Run everything on this machine: all services, and a Kafka broker unless --bootstrap names yours."""
    from hocket.cli.dev import run_dev

    given = ctx.find_object(Globals) or Globals()
    _end(
        run_dev(
            given, ephemeral=ephemeral, isolate=isolate, data=data, partitions=partitions,
            specialties=specialties, workflows=workflows,
        )
    )  # fmt: skip


@app.command()
@guarded
def demo() -> None:
    """Start an ephemeral stack, work an invoice and a complaint, show both answers, stop everything."""
    from hocket.cli.demo import run_demo

    _end(run_demo())


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """The entry point."""
    app()
