"""What bundles gain when the aggregator is the bottleneck: the same chains with and without them.

A request is a plan of four tasks in a row, all but the first local. Stubs take no time and every service is a process,
so the aggregator is the limit. Which tasks were bundled is counted from the receipts; when the pressure came on stands
in the aggregator's log.

    python -m bench.bundles [--seconds 25] [--in-flight 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from pathlib import Path

from bench.conditions import broker, conditions
from bench.diamond import JAVA, load, sustained
from bench.diamond_rig import Rig, rig
from hocket.local.broker import BrokerOptions
from tests.support.ground import fresh

STEPS = 3
"""Tasks of each request that may be bundled."""


def turns(made: Rig) -> list[str]:
    """What the aggregator said of itself."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", made.aggregator.log.read_text("utf-8"))
    return [line for line in said.splitlines() if "the join" in line]


async def main(arguments: argparse.Namespace) -> int:
    print(conditions(partitions=4, concurrency=256, aggregators=1, processes=6, plan="a chain of 4 tasks"), flush=True)
    rates, good = {}, True
    with tempfile.TemporaryDirectory(prefix="hocket-bundles-") as name:
        async with broker(BrokerOptions(heap="1g", java_flags=JAVA)) as running:
            # The first round warms the broker: only the last one counts.
            for bundles in (False, True) * arguments.rounds:
                settings = fresh(running.bootstrap, Path(name), partitions=4, concurrency=256, bundles=bundles)
                async with rig(running, settings, Path(name) / settings.prefix, plan="chain") as made:
                    rate, cpu = await sustained(made, arguments.in_flight, arguments.seconds, arguments.warm)
                    share = made.client.bundled / STEPS / max(1, len(made.client.answered))
                    rates[bundles] = rate
                    took = sum(ms for n, ms in cpu.items() if n != "client")
                    print(
                        f"bundles {'on' if bundles else 'off'}: {rate:.0f} requests/s, "
                        f"{share:.0%} of the steps bundled, {took:.1f} CPU ms a request with the broker; "
                        f"{made.client.faults()}; {load()}"
                    )
                    print("\n".join(turns(made)), flush=True)
                    good &= not made.client.open and not made.client.again and not made.client.wrong
    print(f"gain: {rates[True] / rates[False]:.2f} times the requests")
    return 0 if good and rates[True] > rates[False] else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.bundles", description=__doc__)
    parser.add_argument("--in-flight", type=int, default=1_000, help="with 256 the aggregator is not behind")
    parser.add_argument("--seconds", type=float, default=25, help="of each run, after its warm-up")
    parser.add_argument("--rounds", type=int, default=2, help="off and on so many times; the last one counts")
    parser.add_argument("--warm", type=float, default=15)
    sys.exit(asyncio.run(main(parser.parse_args())))
