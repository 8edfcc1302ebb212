"""What all commands share: settings with the global options on top, exit codes, how failures and JSON are printed."""

from __future__ import annotations

import functools
import getpass
import json
import os
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hocket.runtime.settings import Settings

COMPLETE, WRONG, USAGE, PARTIAL, FAILED, TIMED_OUT, CANCELLED = 0, 1, 2, 3, 4, 5, 6
INTERRUPTED = 130
EXIT_CODES = {
    "completed": COMPLETE,
    "partial": PARTIAL,
    "failed": FAILED,
    "expired": TIMED_OUT,
    "cancelled": CANCELLED,
}
F = TypeVar("F", bound=Callable[..., Any])


class Output(StrEnum):
    """How a command prints its outcome."""

    text = "text"
    json = "json"


class CliError(Exception):
    """A command cannot do what was asked. `kind` is stable and machine-readable, `code` the exit code."""

    def __init__(self, message: str, *, code: int = FAILED, kind: str = "failed", **more: Any) -> None:
        super().__init__(message)
        self.code, self.kind, self.more = code, kind, more


@dataclass(frozen=True, kw_only=True)
class Globals:
    """The options before the command; None means not given."""

    bootstrap: str | None = None
    prefix: str | None = None


def usage(message: str) -> NoReturn:
    """Ends the command as a usage error."""
    raise CliError(message, code=USAGE, kind="usage")


def settings_of(ctx: typer.Context, **more: Any) -> Settings:
    """The settings of this call: options, then the environment, then a running `hocket dev`, then the defaults."""
    from pydantic import ValidationError

    from hocket.runtime.settings import Settings

    given = ctx.find_object(Globals) or Globals()
    chosen = {k: v for k, v in {"bootstrap": given.bootstrap, "prefix": given.prefix, **more}.items() if v is not None}
    try:
        return Settings(**(_from_dev(chosen) | chosen))
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, x['loc']))}: {x['msg']}" for x in e.errors())
        return usage(f"the settings are wrong (options or HOCKET_... variables): {wrong}")


def _from_dev(chosen: dict[str, Any]) -> dict[str, Any]:
    """What a running `hocket dev` sets and the environment does not; nothing when a broker is named."""
    from hocket.local.runfile import read_run

    if "bootstrap" in chosen or "HOCKET_BOOTSTRAP" in os.environ:
        return {}
    run = read_run()
    if run is None:
        return {}
    found = {
        "bootstrap": run.bootstrap,
        "prefix": run.prefix,
        "partitions": run.partitions,
        "blob_store": run.blob_store,
        "specialties": run.specialties,
        "workflows": run.workflows,
    }
    return {k: v for k, v in found.items() if v is not None and f"HOCKET_{k.upper()}" not in os.environ}


def guarded(command: F) -> F:
    """Turns failures that a command may meet into one sentence on stderr (JSON on stdout with -o json) and a code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except CliError as e:
            failure = e
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as e:
            known = _known(e)
            if known is None:
                raise
            failure = known
        _report(failure, kwargs.get("output"))
        raise typer.Exit(failure.code)

    return run  # type: ignore[return-value]


def _known(e: Exception) -> CliError | None:
    """The failure behind an exception that has a name of its own in Hocket, None for a bug."""
    kinds = {
        "KafkaUnreachable": "kafka_unreachable",
        "TopicsError": "topics",
        "ClaimError": "blob_store",
        "RegistryError": "registry",
        "SpecialtyError": "specialty",
        "WorkflowError": "workflow",
        "BrokerError": "broker",
        "DevError": "dev",
        "KafkaRefused": "kafka_refused",
        "TooLargeError": "too_large",
    }
    if type(e).__module__.startswith("hocket.") and type(e).__name__ in kinds:
        return CliError(str(e), kind=kinds[type(e).__name__])
    if type(e).__module__ == "hocket.kafka.letters" and (kind := getattr(e, "kind", None)):
        return CliError(str(e), kind=kind, code=USAGE if kind == "usage" else FAILED)
    if type(e).__module__ == "aiokafka.errors":
        return CliError(f"Kafka failed: {e}. `hocket doctor` looks for the reason", kind="kafka")
    if isinstance(e, ImportError) and e.name and not e.name.startswith(("hocket", "services")):
        message = f"this needs the Python package {e.name}: install the extras with `pip install 'hocket[all]'`"
        return CliError(message, kind="missing_package")
    return None


def _report(failure: CliError, output: Output | None) -> None:
    if output is Output.json:
        print_json({**failure.more, "error": {"kind": failure.kind, "message": str(failure)}})
    print(f"hocket: {failure}", file=sys.stderr)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def say(message: str) -> None:
    """A word beside the output: on stderr, so that stdout can be piped."""
    print(message, file=sys.stderr)


def console(*, stderr: bool = False) -> Console:
    """A rich console; into a pipe it neither colours nor cuts anything off."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else 10_000, highlight=False, soft_wrap=False)


def printable(text: str) -> str:
    """Text from outside without control characters, so that it cannot steer the terminal."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


def user() -> str:
    """Who sits at this command line, for the receipt."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a uid without a name
        return "cli"
