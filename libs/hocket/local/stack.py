"""What `hocket dev` runs and where: its options, its folders, each service's module and environment."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hocket.local.process import free_ports
from hocket.local.service import ServiceSpec
from hocket.runtime.settings import Settings, data_home

DEFAULT_PARTITIONS = 4
_GRACE_SECONDS = "5"
_NO_MODELS = {f"{p}_{what}": "" for p in ("ANTHROPIC", "OPENAI") for what in ("API_KEY", "BASE_URL")}


@dataclass(frozen=True, kw_only=True)
class DevOptions:
    """How to run a stack. `bootstrap` names a broker of the user's own; without it one is started.

    `partitions` None means: what the kept topics have, else 4. `publish` lets other commands on this machine find the
    stack. `without_models` hides provider keys from the services, so that nothing can be spent. A service that ends
    more than `max_restarts` times within `restart_seconds` stops everything.
    """

    bootstrap: str | None = None
    prefix: str = ""
    ephemeral: bool = False
    isolate: bool = False
    data: Path | None = None
    partitions: int | None = None
    specialties: Path | None = None
    workflows: Path | None = None
    publish: bool = True
    without_models: bool = False
    ready_seconds: float = 120.0
    stop_seconds: float = 12.0
    max_restarts: int = 5
    restart_seconds: float = 60.0

    def folder(self) -> Path:
        """Where a stack that keeps its data keeps it."""
        return (self.data or data_home() / "dev").expanduser().absolute()


def stack_settings(options: DevOptions, folder: Path, bootstrap: str, partitions: int) -> Settings:
    """The settings of the stack's own clients; security and registry come from the environment, as everywhere."""
    store = os.environ.get("HOCKET_BLOB_STORE") or (folder / "blobs").as_uri()
    own = Settings()
    specialties, workflows = options.specialties or own.specialties, options.workflows or own.workflows
    return Settings(
        bootstrap=bootstrap,
        prefix=options.prefix,
        partitions=partitions,
        blob_store=store,
        state_dir=folder / "state",
        specialties=specialties.expanduser().absolute() if specialties else None,
        workflows=workflows.expanduser().absolute() if workflows else None,
    )


def service_specs(
    options: DevOptions, settings: Settings, folder: Path, specialties: Iterable[str]
) -> list[ServiceSpec]:
    """The services to start: three processes, or with `isolate` one for each role as in a deployment."""
    roles = [("aggregator", "services.aggregator", ()), ("monitor", "services.monitor", ())]
    hosted: list[tuple[str, str, tuple[str, ...]]]
    if options.isolate:
        hosted = [("planner", "services.planner", ())]
        hosted += [(f"worker-{s}", "services.workers", ("--specialty", s)) for s in sorted(specialties)]
    else:
        hosted = [("workers", "hocket.local.host", ())]
    wanted = [*roles, *hosted]
    ports = free_ports(len(wanted))
    return [
        ServiceSpec(
            name=name,
            module=module,
            arguments=arguments,
            port=port,
            log=folder / "logs" / f"{name}.log",
            env=_environment(settings, name) | (_NO_MODELS if options.without_models else {}),
        )
        for (name, module, arguments), port in zip(wanted, ports, strict=True)
    ]


def _environment(settings: Settings, name: str) -> dict[str, str]:
    env = {
        "HOCKET_BOOTSTRAP": settings.bootstrap,
        "HOCKET_PREFIX": settings.prefix,
        "HOCKET_PARTITIONS": str(settings.partitions),
        "HOCKET_BLOB_STORE": settings.blob_store,
        "HOCKET_STATE_DIR": str(settings.state_dir),
        "HOCKET_INSTANCE": f"dev-{name}",
        "HOCKET_HTTP_HOST": "127.0.0.1",
        "HOCKET_LOG_FORMAT": os.environ.get("HOCKET_LOG_FORMAT", "text"),
        "HOCKET_GRACE_SECONDS": os.environ.get("HOCKET_GRACE_SECONDS", _GRACE_SECONDS),
    }
    for key, path in (("HOCKET_SPECIALTIES", settings.specialties), ("HOCKET_WORKFLOWS", settings.workflows)):
        if path is not None:
            env[key] = str(path)
    return env
