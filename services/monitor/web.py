"""The monitor's pages: probes, metrics, health of the services and lag of the groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from hocket.runtime.settings import Settings
from services.monitor.app import Live
from services.monitor.board import Board
from services.monitor.counts import Tally
from services.monitor.hub import Hub
from services.monitor.lag import GroupLag, PartitionLag, Service, Worker, services
from services.monitor.metrics import registry
from services.monitor.offsets import Offsets
from services.monitor.scaling import Signal
from services.monitor.signals import Signals, signal_json
from services.monitor.site import add_site, guard
from services.monitor.verdicts import Standing, arrivals_per_second

STALE_MS = 30_000
"""With offsets older than this the monitor is not ready: its figures would mislead."""


class Page:
    """What the pages and the metrics show. `live` is set once faust's tables stand; until then it shows no one."""

    def __init__(self, settings: Settings, offsets: Offsets, now_ms: Callable[[], int]) -> None:
        self._group_prefix = settings.group("")
        self._offsets = offsets
        self.now_ms = now_ms
        self._signals = Signals(settings, offsets, now_ms)
        offsets.on_look = self._looked
        self.live: Live | None = None

    def _looked(self) -> None:
        if self.live is not None:  # without the heartbeats nobody knows who works, and how fast
            self._signals.take(self.workers())

    def groups(self) -> Iterable[GroupLag]:
        return self._offsets.groups

    def drain_seconds(self, group: str) -> float | None:
        return self._offsets.drain_seconds(group)

    def offsets_age_ms(self) -> int | None:
        return self._offsets.age_ms(self.now_ms())

    def standing(self, group: GroupLag, partition: PartitionLag) -> Standing:
        return self._signals.standing(group, partition)

    def signals(self) -> Mapping[str, Signal]:
        return self._signals.now()

    def arrivals(self, topic: str) -> float:
        """Records per second that came into a topic over the last minute."""
        found = {
            (p.topic, p.partition): self._offsets.window(g.group, (p.topic, p.partition))
            for g in self._offsets.groups
            for p in g.partitions
            if p.topic == topic
        }
        return sum(arrivals_per_second(window) for window in found.values())

    def paused(self) -> frozenset[str]:
        """topic/partition of what its owner takes nothing from just now."""
        return frozenset(p for w in self.workers() if w.verdict in ("alive", "late") for p in w.heartbeat.paused)

    def workers(self) -> list[Worker]:
        return self.live.workers(self.now_ms()) if self.live else []

    def services(self) -> tuple[Service, ...]:
        """Services with workers, and those that have topics to read but no worker. The monitor leaves itself out."""
        expected = (g.group.removeprefix(self._group_prefix) for g in self._offsets.groups)
        return services(self.workers(), [name for name in expected if name != "monitor"])

    def answers(self) -> Tally:
        return self.live.answers() if self.live else Tally()

    def dead_letters(self) -> Tally:
        return self.live.dead_letters() if self.live else Tally()

    def undecodable(self) -> Mapping[str, int]:
        return self.live.undecodable if self.live else {}

    def ready(self) -> str | None:
        """None when the figures can be trusted, otherwise why not."""
        if self.live is None:
            return "the tables are not rebuilt yet"
        if not self.live.whole():
            return "another monitor reads part of the topics: run one replica (in Kubernetes with strategy Recreate)"
        age = self.offsets_age_ms()
        if age is None:
            return "the offsets have not been read yet"
        return "Kafka does not answer: the lag figures are more than 30 s old" if age > STALE_MS else None


