"""A real Prometheus that scrapes and evaluates every second, for what only it can show."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.tree import ROOT

RULES = ROOT / "helm/hocket/files/alerts/hocket.rules.yaml"
MISSING = "prometheus is missing: apt-get install prometheus (or put Prometheus' release on the PATH)"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def impatient(folder: Path, thresholds: Mapping[str, tuple[str, str]]) -> Path:
    """The alert rules with no `for`, and with some thresholds replaced: {alert: (old, new)}."""
    rules = yaml.safe_load(RULES.read_text("utf-8"))
    for rule in (r for g in rules["groups"] for r in g["rules"]):
        rule.pop("for", None)
        if rule["alert"] in thresholds:
            old, new = thresholds[rule["alert"]]
            assert rule["expr"].endswith(old), rule["alert"]
            rule["expr"] = rule["expr"].removesuffix(old) + new
    target = folder / "rules.yaml"
    target.write_text(yaml.safe_dump(rules))
    return target


class Prometheus:
    """A running one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _get(self, path: str, **given: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(given)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples that it gives now; NaN is none. Raises HTTPError for a wrong expression."""
        found: list[dict[str, Any]] = self._get("/api/v1/query", query=expression)["result"]
        return [s for s in found if s["value"][1] != "NaN"]

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        return {a["labels"]["alertname"] for a in self._get("/api/v1/alerts")["alerts"] if a["state"] == "firing"}

    def up(self) -> dict[str, bool]:
        """Which target answers."""
        return {s["metric"]["instance"]: s["value"][1] == "1" for s in self.query("up")}

    def exemplars(self, expression: str) -> list[dict[str, Any]]:
        """Exemplars of the last minutes."""
        now = time.time()
        found = self._get("/api/v1/query_exemplars", query=expression, start=str(now - 600), end=str(now))
        return [e for series in found for e in series["exemplars"]]


@contextmanager
def prometheus(folder: Path, ports: list[int], rules: Path) -> Iterator[Prometheus]:
    """One that scrapes these ports of this machine. Raises FileNotFoundError when there is none installed."""
    binary = shutil.which("prometheus")
    if binary is None:
        raise FileNotFoundError(MISSING)
    # As docker compose scrapes it, which says of each target what service it is.
    [job] = yaml.safe_load((ROOT / "compose/prometheus.yml").read_text("utf-8"))["scrape_configs"]
    job = {k: v for k, v in job.items() if k not in ("dns_sd_configs", "relabel_configs")}
    job["static_configs"] = [{"targets": [f"127.0.0.1:{p}"], "labels": {"service": f"target-{p}"}} for p in ports]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [job],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        binary, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/-/ready", process, folder)
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(150):
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError((folder / "prometheus.log").read_text())
