"""The closed loop: a burst, the chart's autoscaler, and real worker processes that follow what it says.

    KUBECONFIG=... python -m bench.autoscale --mode hpa|keda

Real: Kafka (embedded), Hocket's monitor, Prometheus, prometheus-adapter or KEDA, the control plane with its HPA
controller, the chart's objects as helm installs them, and worker processes of Hocket's runtime, one started for each
replica in `.status.replicas` and told to stop (SIGTERM) when there is one less. Not real: the model (each call sleeps),
the pods (a control plane with KWOK fakes them), and the slow scale-down, which is shortened so that the way back fits
into a minute. An oracle outside the system counts calls and results.

Needs kubectl, helm, prometheus and, for hpa, prometheus-adapter on the PATH, a control plane that reaches this
machine's loopback addresses, and for keda a running KEDA. Writes a time line (JSON, SVG) with --out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.autoscale_plot import svg
from bench.conditions import broker, conditions, mark
from hocket.contracts.specialties import load_specialties
from hocket.kafka.admin import apply_topics
from hocket.local.process import free_ports
from tests.support.chart import CHART
from tests.support.ground import Ground, fresh, stub_task
from tests.support.kafka import Service

NS, RELEASE, SPECIALTY = "hocket-scale", "hocket", "writing"
TARGET = f"{RELEASE}-worker-{SPECIALTY}"
APISERVICE = "v1beta1.external.metrics.k8s.io"


@dataclass
class Line:
    """What was seen when; seconds since the burst."""

    at: float
    replicas: int
    working: int
    done: int
    desired: int | None


@dataclass
class Story:
    """One run."""

    mode: str
    tasks: int
    target_s: float
    most: int
    lines: list[Line] = field(default_factory=list)
    verdict: str = ""


def run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=240)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=3) as reply:
        found: dict[str, Any] = json.load(reply)
        return found


@contextlib.contextmanager
def process(log: Path, *command: str) -> Iterator[None]:
    """A process for as long as the block lasts."""
    with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as running:
        try:
            yield
        finally:
            running.terminate()
            running.wait(20)


@contextlib.contextmanager
def prometheus(folder: Path, monitor: int, every: int) -> Iterator[str]:
    """Prometheus on the monitor, with the labels that the chart's PodMonitor would give the series."""
    port = free_ports(1)[0]
    config = {
        "global": {"scrape_interval": f"{every}s"},
        "scrape_configs": [
            {
                "job_name": "hocket",
                "static_configs": [
                    {"targets": [f"127.0.0.1:{monitor}"], "labels": {"namespace": NS, "installation": RELEASE}}
                ],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    flags = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb", "--log.level=warn"]
    with process(folder / "prometheus.log", "prometheus", *flags, f"--web.listen-address=127.0.0.1:{port}"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def adapter(folder: Path, kubeconfig: str, url: str, every: int) -> Iterator[None]:
    """prometheus-adapter with the chart's own rules, serving the External metrics API."""
    port = free_ports(1)[0]
    rules = yaml.safe_load((CHART / "files" / "prometheus-adapter.yaml").read_text())
    (folder / "adapter.yaml").write_text(yaml.safe_dump({"externalRules": rules}))
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hocket-scale-adapter", "namespace": NS},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    api = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": APISERVICE},
        "spec": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": "hocket-scale-adapter", "namespace": NS, "port": port},
        },
    }
    flags = [f"--{kind}-kubeconfig={kubeconfig}" for kind in ("lister", "authentication", "authorization")]
    flags += [f"--secure-port={port}", "--bind-address=127.0.0.1", f"--cert-dir={folder}/certs"]
    flags += [f"--prometheus-url={url}", f"--metrics-relist-interval={every}s", "--metrics-max-age=1m"]
    with process(folder / "adapter.log", "prometheus-adapter", *flags, f"--config={folder}/adapter.yaml"):
        run("kubectl", "delete", "apiservice", APISERVICE, "--ignore-not-found")
        run("kubectl", "apply", "-f", "-", stdin=yaml.safe_dump_all([service, api]))
        try:
            run("kubectl", "wait", "--for=condition=Available", f"apiservice/{APISERVICE}", "--timeout=60s")
            yield
        finally:
            run("kubectl", "delete", "apiservice", APISERVICE, "--ignore-not-found")  # or no namespace could go


def install(mode: str, arguments: argparse.Namespace, monitor: int, prefix: str) -> None:
    """The chart as a user installs it, one specialty only, its way down shortened (as shipped: a pod each 120 s)."""
    down = {
        "stabilizationWindowSeconds": 30,
        "selectPolicy": "Min",
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}],
    }
    values = {
        "kafka": {"bootstrapServers": "kafka:9092", "prefix": prefix, "partitions": arguments.most},
        "blobStore": {"url": "s3://bucket/hocket"},
        "aggregator": {"persistence": {"enabled": False}},
        "workers": {s: {"enabled": s == SPECIALTY} for s in load_specialties()},
        "planner": {"autoscaling": {"enabled": False}},
        "autoscaling": {
            "mode": mode,
            "targetDrainSeconds": int(arguments.target),
            "keda": {"monitorUrl": f"http://127.0.0.1:{monitor}", "pollingInterval": arguments.every},
        },
    }
    values["workers"][SPECIALTY] |= {"autoscaling": {"behavior": {"scaleDown": down}}, "concurrency": 16}
    command = ["helm", "upgrade", "--install", RELEASE, str(CHART), "-n", NS, "--values", "-", "--wait"]
    run(*command, "--timeout", "120s", stdin=yaml.safe_dump(values))


