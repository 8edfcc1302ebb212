"""`hocket acls`."""

from __future__ import annotations

from dataclasses import asdict

from hocket.cli.base import COMPLETE, Output, print_json, usage
from hocket.contracts.acls import acls, commands
from hocket.contracts.specialties import load_specialties
from hocket.kafka.client import topics_of
from hocket.runtime.settings import Settings


def show_acls(
    settings: Settings,
    *,
    principal_prefix: str,
    only: list[str],
    command_config: str | None,
    output: Output,
) -> int:
    """Prints what each service may do, as kafka-acls commands or as JSON. Asks no broker, changes nothing."""
    rights = acls(
        topics_of(settings),
        sorted(load_specialties(settings.specialties)),
        settings.group,
        settings.reply_topics,
        replay=settings.monitor_replay,
    )
    unknown = sorted(set(only) - set(rights))
    if unknown:
        usage(f"no service {', '.join(unknown)}; there are {', '.join(rights)}")
    chosen = {name: found for name, found in rights.items() if not only or name in only}
    if output is Output.json:
        services = [
            {"service": name, "principal": principal_prefix + name, "acls": [asdict(a) for a in found]}
            for name, found in chosen.items()
        ]
        print_json({"prefix": settings.prefix, "services": services})
        return COMPLETE
    for name, found in chosen.items():
        print(f"# {name}")
        principal = principal_prefix + name
        for line in commands(principal, found, bootstrap=settings.bootstrap, command_config=command_config):
            print(line)
    return COMPLETE
