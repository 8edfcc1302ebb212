"""An older version and this one side by side on the same topics, under load: there, and back again.

    make upgrade-test ARGS="--old v0.1.0 --registry"

The older version is built from its commit with the dependencies that it locked, in an environment of its own (one to
two minutes). Then UPGRADING.md is followed as an operator does: topics first, then planner and workers one by one, each
new process started before an old one is stopped, then the aggregators; where the joined topics differ, the old ones are
stopped first. Half-way every service runs in both versions. Ends with 1 unless every request got exactly one answer.

With --registry all of them, the client too, use a schema registry (Apicurio, in memory). Without one an older version
cannot read a record whose schema it does not know, so that versions with other schemas do not get along side by side.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench.conditions import broker, conditions
from bench.load import report, under_load
from hocket.local.registry import ApicurioRegistry

ROOT = Path(__file__).parents[1]
ROLES = {
    "planner": ["services.planner"],
    "worker-a": ["services.workers", "--all"],
    "worker-b": ["services.workers", "--all"],
    "aggregator-a": ["services.aggregator"],
    "aggregator-b": ["services.aggregator"],
}


@dataclass
class Version:
    """An installed version: its interpreter, and which topics its aggregators join."""

    name: str
    python: Path
    joined: frozenset[str]

    def topics(self, env: dict[str, str]) -> None:
        done = self._hocket(env, "topics", "apply")
        if done.returncode not in (0, 3):
            raise SystemExit(f"{self.name}: topics apply: {done.stdout}{done.stderr}")
        if "HOCKET_REGISTRY_URL" in env:
            done = self._hocket(env, "schemas", "register")
            print(f"  {self.name}: schemas register ends with {done.returncode}", flush=True)

    def _hocket(self, env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-c", "from hocket.cli.app import main; main()", *words]
        return subprocess.run(command, env=env, cwd=env["HOME"], capture_output=True, text=True, check=False)


@dataclass
class Fleet:
    """The running processes by role; each logs into a file of its own."""

    env: dict[str, str]
    folder: Path
    running: dict[str, tuple[Version, subprocess.Popen[bytes]]] = field(default_factory=dict)

    def start(self, role: str, version: Version) -> subprocess.Popen[bytes]:
        env = {**self.env, "HOCKET_INSTANCE": f"{role}-{version.name}", "HOCKET_STATE_DIR": str(self.folder / "state")}
        log = self.folder / f"{role}-{version.name}.log"
        with log.open("ab") as out:
            command = [str(version.python), "-m", *ROLES[role]]
            process = subprocess.Popen(command, env=env, cwd=self.folder, stdout=out, stderr=subprocess.STDOUT)
        self.running[role] = (version, process)
        return process

    def stop(self, role: str, version: Version, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            log = self.folder / f"{role}-{version.name}.log"
            said = log.read_text(errors="replace")[-2000:]
            raise SystemExit(f"{role} of {version.name} did not end within 60 s of SIGTERM: {said}") from None

    def check(self) -> None:
        for role, (version, process) in self.running.items():
            if process.poll() is not None:
                log = self.folder / f"{role}-{version.name}.log"
                raise SystemExit(f"{role} of {version.name} ended: {log.read_text(errors='replace')[-1500:]}")

    async def replace(self, role: str, version: Version, beside: float) -> None:
        """The new one first, the old one stopped once both have run side by side."""
        before, old = self.running[role]
        self.start(role, version)
        await asyncio.sleep(beside)
        await asyncio.to_thread(self.stop, role, before, old)
        self.check()


def joined(topics: object) -> frozenset[str]:
    specs = topics["topics"] if isinstance(topics, dict) else {}
    read = [n for n, s in specs.items() if s.get("partitions") == "joined" and "aggregator" in s["consumers"]]
    return frozenset(n for n in read if "aggregator" not in specs[n].get("groupless", ()))


def install(commit: str, folder: Path) -> Version:
    """The version at a commit, from its own locked requirements."""
    tree, env = folder / "tree", folder / "venv"
    tree.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
    uv, python = Path(sys.executable).with_name("uv"), env / "bin" / "python"
    steps = [
        ["venv", "--quiet", "--python", sys.executable, str(env)],
        ["pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", "requirements/all.txt"],
        ["pip", "install", "--quiet", "--python", str(python), "--no-deps", "."],
    ]
    for step in steps:
        subprocess.run([str(uv), *step], cwd=tree, check=True)
    return Version(commit[:12], python, joined(yaml.safe_load((tree / "schemas" / "topics.yaml").read_text())))


def this() -> Version:
    return Version("new", Path(sys.executable), joined(yaml.safe_load((ROOT / "schemas" / "topics.yaml").read_text())))


async def move(fleet: Fleet, to: Version, beside: float) -> None:
    """Every service to the other version, in UPGRADING.md's order."""
    to.topics(fleet.env)
    for role in [r for r in ROLES if not r.startswith("aggregator")]:
        await fleet.replace(role, to, beside)
        print(f"  {role} is {to.name}", flush=True)
    aggregators = [r for r in ROLES if r.startswith("aggregator")]
    if fleet.running[aggregators[0]][0].joined == to.joined:
        for role in aggregators:
            await fleet.replace(role, to, beside)
            print(f"  {role} is {to.name}", flush=True)
        return
    print("  the joined topics differ: all aggregators are stopped first", flush=True)
    await asyncio.gather(*(asyncio.to_thread(fleet.stop, r, *fleet.running[r]) for r in aggregators))
    for role in aggregators:
        fleet.start(role, to)