async def serve(settings: Settings, page: Page, board: Board, hub: Hub) -> tuple[web.AppRunner, str]:
    """Serves the pages; returns the runner, to be cleaned up, and the address. Raises OSError if the port is taken."""
    app = web.Application(middlewares=[guard(settings)])
    add_site(app, settings, board, hub)
    metrics = registry(page, settings.lag_metrics, settings.cluster_name)

    async def show_metrics(request: web.Request) -> web.Response:
        encode, kind = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(metrics), headers={"Content-Type": kind})

    async def startup(_request: web.Request) -> web.Response:
        return _probe("startup", None if page.live else "the tables are not rebuilt yet")

    async def ready(_request: web.Request) -> web.Response:
        return _probe("ready", page.ready())

    async def live(_request: web.Request) -> web.Response:
        return _probe("live", None)  # whoever answers has a running event loop; a dead faust ends the process

    async def health(_request: web.Request) -> web.Response:
        return web.json_response(health_json(page.services(), page.workers()))

    async def lag(_request: web.Request) -> web.Response:
        return web.json_response(lag_json(page))

    async def scaling(_request: web.Request) -> web.Response:
        return _scaling(page, None)

    async def scaling_of(_request: web.Request) -> web.Response:
        return _scaling(page, _request.match_info["specialty"])

    routes = {"/startup": startup, "/ready": ready, "/live": live, "/metrics": show_metrics}
    routes |= {"/api/health": health, "/api/lag": lag, "/scaling": scaling, "/scaling/{specialty}": scaling_of}
    for path, handler in routes.items():
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, settings.http_host, settings.http_port).start()
    host, port = runner.addresses[0][:2]
    return runner, f"http://{host}:{port}"


def _probe(name: str, problem: str | None) -> web.Response:
    """As every service answers a probe: its name, true or false."""
    if problem is None:
        return web.json_response({name: True})
    return web.json_response({name: False, "reason": problem}, status=503)


def _scaling(page: Page, specialty: str | None) -> web.Response:
    """Without figures there is no signal: an autoscaler must keep what it has, so it gets an error and no number."""
    found = page.signals()
    if not found:
        return web.json_response({"error": page.ready() or "there are no task topics yet"}, status=503)
    now = page.now_ms()
    if specialty is None:
        return web.json_response({"specialties": {s: signal_json(v, now) for s, v in sorted(found.items())}})
    if specialty not in found:
        known = ", ".join(sorted(found))
        return web.json_response({"error": f"no task topic of {specialty!r}; there are {known}"}, status=404)
    return web.json_response(signal_json(found[specialty], now))


def health_json(found: Iterable[Service], workers: Iterable[Worker]) -> dict[str, Any]:
    """The body of /api/health."""
    return {
        "services": [asdict(s) for s in found],
        "workers": [
            w.heartbeat.model_dump(mode="json") | {"verdict": w.verdict, "age_ms": w.age_ms, "deployment": w.service}
            for w in workers
        ],
    }


def lag_json(page: Page) -> dict[str, Any]:
    """The body of /api/lag: groups -> topics -> partitions, with totals at each level."""
    groups, paused = list(page.groups()), page.paused()
    return {
        "age_ms": page.offsets_age_ms(),
        "lag": sum(g.lag for g in groups),
        "net": sum(g.net for g in groups),
        "lost": sum(g.lost for g in groups),
        "groups": {g.group: _group_json(page, g, paused) for g in groups},
    }


def _group_json(page: Page, group: GroupLag, paused: frozenset[str]) -> dict[str, Any]:
    topics = {
        topic: {
            "lag": sum(p.lag for p in found),
            "net": sum(p.net for p in found),
            "partitions": {str(p.partition): _partition_json(page, group, p, paused) for p in found},
        }
        for topic, found in group.topics().items()
    }
    return {
        "lag": group.lag,
        "net": group.net,
        "lost": group.lost,
        "age_ms": group.age_ms,
        "drain_seconds": page.drain_seconds(group.group),
        "members": len(group.members),
        "idle_members": group.idle_members,
        "topics": topics,
    }


def _partition_json(page: Page, group: GroupLag, p: PartitionLag, paused: frozenset[str]) -> dict[str, Any]:
    own = {k: v for k, v in asdict(p).items() if k not in ("topic", "partition", "owner", "runners")}
    owner = None
    if p.owner is not None:
        owner = {"consumer_id": p.owner.consumer_id, "client_id": p.owner.client_id, "host": p.owner.host}
    standing = page.standing(group, p)
    return own | {"status": standing, "paused": f"{p.topic}/{p.partition}" in paused, "owner": owner}
