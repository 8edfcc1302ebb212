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
from hocket.cli.manage import acls, new_app, schemas_app, specialties_app, topics_app, workflows_app
from hocket.cli.options import (
    BusyOption,
    ConstantOption,
    DeadlineOption,
    EndOption,
    FilesOption,
    IdArg,
    IdOption,
    MaxCostOption,
    OutputOption,
    PriorityOption,
    ReasonOption,
    SaveOption,
    SessionOption,
    SpecialtiesOption,
    StrategyOption,
    TaskArg,
    TenantOption,
    TextArg,
    WorkflowOption,
    WorkflowsOption,
    end,
)

app = typer.Typer(
    name="hocket",
    help="Split a request between specialists over Apache Kafka, and join their parts into one answer.",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich costs more time than all the rest of the help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(topics_app, name="topics")
app.add_typer(schemas_app, name="schemas")
app.command()(acls)
app.add_typer(specialties_app, name="specialties")
app.add_typer(workflows_app, name="workflows")
app.add_typer(new_app, name="new")
app.add_typer(dlq_app, name="dlq")


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
    session: SessionOption = None,
    on_busy: BusyOption = None,
    deadline: EndOption = None,
    max_cost: MaxCostOption = None,
    request_id: IdOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Also show text while it is written.")] = False,
    save: SaveOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Ask, watch the tasks, get the answer and its receipt. With --follow -o json: a JSON line for each event.

    Exit codes: 0 completed, 2 wrong usage, 3 partial, 4 failed, 5 timed out, 6 cancelled.
    """
    from hocket.cli.ask import Wish, build_request, run_ask
    from hocket.cli.save import must_be_free
    from hocket.runtime.clock import now_ms

    must_be_free(save)
    settings = settings_of(ctx)
    wish = Wish(
        text=text, files=attach or (), workflow=workflow, strategy=strategy, timeout=timeout,
        constants=constant or (), tenant=tenant, priority=priority, max_cost=max_cost,
        session=session, on_busy=on_busy, deadline=deadline,
    )  # fmt: skip
    request = build_request(wish, settings, request_id=_id(request_id), now_ms=now_ms())
    end(run_ask(settings, request, replay=request_id is not None, follow=follow, save=save, output=output))


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
    session: SessionOption = None,
    on_busy: BusyOption = None,
    deadline: EndOption = None,
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
        session=session, on_busy=on_busy, deadline=deadline,
    )  # fmt: skip
    run_submit(settings, build_request(wish, settings, request_id=_id(request_id), now_ms=now_ms()), output)


def _id(given: str | None) -> str:
    return uuid.uuid4().hex if given is None else given


@app.command()
@guarded
def result(
    ctx: typer.Context,
    *,
    request_id: IdArg,
    timeout: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for an answer that is not there yet.")] = 5.0,
    from_offset: Annotated[int | None, typer.Option(min=0, help="Where in its partition of answers to begin.")] = None,
    save: SaveOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Find the answer to a request by its id."""
    from hocket.cli.ask import find, late, show
    from hocket.cli.save import must_be_free
    from hocket.cli.save import save as write

    must_be_free(save)
    settings = settings_of(ctx)
    found = asyncio.run(find(settings, request_id, seconds=timeout, from_offset=from_offset))
    if found is None:
        raise late(request_id, timeout)
    code = show(found, output)
    if save is not None:
        write(found, save, settings)
    end(code)


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


@app.command()
@guarded
def follow(
    ctx: typer.Context,
    request_id: IdArg,
    token: Annotated[str | None, typer.Option("--from", help="Where an earlier one stopped, as it printed.")] = None,
    timeout: Annotated[float, typer.Option(min=0.0, help="Seconds to follow it at most.")] = 300.0,
    output: OutputOption = Output.text,
) -> None:
    """Follow a request live, with its text while it is written. -o json: a JSON line for each event."""
    from hocket.cli.live import run_follow

    end(run_follow(settings_of(ctx), request_id, token=token, seconds=timeout, output=output))


@app.command()
@guarded
def approve(
    ctx: typer.Context, request_id: IdArg, task: TaskArg, reason: ReasonOption = "", output: OutputOption = Output.text
) -> None:
    """Approve a step that waits for a person."""
    from hocket.cli.approvals import run_decision
    from hocket.runtime.clock import now_ms

    run_decision(settings_of(ctx), request_id, task, "approve", reason=reason, now_ms=now_ms(), output=output)


@app.command()
@guarded
def reject(
    ctx: typer.Context, request_id: IdArg, task: TaskArg, reason: ReasonOption = "", output: OutputOption = Output.text
) -> None:
    """Reject a step that waits for a person."""
    from hocket.cli.approvals import run_decision
    from hocket.runtime.clock import now_ms

    run_decision(settings_of(ctx), request_id, task, "reject", reason=reason, now_ms=now_ms(), output=output)


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


@app.command()
@guarded
def lag(
    ctx: typer.Context,
    *,
    group: Annotated[str | None, typer.Option(help="Only this group: its name, role or a pattern.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also partitions that nobody has read or holds.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """How far each consumer group is behind. LAG is Kafka's own figure, NET what of it is still to be worked."""
    from hocket.cli.lag import run_lag

    run_lag(settings_of(ctx), group=group, everything=everything, output=output)


@app.command()
@guarded
def trace(ctx: typer.Context, request_id: IdArg, output: OutputOption = Output.text) -> None:
    """One request as a tree with times and cost, as far as it is."""
    from hocket.cli.trace import run_trace

    run_trace(settings_of(ctx), request_id, output)


@app.command()
@guarded
def top(
    ctx: typer.Context,
    *,
    monitor: Annotated[str | None, typer.Option(help="The monitor. Default: that of the running dev stack.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """What the monitor's page shows, live in the terminal."""
    from hocket.cli.top import run_top

    run_top(settings_of(ctx), monitor=monitor, once=once, output=output)


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

    end(asyncio.run(run(settings_of(ctx), output)))


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
    end(
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

    end(run_demo())


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """The entry point."""
    app()
