"""Kills every container of a running compose stack under load, one after the other, and counts the answers.

    docker compose up --build --wait && make compose-faults

A container dies as by a crash: its first process is killed from outside, so that the restart policy brings it back.
Where that is not allowed (no root, or the engine in a virtual machine), it is `docker kill` and `docker start`.
Ends with 1 unless every request got exactly one answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.load import report, under_load

ROOT = Path(__file__).parents[1]
BACK_WITHIN_S = 180.0


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"docker {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def containers(only: list[str], skipped: list[str]) -> list[tuple[str, str]]:
    """(service, id) of every container that stays."""
    listed = [json.loads(line) for line in docker("compose", "ps", "--format", "json").splitlines()]
    found = sorted((c["Service"], c["ID"]) for c in listed if c["Service"] not in {"topics", *skipped})
    return [c for c in found if c[0] in only or not only]


def state(container: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    return found


def fine(container: str) -> bool:
    now = state(container)
    health = now.get("Health")
    return bool(now["Running"]) and (not isinstance(health, dict) or health["Status"] == "healthy")


def crash(container: str) -> None:
    pid = state(container)["Pid"]
    try:
        os.kill(int(str(pid)), signal.SIGKILL)
    except (PermissionError, ProcessLookupError):
        docker("kill", container)
        docker("start", container)


async def back(container: str, before: object) -> float:
    """Seconds until it runs anew and is healthy."""
    began = time.monotonic()
    while time.monotonic() - began < BACK_WITHIN_S:
        if state(container)["StartedAt"] != before and fine(container):
            return time.monotonic() - began
        await asyncio.sleep(0.5)
    raise SystemExit(f"{container} is not back after {BACK_WITHIN_S:.0f} s: docker compose logs")


async def run(args: argparse.Namespace) -> int:
    """Asks, kills, counts; the exit code."""
    async with under_load(args.bootstrap, rate=args.rate, patience=args.patience, strays=5) as tally:
        await asyncio.sleep(args.settle)
        for service, container in containers(args.only, args.skip):
            before = state(container)["StartedAt"]
            crash(container)
            seconds = await back(container, before)
            print(f"{service:<22} killed, healthy again after {seconds:5.1f} s; {len(tally.open)} open", flush=True)
            await asyncio.sleep(args.settle)
    return report(tally)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default="localhost:9092")
    parser.add_argument("--rate", type=float, default=2.0, help="requests a second")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds between a recovery and the next kill")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for the last answers")
    parser.add_argument("--only", nargs="*", default=[], metavar="SERVICE")
    parser.add_argument("--skip", nargs="*", default=[], metavar="SERVICE")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
