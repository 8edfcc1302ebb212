"""What the chart renders, run for real: every command line and environment of it, as processes on the embedded broker.

    python -m bench.chart_run

Rendered by helm (on the PATH), then run as a kubelet would: the topics hook first, then every service with its own
environment and nothing else of this machine's, probed at the rendered paths; one specialty of one's own out of a
ConfigMap; then the command of `helm test`; then SIGTERM, within the rendered grace. Volumes are folders: one of its own
for an emptyDir, a shared one for a claim, a ConfigMap as the kubelet writes it (links through ..data). Addresses and
ports are replaced (each pod has a network of its own in a cluster, here all share one). Exit code 1 when something does
not hold.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.conditions import broker, conditions
from hocket.cli.scaffold import new_specialty
from hocket.local.process import free_ports
from tests.support.chart import CHART, helms

BIN = Path(sys.executable).parent
OWN = "tone"
SETS = (
    "kafka.partitions=4",
    "topics.replicationFactor=1",
    "blobStore.existingClaim=blobs",
    f"workers.{OWN}.configMap={OWN}-folder",
    "default.maxCallSeconds=20",
)


@dataclass
class Pod:
    """One rendered pod with its folders; `process` once it runs."""

    name: str
    spec: dict[str, Any]
    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> Path:
        return self.root / f"{self.name}.log"

    @property
    def container(self) -> dict[str, Any]:
        found: dict[str, Any] = self.spec["containers"][0]
        return found

    def folders(self) -> dict[str, Path]:
        """Mount path to folder."""
        volumes = {v["name"]: v for v in self.spec.get("volumes", ())}
        found = {}
        for mount in self.container["volumeMounts"]:
            volume = volumes.get(mount["name"], {})
            if "configMap" in volume:
                folder = self.root / "configmaps" / volume["configMap"]["name"]
            elif "persistentVolumeClaim" in volume:
                folder = self.root / "claims" / volume["persistentVolumeClaim"]["claimName"]
            else:
                folder = self.root / "pods" / self.name / mount["name"]
            folder.mkdir(parents=True, exist_ok=True)
            found[mount["mountPath"]] = folder
        return found

    def environment(self) -> dict[str, str]:
        """What the pod's process sees: the rendered variables, and nothing of this machine but where programs are."""
        found = {"PATH": f"{BIN}:/usr/bin:/bin", "HOCKET_CACHE": os.environ.get("HOCKET_CACHE", "")}
        found = {k: v for k, v in found.items() if v}
        places = sorted(self.folders().items(), key=lambda item: -len(item[0]))
        # Specialties are mounted one by one below a folder of the image.
        places.append(("/etc/hocket/specialties", self.root / "configmaps" / "specialties"))
        for entry in self.container["env"]:
            value = entry.get("value")
            if value is None:
                assert entry["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name", entry
                value = self.name
            for mount, folder in places:
                if mount in value:
                    value = value.replace(mount, str(folder))
                    break
            found[entry["name"]] = value
        own = {"HOCKET_HTTP_HOST": "127.0.0.1", "HOCKET_HTTP_PORT": str(self.port)}
        return found | {k: v for k, v in own.items() if k in found}

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.container["args"], env=self.environment(), stdout=out, stderr=subprocess.STDOUT, cwd=self.root
            )
        self.began = time.monotonic()

    def probe(self, kind: str) -> bool:
        """Whether the rendered probe passes."""
        path = self.container[kind]["httpGet"]["path"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def rendered(bootstrap: str) -> list[dict[str, Any]]:
    given = [x for s in (f"kafka.bootstrapServers={bootstrap}", *SETS) for x in ("--set", s)]
    command = [helms()[0], "template", "hocket", str(CHART), "--namespace", "hocket", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def pods_of(documents: list[dict[str, Any]], root: Path) -> dict[str, Pod]:
    """Every pod once, by name; the aggregator's has the name that a StatefulSet gives it."""
    found = {}
    for d in documents:
        spec = d["spec"] if d["kind"] == "Pod" else d.get("spec", {}).get("template", {}).get("spec", {})
        if "containers" in spec:
            name = d["metadata"]["name"] + ("-0" if d["kind"] == "StatefulSet" else "")
            found[name] = Pod(name, spec, root, free_ports(1)[0])
    return found


def own_specialty(root: Path) -> None:
    """A scaffolded specialty in a ConfigMap, mounted as the kubelet does it."""
    new_specialty(OWN, into=root / "own", builtin=False, chart=None)
    mounted = root / "configmaps" / f"{OWN}-folder"
    data = mounted / "..2026"
    data.mkdir(parents=True)
    for file in (root / "own" / OWN).iterdir():
        (data / file.name).write_bytes(file.read_bytes())
        (mounted / file.name).symlink_to(Path("..data") / file.name)
    (mounted / "..data").symlink_to("..2026")
    (root / "configmaps" / "specialties").mkdir()
    (root / "configmaps" / "specialties" / OWN).symlink_to(mounted)


def job(pod: Pod, what: str) -> None:
    """Runs a pod that ends; its output on failure."""
    pod.start()
    assert pod.process is not None
    code = pod.process.wait(180)
    print(f"{what}: exit {code} after {time.monotonic() - pod.began:.1f} s")
    if code:
        raise SystemExit(pod.tail())


def until_ready(services: list[Pod]) -> None:
    """Waits until every startup and readiness probe passes, each within its rendered time."""
    waiting = list(services)
    while waiting:
        for pod in list(waiting):
            probe = pod.container["startupProbe"]
            if pod.process is None or pod.process.poll() is not None:
                raise SystemExit(f"{pod.name} has ended:\n{pod.tail()}")
            if pod.probe("startupProbe") and pod.probe("readinessProbe") and pod.probe("livenessProbe"):
                waiting.remove(pod)
            elif time.monotonic() - pod.began > probe["periodSeconds"] * probe["failureThreshold"]:
                raise SystemExit(f"{pod.name} is not ready in its rendered time:\n{pod.tail()}")
        time.sleep(0.5)


def stop(services: list[Pod]) -> bool:
    """SIGTERM to all; whether each ended by itself within its grace, with 0."""
    for pod in services:
        if pod.process is not None and pod.process.poll() is None:
            pod.process.send_signal(signal.SIGTERM)
    good, began = True, time.monotonic()
    for pod in services:
        assert pod.process is not None
        try:
            code = pod.process.wait(max(0.1, began + pod.spec["terminationGracePeriodSeconds"] - time.monotonic()))
        except subprocess.TimeoutExpired:
            pod.process.kill()
            code = -9
        if code:
            good = False
            print(f"{pod.name} ended with {code}:\n{pod.tail()}")
    print(f"SIGTERM: all ended within {time.monotonic() - began:.1f} s")
    return good


async def main() -> int:
    if not helms():
        raise SystemExit("no helm on the PATH: nothing can be rendered")
    print(conditions())
    with tempfile.TemporaryDirectory() as name:
        async with broker() as running:
            return await asyncio.to_thread(whole, running.bootstrap, Path(name))


def whole(bootstrap: str, root: Path) -> int:
    own_specialty(root)
    pods = pods_of(rendered(bootstrap), root)
    job(pods.pop("hocket-topics"), "topics hook (`hocket topics apply`)")
    test = pods.pop("hocket-test-ask")
    services = list(pods.values())
    for pod in services:
        pod.start()
    try:
        until_ready(services)
        print(f"{len(services)} services are ready {time.monotonic() - services[0].began:.1f} s after their start")
        job(test, "helm test (`hocket ask`)")
        print("\n".join(f"  | {line}" for line in test.log.read_text().splitlines()[:12]))
        with urllib.request.urlopen(
            f"http://127.0.0.1:{pods['hocket-monitor'].port}/scaling/{OWN}", timeout=5
        ) as reply:
            print(f"the monitor on {OWN}: {reply.read().decode()}")
    finally:
        good = stop(services)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
