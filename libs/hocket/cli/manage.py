"""The commands about topics, specialties and workflows. As in `hocket.cli.app`, the work is imported when it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from hocket.cli.base import Output, guarded, settings_of
from hocket.cli.options import OutputOption, SpecialtiesOption, WaitOption, WorkflowsOption, end

RegistryOption = Annotated[str | None, typer.Option(help="Its URL; default: HOCKET_REGISTRY_URL.")]

topics_app = typer.Typer(help="The topics on the broker.", no_args_is_help=True, rich_markup_mode=None)
schemas_app = typer.Typer(help="Schemas in a schema registry.", no_args_is_help=True, rich_markup_mode=None)
specialties_app = typer.Typer(help="The specialties that are installed.", rich_markup_mode=None)
workflows_app = typer.Typer(help="The workflows that are installed.", rich_markup_mode=None)
new_app = typer.Typer(help="Begin something of your own.", no_args_is_help=True, rich_markup_mode=None)


@topics_app.command("apply")
@guarded
def topics_apply(
    ctx: typer.Context,
    *,
    partitions: Annotated[int | None, typer.Option(min=1, help="Of joined and task topics when they are made.")] = None,
    task_partitions: Annotated[int | None, typer.Option(min=1, help="Of task topics only; they may grow.")] = None,
    replication: Annotated[int | None, typer.Option(help="Replication factor; default: the broker's.")] = None,
    alter_configs: Annotated[
        bool,
        typer.Option("--alter-configs", help="Set settings of existing topics that differ, unless records would go."),
    ] = False,
    specialties: SpecialtiesOption = None,
    wait: WaitOption = 30.0,
    output: OutputOption = Output.text,
) -> None:
    """Make what is missing and grow what may grow. Doing it again changes nothing.

    Exit codes: 0 all as declared, 3 something differs that only its owner may change, 4 refused.
    """
    from hocket.cli.topics import apply

    settings = settings_of(ctx, partitions=partitions, replication=replication, specialties=specialties)
    done = apply(
        settings,
        task_partitions=task_partitions,
        alter_configs=alter_configs,
        wait_seconds=wait,
        output=output,
    )
    end(asyncio.run(done))


@topics_app.command("list")
@guarded
def topics_list(ctx: typer.Context, wait: WaitOption = 3.0, output: OutputOption = Output.text) -> None:
    """The installation's topics as they stand."""
    from hocket.cli.topics import show

    end(asyncio.run(show(settings_of(ctx), wait_seconds=wait, output=output)))


@topics_app.command("asyncapi")
@guarded
def topics_asyncapi(ctx: typer.Context, specialties: SpecialtiesOption = None) -> None:
    """The installation's topics and records as an AsyncAPI 3 document (YAML)."""
    from hocket.cli.topics import show_asyncapi

    end(show_asyncapi(settings_of(ctx, specialties=specialties)))


@schemas_app.command("register")
@guarded
def schemas_register(
    ctx: typer.Context,
    registry: RegistryOption = None,
    specialties: SpecialtiesOption = None,
    wait: WaitOption = 30.0,
    output: OutputOption = Output.text,
) -> None:
    """Register what is missing. Exit code 1, and nothing registered, when a schema would break others."""
    from hocket.cli.schemas import register

    settings = settings_of(ctx, registry_url=registry, specialties=specialties)
    end(register(settings, wait_seconds=wait, output=output))


@schemas_app.command("check")
@guarded
def schemas_check(
    ctx: typer.Context,
    registry: RegistryOption = None,
    specialties: SpecialtiesOption = None,
    wait: WaitOption = 3.0,
    output: OutputOption = Output.text,
) -> None:
    """Exit code 1, with every lack named, unless the registry has what this version writes. Changes nothing."""
    from hocket.cli.schemas import check

    end(check(settings_of(ctx, registry_url=registry, specialties=specialties), wait_seconds=wait, output=output))


@guarded
def acls(
    ctx: typer.Context,
    *,
    service: Annotated[list[str] | None, typer.Option("--service", help="Only for this one; repeatable.")] = None,
    principal_prefix: Annotated[str, typer.Option(help="Put before the service's name.")] = "User:hocket-",
    command_config: Annotated[str | None, typer.Option(help="Passed to kafka-acls: how it logs in.")] = None,
    specialties: SpecialtiesOption = None,
    output: OutputOption = Output.text,
) -> None:
    """What each service may do on the broker, and nothing more, as kafka-acls commands or JSON. Changes nothing."""
    from hocket.cli.acls import show_acls

    end(
        show_acls(
            settings_of(ctx, specialties=specialties),
            principal_prefix=principal_prefix,
            only=service or [],
            command_config=command_config,
            output=output,
        )
    )


@specialties_app.callback(invoke_without_command=True)
@guarded
def specialties_list(
    ctx: typer.Context, specialties: SpecialtiesOption = None, output: OutputOption = Output.text
) -> None:
    """The specialties that are installed; `check` looks whether they are sound."""
    if ctx.invoked_subcommand is None:
        from hocket.cli.catalogue import show_specialties

        end(show_specialties(settings_of(ctx, specialties=specialties), output))


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

    end(check_specialties(settings_of(ctx, specialties=folder or specialties), output))


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

        end(show_workflows(settings_of(ctx, specialties=specialties, workflows=workflows), output))


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
    end(check_workflows(settings, files or (), output))


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
