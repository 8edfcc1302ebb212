"""The chart on a control plane: install, upgrade, rollback, uninstall, and a server-side dry run of every example.

    KUBECONFIG=... python -m bench.chart_lab [--helm helm --helm helm4]

Any cluster will do whose pods become ready, real ones or faked (KWOK): it proves objects, admission and Helm's own life
cycle, not containers. It makes the namespaces hocket-lab (enforcing the restricted Pod Security Standard), hocket and
kafka, and volumes of the storage class `hocket-lab`; what it made is removed at the end. Exit code 1 at the first
thing that does not hold. Kinds whose CRDs the cluster lacks are named, and left out of the dry run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import yaml

from tests.support.chart import CHART, examples, render

NS = "hocket-lab"
SETS = (
    "kafka.bootstrapServers=kafka:9092",
    "blobStore.url=s3://bucket/hocket",
    "aggregator.persistence.storageClassName=hocket-lab",
)
GIVEN = [x for s in SETS for x in ("--set", s)]
WRONG = ["--set", "workers.code.autoscaling.maxReplicas=99"]
EVERYTHING = ["--set", "monitoring.dashboards.enabled=true", "--set", "monitoring.prometheusRule.enabled=true"]
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


def run(*command: str, stdin: str | None = None) -> str:
    """Output of a command that must succeed; ends the program with what it said otherwise."""
    done = tried(*command, stdin=stdin)
    if done.returncode:
        raise SystemExit(f"FAILED: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def tried(*command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=300)


def kubectl(*words: str, stdin: str | None = None) -> str:
    return run("kubectl", *words, stdin=stdin)


def found(kind: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(kubectl("-n", NS, "get", kind, "-o", "json"))["items"]
    return items


def until(what: str, holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"FAILED: not within {seconds:.0f} s: {what}; left: {_left()}")
        time.sleep(0.5)


def ok(said: str) -> None:
    print(f"ok  {said}", flush=True)


def ground() -> None:
    """Namespaces, and volumes where the cluster makes none by itself."""
    volume = {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "hocket-lab"}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n, "labels": RESTRICTED if n == NS else {}}}
        for n in (NS, "hocket", "kafka")
    ]
    objects += [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"hocket-lab-{i}"},
            "spec": volume | {"hostPath": {"path": "/tmp"}, "persistentVolumeReclaimPolicy": "Recycle"},
        }
        for i in range(8)
    ]
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))


def life(helm: str) -> None:
    """Install, test, upgrade, rollback, refused upgrade, uninstall."""
    release = ["hocket", "-n", NS]
    tried(helm, "uninstall", *release, "--wait")
    for example in examples():
        run(helm, "lint", "--strict", str(CHART), "--values", str(example / "values.yaml"))
    ok(f"{helm}: lint --strict of {len(examples())} examples")
    began = time.monotonic()
    run(helm, "install", *release, str(CHART), *GIVEN, "--wait", "--timeout", "120s")
    ready = [p["metadata"]["name"] for p in found("pods") if p["status"]["phase"] == "Running"]
    ok(f"{helm}: install --wait in {time.monotonic() - began:.1f} s, {len(ready)} pods run in a restricted namespace")
    jobs = [e for e in found("events") if e["involvedObject"]["name"] == "hocket-topics" and e["reason"] == "Completed"]
    if not jobs or any(j["metadata"]["name"] == "hocket-topics" for j in found("jobs")):
        raise SystemExit("FAILED: the hook's job did not complete, or was not removed")
    ok(f"{helm}: the topics job ran as a hook before, and is gone")
    run(helm, "test", *release, "--timeout", "60s")
    ok(f"{helm}: test (its pod is faked here)")
    kubectl("-n", NS, "scale", "deployment/hocket-worker-writing", "--replicas", "3")
    run(helm, "upgrade", *release, str(CHART), *GIVEN, "--set", "workers.writing.concurrency=8", "--wait")
    ok(f"{helm}: upgrade --wait; the autoscaler's 3 replicas are {_kept()}")
    refused = tried(helm, "upgrade", *release, str(CHART), *GIVEN, *WRONG)
    if refused.returncode == 0 or "12 partitions" not in refused.stderr:
        raise SystemExit(f"FAILED: a wrong value was not refused: {refused.stderr}")
    ok(f"{helm}: a wrong value is refused: {refused.stderr.strip().splitlines()[0][-190:]}")
    run(helm, "rollback", "hocket", "1", "-n", NS, "--wait")
    ok(f"{helm}: rollback --wait; the autoscaler's 3 replicas are {_kept()}")
    _without_hooks(helm, release)
    run(helm, "uninstall", *release, "--wait")
    # Helm never removes what hooks made: the pod of its test stays for its log, until the next test.
    until("all gone", lambda: _left() <= {"Pod/hocket-test-ask"})
    ok(f"{helm}: uninstall --wait leaves {', '.join(_left())}")


def _kept() -> str:
    replicas = next(d for d in found("deployments") if d["metadata"]["name"] == "hocket-worker-writing")["spec"]
    if replicas["replicas"] != 3:
        raise SystemExit(f"FAILED: {replicas['replicas']} replicas")
    return "kept"


def _without_hooks(helm: str, release: list[str]) -> None:
    given = [*GIVEN, "--set", "topics.useHelmHooks=false"]
    run(helm, "upgrade", *release, str(CHART), *given, "--wait", "--wait-for-jobs", "--timeout", "120s")
    one = {j["metadata"]["name"] for j in found("jobs")}
    run(helm, "upgrade", *release, str(CHART), *given, "--set", "topics.taskPartitions=24", "--wait", "--wait-for-jobs")
    two = {j["metadata"]["name"] for j in found("jobs")}
    if len(one) != 1 or len(two) != 1 or one == two:
        raise SystemExit(f"FAILED: jobs without hooks: {one}, then {two}")
    ok(f"{helm}: without hooks the job has another name for other content: {one.pop()}, {two.pop()}")


def _left() -> set[str]:
    kinds = "deployments,statefulsets,pods,services,jobs,horizontalpodautoscalers,poddisruptionbudgets,configmaps,"
    kinds += "serviceaccounts,persistentvolumeclaims"
    own = {f"{i['kind']}/{i['metadata']['name']}" for i in found(kinds)}
    return own - {"ConfigMap/kube-root-ca.crt", "ServiceAccount/default"}


def dry_runs(helm: str) -> None:
    """The real schemas, defaulting and validation of the API server, for every object of every example."""
    known = set(kubectl("api-resources", "-o", "name").split())
    for example in examples():
        documents = [d for d in yaml.safe_load_all(render(helm, example, *EVERYTHING)) if d]
        unknown = sorted({d["kind"] for d in documents if not _has(known, d)})
        rest = [d for d in documents if d["kind"] not in unknown]
        for d in rest:
            d["metadata"].setdefault("namespace", "hocket")
        for how in ([], ["--server-side"]):  # Helm 4 applies on the server, which also refuses what stands twice
            kubectl("apply", *how, "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump_all(rest))
        left = f"; not known to this cluster: {', '.join(unknown)}" if unknown else ""
        ok(f"{helm}: server-side dry run of {example.name}: {len(rest)} objects{left}")


def _has(known: set[str], document: dict[str, Any]) -> bool:
    group = document["apiVersion"].rpartition("/")[0]
    plural = {"NetworkPolicy": "networkpolicies", "CiliumNetworkPolicy": "ciliumnetworkpolicies"}
    name = plural.get(document["kind"], document["kind"].lower() + "s")
    return f"{name}.{group}" in known if group else name in known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--helm", action="append", help="a Helm program; may be given several times")
    helms = parser.parse_args().helm or ["helm"]
    ground()
    try:
        for helm in helms:
            print(f"{helm} {run(helm, 'version', '--short').strip()}", flush=True)
            life(helm)
            dry_runs(helm)
    finally:
        tried("kubectl", "delete", "pv", *(f"hocket-lab-{i}" for i in range(8)), "--wait=false")
        tried("kubectl", "delete", "namespace", NS, "hocket", "kafka", "--wait=false")


if __name__ == "__main__":
    main()
