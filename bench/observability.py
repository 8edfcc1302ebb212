"""What metrics and tracing cost: the diamond's whole stack with them and without, alternating in one run.

CPU milliseconds of Hocket's own six processes a request: at full load, as many requests as they can do, and at a pace
that both keep up with. Once with the shipped planner and workers, which ask a simulated provider through the SDK; once
with stubs in their place, which do next to nothing, so that everything around a call weighs most.

`on`: metrics are counted, scraped every five seconds as in compose, and 10 % of the requests are traced (a collector
process answers 200 and throws away). `off`: no tracing, and prometheus_client's counting replaced by nothing. `all`:
every request traced.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.conditions import broker, conditions, mark
from bench.diamond import JAVA, sustained
from bench.diamond_rig import Rig, rig
from bench.observed import OUTPUTS, PLAN
from hocket.local.broker import BrokerOptions, EmbeddedBroker
from tests.support.ground import fresh
from tests.support.simulated import Reply, SimulatedProvider, prompt_of, tool_of

COLLECTOR = """
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
print(server.server_port, flush=True)
server.serve_forever()
"""
DEAF = """
import prometheus_client.metrics as m
m.Counter.inc = m.Gauge.set = m.Gauge.inc = m.Gauge.dec = m.Histogram.observe = lambda *a, **k: None
"""
SHARES = {"off": None, "on": "0.1", "all": "1.0"}


@contextmanager
def collector() -> Iterator[int]:
    """Its port."""
    process = subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


@contextmanager
def environment(arm: str, port: int, folder: Path) -> Iterator[None]:
    """What the services are started with."""
    share, before = SHARES[arm], dict(os.environ)
    if share is None:
        (folder / "sitecustomize.py").write_text(DEAF)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    else:
        os.environ |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": share,
            "HOCKET_HTTP_PORT": "0",
        }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def scrape(logs: Path, addresses: set[str]) -> None:
    """Reads /metrics of every process whose log says where, as often as compose does. Adds what has answered."""

    def once() -> None:
        for log in logs.glob("*.log"):
            found = re.search(r"health and metrics at (http://[0-9.:]+)", log.read_text(errors="replace"))
            if found is not None:
                asked = urllib.request.Request(
                    f"{found[1]}/metrics", headers={"Accept": "application/openmetrics-text"}
                )
                urllib.request.urlopen(asked, timeout=5).read()
                addresses.add(found[1])

    while True:
        with contextlib.suppress(TimeoutError, ConnectionError):  # a busy machine; what never answers is noticed below
            await asyncio.to_thread(once)
        await asyncio.sleep(5)


async def paced(made: Rig, per_second: float, seconds: float) -> float:
    """CPU milliseconds a request of Hocket's own processes at this pace."""
    client, began, before = made.client, time.monotonic(), made.cpu()
    for number in range(count := int(per_second * seconds)):
        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        await client.send(f"paced-{number}")
    took = time.monotonic() - began
    assert took < 1.1 * seconds, f"the pace was not kept: {took:.1f} s"
    await client.until(0, 30)
    return 1000 * _own({name: s - before[name] for name, s in made.cpu().items()}) / count


def _own(cpu: dict[str, float]) -> float:
    return sum(spent for process, spent in cpu.items() if process not in ("broker", "client"))


async def measured(
    running: EmbeddedBroker, name: str, port: int, folder: Path, given: argparse.Namespace, real: Mapping[str, str]
) -> list[float]:
    """CPU milliseconds a request at full load, requests a second, and CPU milliseconds a request at the pace."""
    # Without bundles, whose number depends on how far behind the aggregator happens to be.
    settings = fresh(running.bootstrap, folder, partitions=4, concurrency=256, bundles=False)
    folder.mkdir()
    right = OUTPUTS["Recommend one."]["text"] if real else ""
    with environment(name, port, folder):
        async with rig(running, settings, folder / "logs", real=real, right=right) as made:
            scraped: set[str] = set()
            watching = asyncio.create_task(scrape(folder / "logs", scraped)) if name != "off" else None
            rate, cpu = await sustained(made, given.in_flight, given.seconds, given.warm)
            calm = await paced(made, given.pace[bool(real)], given.seconds)
            if watching is not None:
                assert not watching.done(), watching.result()
                watching.cancel()
                assert len(scraped) == len(made.workers) + 1, f"scraped {len(scraped)} processes only"
            assert not [*made.client.again, *made.client.wrong], made.client.faults()
    return [_own(cpu), rate, calm]