@contextlib.contextmanager
def fleet_of(version: Version, env: dict[str, str], folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(env, folder)
    try:
        for role in ROLES:
            fleet.start(role, version)
        yield fleet
    finally:
        for _, process in fleet.running.values():
            if process.poll() is None:
                process.kill()
            process.wait()


async def run(args: argparse.Namespace, folder: Path) -> int:
    """Up, and down again, while requests come in; the exit code."""
    began = time.monotonic()
    old, new = await asyncio.to_thread(install, args.old, folder / "old"), this()
    print(conditions(old=old.name, rate=args.rate, beside_s=args.beside))
    print(f"installed {old.name} in {time.monotonic() - began:.0f} s", flush=True)
    async with broker() as running:
        env = {
            k: v for k, v in os.environ.items() if not k.startswith("HOCKET_") or k.startswith("HOCKET_REGISTRY")
        } | {
            "HOCKET_BOOTSTRAP": running.bootstrap,
            "HOCKET_PARTITIONS": "4",
            "HOCKET_BLOB_STORE": (folder / "blobs").as_uri(),
            "HOCKET_DATA": str(folder / "data"),
            "HOME": str(folder),
        }
        old.topics(env)
        with fleet_of(old, env, folder) as fleet:
            async with under_load(running.bootstrap, rate=args.rate, patience=args.patience, strays=2) as tally:
                await asyncio.sleep(args.beside)
                for to in [new, old] if args.back else [new]:
                    print(f"to {to.name}: {len(tally.asked)} asked, {len(tally.open)} open", flush=True)
                    await move(fleet, to, args.beside)
                    await asyncio.sleep(args.beside)
                    fleet.check()
    return report(tally)


def last_release() -> str:
    tags = subprocess.run(
        ["git", "tag", "--list", "v*", "--sort=-version:refname"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    if not tags:
        raise SystemExit("no version has been released yet: name a commit with --old")
    return tags[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", default=None, metavar="COMMIT", help="tag or commit; default: the last release")
    parser.add_argument("--rate", type=float, default=3.0, help="requests a second")
    parser.add_argument("--beside", type=float, default=5.0, help="seconds that both versions of a service run")
    parser.add_argument("--patience", type=float, default=90.0, help="seconds to wait for the last answers")
    parser.add_argument("--registry", action="store_true", help="with a schema registry")
    parser.add_argument("--back", action=argparse.BooleanOptionalAction, default=True, help="and back to the old one")
    args = parser.parse_args()
    args.old = args.old or last_release()
    with tempfile.TemporaryDirectory(prefix="hocket-upgrade-") as folder, contextlib.ExitStack() as stack:
        if args.registry:
            url = stack.enter_context(ApicurioRegistry()).url
            # For the client in this process, and for every version that it starts.
            os.environ |= {"HOCKET_REGISTRY_URL": url, "HOCKET_REGISTRY_AUTO_REGISTER": "true"}
        code = asyncio.run(run(args, Path(folder)))
    sys.exit(code)


if __name__ == "__main__":
    main()
