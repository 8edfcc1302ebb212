"""`hocket top`: what the monitor's page shows, live in a terminal."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from hocket.cli.base import CliError, Output, console, print_json, printable
from hocket.cli.lag import age
from hocket.cli.render import dollars
from hocket.runtime.settings import Settings

_EVERY_S = 1.0
_TIMEOUT_S = 5.0
_STYLES = {"ok": "green", "alive": "green", "slow": "yellow", "late": "yellow"}


def address(given: str | None) -> str:
    """Where the monitor is: as given, or that of the running `hocket dev`. Raises CliError without one."""
    from hocket.local.runfile import read_run

    run = read_run() if given is None else None
    found = given or (run.monitor if run is not None else None)
    if not found:
        message = "no monitor is known: name it with --monitor http://HOST:PORT, or start `hocket dev`"
        raise CliError(message, kind="no_monitor")
    if not found.startswith(("http://", "https://")):
        raise CliError(f"--monitor takes an address such as http://127.0.0.1:8080, not {found!r}", kind="usage", code=2)
    return found.rstrip("/")


def fetch(monitor: str, settings: Settings) -> dict[str, Any]:
    """All sections of the page. Raises CliError with what to do."""
    request = urllib.request.Request(f"{monitor}/api/top")  # noqa: S310 - checked in `address`
    if settings.monitor_token is not None:
        request.add_header("Authorization", f"Bearer {settings.monitor_token.get_secret_value()}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
            found: dict[str, Any] = json.loads(reply.read())
    except urllib.error.HTTPError as e:
        with e:
            hint = ": set HOCKET_MONITOR_TOKEN" if e.code == 401 else ""
            raise CliError(f"the monitor at {monitor} answers {e.code}{hint}", kind="monitor") from e
    except (OSError, ValueError) as e:
        raise CliError(f"the monitor at {monitor} does not answer: {e}", kind="monitor") from e
    return found


def run_top(settings: Settings, *, monitor: str | None, once: bool, output: Output) -> None:
    """Shows the page until Ctrl-C; into a pipe, or with `once`, a single time."""
    where = address(monitor)
    found = fetch(where, settings)
    if output is Output.json:
        print_json(found)
        return
    out = console()
    if once or not out.is_terminal:
        out.print(view(found))
        return
    from rich.live import Live

    with Live(view(found), console=out, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(_EVERY_S)
            try:
                found = fetch(where, settings)
            except CliError as e:
                found = found | {"summary": found["summary"] | {"problem": str(e)}}
            live.update(view(found), refresh=True)


def view(found: Mapping[str, Any]) -> Any:
    """One screen."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [_head(found["summary"]), Text(), _specialties(found), Text(), _workers(found), Text()]
    parts.append(_requests(found))
    return Group(*parts)


def _head(s: Mapping[str, Any]) -> Any:
    from rich.text import Text

    p50, p95 = (age(None if s[p] is None else round(1000 * s[p])) for p in ("p50", "p95"))
    text = Text.assemble(("Hocket", "bold"), f"  {s['open']} in progress, {s['answers_per_minute']} answers/min")
    text.append(f", p50 {p50}, p95 {p95}, {s['net']} tasks wait, {s['workers']} workers")
    text.append(f", {s['tokens_per_minute']} tokens/min, {dollars(s['usd_per_minute'])}/min, {s['dead']} dead letters")
    if s["problem"]:
        text.append(f"\n{printable(s['problem'])}", style="yellow")
    return text


def _table(*names: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, justify="left" if name.islower() else "right")
    return table


def _state(word: str) -> Any:
    from rich.text import Text

    return Text(word, style=_STYLES.get(word, "red"))


def _specialties(found: Mapping[str, Any]) -> Any:
    table = _table("specialty", "status", "WAITING", "LAG", "OLDEST", "WORKERS", "RUNNING", "IN/MIN", "OUT/MIN", "P95")
    for r in found["specialties"]:
        wanted = "" if r["desired"] is None else f" of {r['desired']}"
        p95 = age(None if r["p95"] is None else round(1000 * r["p95"]))
        cells = [r["net"], r["lag"], age(r["age_ms"]), f"{r['workers']}{wanted}", r["in_flight"]]
        cells += [r["tasks_per_minute"], r["results_per_minute"], p95]
        table.add_row(printable(r["specialty"]), _state(r["status"]), *map(str, cells))
    return table


def _workers(found: Mapping[str, Any]) -> Any:
    table = _table("worker", "service", "health", "RUNNING", "QUEUED", "DONE", "FAILED", "PARTITIONS")
    for w in found["workers"]:
        cells = [w["in_flight"], w["queued"], w["completed"], w["failed"], len(w["partitions"])]
        table.add_row(printable(w["worker"]), printable(w["service"]), _state(w["verdict"]), *map(str, cells))
    return table


def _requests(found: Mapping[str, Any]) -> Any:
    table = _table("request", "tasks")
    for r in found["asked"][:15]:
        done = sum(state == "completed" for _, _, state in r["steps"])
        running = ", ".join(task for task, _, state in r["steps"] if state == "assigned")
        told = f"{done}/{len(r['steps']) + r['more']}  {running}" if r["steps"] else "planning"
        table.add_row(printable(r["id"]), printable(told))
    return table