async def compared(
    running: EmbeddedBroker, port: int, folder: Path, given: argparse.Namespace, real: Mapping[str, str]
) -> bool:
    """Measures the arms in turns and prints them; whether the bound is kept."""
    print(f"{'shipped services, models by the SDK' if real else 'stubs'}:")
    folder.mkdir()
    found: dict[str, list[list[float]]] = {arm: [] for arm in given.arms}
    await measured(running, given.arms[0], port, folder / "first", given, real)  # the broker compiles itself
    for number in range(given.rounds):
        for arm in given.arms if number % 2 == 0 else reversed(given.arms):
            one = await measured(running, arm, port, folder / f"{arm}-{number}", given, real)
            found[arm].append(one)
            full = f"{one[0]:.2f} CPU ms a request at {one[1]:.0f} requests/s"
            print(f"{arm:>4}: {full}, {one[2]:.2f} at the pace of {given.pace[bool(real)]:.0f}/s", flush=True)
    return report({arm: [statistics.median(x) for x in zip(*seen, strict=True)] for arm, seen in found.items()})


async def main(given: argparse.Namespace) -> int:
    print(conditions(**{k: v for k, v in vars(given).items() if k != "arms"}), flush=True)
    with tempfile.TemporaryDirectory() as name, collector() as port:
        async with (
            broker(BrokerOptions(heap="1g", java_flags=JAVA)) as running,
            SimulatedProvider(scripted) as provider,
        ):
            real = provider.env("anthropic") | {"HOCKET_PROVIDERS": "anthropic"}
            good = [
                await compared(running, port, Path(name) / what, given, env)
                for what, env in (("sdk", real), ("stubs", {}))
                if what in given.only
            ]
    return 0 if all(good) else 1


def scripted(asked: dict[str, Any]) -> Reply:
    """What the provider says, at once."""
    if tool_of(asked) == "decompose_task":
        return Reply(data=PLAN)
    prompt = prompt_of(asked)
    return Reply(data=next((v for k, v in OUTPUTS.items() if k in prompt), OUTPUTS["Sum up the offers."]))


def report(found: dict[str, list[float]]) -> bool:
    """Prints the ratios to `off`, by arm; whether the bound is kept."""
    good = True
    for arm, medians in found.items():
        if arm != "off":
            full, rate, calm = (m / o - 1 for m, o in zip(medians, found["off"], strict=True))
            bound = f" ({mark(full, 0.05, less=True)})" if arm == "on" else ""
            good &= arm != "on" or full <= 0.05
            print(f"{arm}: at full load {100 * full:+.1f} % CPU a request{bound}, {100 * rate:+.1f} % requests/s")
            print(f"  at the pace {100 * calm:+.1f} % CPU a request")
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.observability", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each, in turn there and back")
    parser.add_argument("--seconds", type=float, default=12, help="of each, after its warm-up")
    parser.add_argument("--warm", type=float, default=4, help="seconds of load before")
    pace = "requests a second that every arm keeps up with: of stubs, of the SDK"
    parser.add_argument("--pace", type=float, nargs=2, default=(80.0, 8.0), help=pace)
    parser.add_argument("--only", nargs="+", choices=("sdk", "stubs"), default=("sdk", "stubs"))
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--arms", nargs="+", default=["off", "on"], choices=list(SHARES))
    sys.exit(asyncio.run(main(parser.parse_args())))