class Follower:
    """Starts and stops worker processes so that there are as many as the Deployment has replicas."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.replicas = 0
        self.up: list[str] = []
        self._made = 0
        self.leaving: list[str] = []

    async def run(self) -> None:
        """Follows until cancelled."""
        path = "jsonpath={.status.replicas}{'\\n'}"
        watch = await asyncio.create_subprocess_exec(
            "kubectl", "-n", NS, "get", "deployment", TARGET, "--watch", "-o", path, stdout=asyncio.subprocess.PIPE
        )
        assert watch.stdout is not None
        try:
            async for line in watch.stdout:
                self.replicas = int(line.strip() or 0)
                self._follow()
        finally:
            watch.terminate()
            await watch.wait()

    def _follow(self) -> None:
        while len(self.up) < self.replicas:
            self._made += 1
            self.up.append(f"{TARGET}-{self._made}")
            self.ground.start(self.up[-1])
        while len(self.up) > self.replicas:
            leaver = self.up.pop()
            self.leaving.append(leaver)
            self.ground.terminate(leaver)


@contextlib.asynccontextmanager
async def watching(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(what: str, holds: Any, seconds: float) -> float:
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise SystemExit(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.25)
    return time.monotonic() - began


async def burst(ground: Ground, follower: Follower, monitor: int, story: Story, arguments: argparse.Namespace) -> float:
    """Pours the tasks in, and takes the time line until all is done and one worker is left. Seconds until done."""
    began, done_at = time.monotonic(), 0.0
    await ground.put(*(stub_task(f"r{i}", seconds=arguments.seconds) for i in range(arguments.tasks)))
    while True:
        now = time.monotonic() - began
        try:
            desired = (await asyncio.to_thread(get, f"http://127.0.0.1:{monitor}/scaling/{SPECIALTY}"))[
                "desired_workers"
            ]
        except OSError:
            desired = None
        done = len(ground.expected) - ground.missing
        story.lines.append(Line(round(now, 1), follower.replicas, len(follower.up), done, desired))
        if not ground.missing and not done_at:
            done_at = now
        if done_at and follower.replicas == 1:
            return done_at
        if now > arguments.patience:
            raise SystemExit(f"not over after {now:.0f} s: {story.lines[-1]}")
        await asyncio.sleep(1)


async def whole(bootstrap: str, folder: Path, arguments: argparse.Namespace) -> int:
    settings = fresh(bootstrap, folder, concurrency=16, partitions=arguments.most, replication=1)
    await apply_topics(settings, load_specialties())
    ground = Ground(settings, folder)
    story = Story(arguments.mode, arguments.tasks, arguments.target, arguments.most)
    monitor = free_ports(1)[0]
    env = {"HOCKET_HTTP_PORT": str(monitor), "HOCKET_SCALING_DRAIN_SECONDS": str(arguments.target)}
    eye = Service("services.monitor", settings, folder / "monitor.log", **env).start()
    follower = Follower(ground)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [s.kill() for s in (*ground.workers.values(), eye) if s.process])
        run("kubectl", "apply", "-f", "-", stdin=f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {NS}}}}}")
        if arguments.mode == "hpa":
            url = stack.enter_context(prometheus(folder, monitor, arguments.every))
            stack.enter_context(adapter(folder, arguments.kubeconfig, url, arguments.every))
        stack.callback(run, "helm", "uninstall", RELEASE, "-n", NS, "--wait")
        await asyncio.to_thread(install, arguments.mode, arguments, monitor, settings.prefix)
        async with watching(follower.run()), watching(ground.watch()):
            await until("one worker, and the monitor's signal", lambda: follower.replicas == 1 and _known(monitor), 90)
            await asyncio.sleep(3 * arguments.every)  # the autoscaler has seen it
            done = await burst(ground, follower, monitor, story, arguments)
            for name in follower.leaving:
                assert await ground.stopped(name) == 0, ground.workers[name].tail()
            verdict = await ground.verdict()
    return told(story, done, str(verdict), verdict.lost == 0 and verdict.extra == 0, arguments)


def _known(monitor: int) -> bool:
    try:
        return "desired_workers" in get(f"http://127.0.0.1:{monitor}/scaling/{SPECIALTY}")
    except OSError:
        return False


def told(story: Story, done: float, verdict: str, clean: bool, arguments: argparse.Namespace) -> int:
    most = max(line.replicas for line in story.lines)
    at = next(line.at for line in story.lines if line.replicas == most)
    end = story.lines[-1].at
    story.verdict = verdict
    print(f"{story.mode}: 1 -> {most} workers after {at:.0f} s, 1 again after {end:.0f} s")
    print(f"  {verdict}")
    print(f"  backlog of {story.tasks} gone after {done:.0f} s (target {story.target_s:.0f} s: {_met(done, story)})")
    if arguments.out:
        base = Path(arguments.out) / f"autoscale-{story.mode}"
        base.with_suffix(".json").write_text(json.dumps(asdict(story), indent=None) + "\n")
        base.with_suffix(".svg").write_text(svg(asdict(story)))
    return 0 if clean and most == story.most and done <= story.target_s else 1


def _met(done: float, story: Story) -> str:
    return mark(done, story.target_s, less=True)


async def main(arguments: argparse.Namespace) -> int:
    print(conditions(**{k: v for k, v in vars(arguments).items() if k not in ("kubeconfig", "out")}))
    with tempfile.TemporaryDirectory() as name:
        async with broker() as running:
            return await whole(running.bootstrap, Path(name), arguments)


if __name__ == "__main__":
    import os

    parser = argparse.ArgumentParser(prog="python -m bench.autoscale", description=__doc__)
    parser.add_argument("--mode", choices=("hpa", "keda"), required=True)
    parser.add_argument("--tasks", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each call")
    parser.add_argument("--most", type=int, default=8, help="partitions, and so the most workers")
    parser.add_argument("--target", type=float, default=60, help="seconds within which a backlog should be gone")
    parser.add_argument("--every", type=int, default=5, help="seconds between scrapes and looks (default installs: 15)")
    parser.add_argument("--patience", type=float, default=400)
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG", ""))
    parser.add_argument("--out", help="folder for the time line")
    sys.exit(asyncio.run(main(parser.parse_args())))
