"""What of the chart is written from elsewhere: the contract it reads, and the values table of its README.

`python -m tests.support.chart` writes both, and with helm on the PATH also the rendered examples;
tests/repo/test_chart.py holds them current.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import load_specs
from hocket.kafka.topic_configs import topic_configs
from tests.support.tree import ROOT

CHART = ROOT / "helm" / "hocket"
EXAMPLES = CHART / "examples"
_BEGIN, _END = "<!-- values: begin -->", "<!-- values: end -->"
_KEY = re.compile(r"(\s*)([\w.-]+):(?:\s+(.*?))?\s*$")


def contract() -> str:
    """The topics and specialties of this version, for templates that cannot read schemas/topics.yaml."""
    topics = [
        {"name": s.name, "partitions": s.partitions, "config": topic_configs(s)}
        for s in sorted(load_specs().values(), key=lambda s: s.name)
    ]
    return json.dumps({"specialties": sorted(load_specialties()), "topics": topics}, indent=1) + "\n"


def documented(values: str) -> list[tuple[str, str, str]]:
    """Every value with a `# --` comment above it: its dotted path, its default as JSON, the comment. Pure.

    Raises ValueError for a comment that no key follows.
    """
    tree = yaml.safe_load(values)
    found, path, said = [], [], ""
    for number, line in enumerate(values.splitlines(), 1):
        if line.lstrip().startswith("# --"):
            said = line.lstrip()[4:].strip()
        elif said and line.lstrip().startswith("#"):
            said += " " + line.lstrip("# ").strip()
        elif match := _KEY.match(line.split(" #")[0]):
            indent, key = len(match[1]) // 2, match[2]
            path = [*path[:indent], key]
            if said:
                found.append((".".join(path), _shown(_at(tree, path)), said))
                said = ""
        elif said:
            raise ValueError(f"line {number}: a comment that no key follows")
    return found


def _at(tree: Any, path: list[str]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return f"`{text}`" if len(text) <= 60 else "see values.yaml"


def readme(before: str) -> str:
    """The chart's README with its values table as values.yaml has it."""
    rows = documented((CHART / "values.yaml").read_text("utf-8"))
    table = ["| value | default | meaning |", "| --- | --- | --- |"]
    table += [f"| `{k}` | {d.replace('|', chr(92) + '|')} | {m.replace('|', chr(92) + '|')} |" for k, d, m in rows]
    head, tail = before.split(_BEGIN)[0], before.split(_END)[1]
    return f"{head}{_BEGIN}\n" + "\n".join(table) + f"\n{_END}{tail}"


def helms() -> list[str]:
    """The helm programs that are there, 3 and 4."""
    named = [os.environ.get("HELM", "helm"), "helm4"]
    return [found for name in dict.fromkeys(named) if (found := shutil.which(name))]


def examples() -> list[Path]:
    """The folders with example values."""
    return sorted(p.parent for p in EXAMPLES.glob("*/values.yaml"))


def render(helm: str, example: Path, *more: str) -> str:
    """An example as helm renders it. Raises CalledProcessError with helm's words in stderr.

    flags.txt leaves out of the rendered form what stands in files/ anyway; `more` comes after it.
    """
    flags = (example / "flags.txt").read_text().split() if (example / "flags.txt").exists() else []
    command = [
        helm,
        "template",
        "hocket",
        str(CHART),
        "--namespace",
        "hocket",
        "--values",
        str(example / "values.yaml"),
    ]
    command += ["--kube-version", "1.34.0", *flags, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return re.sub(r"[ \t]+\n", "\n", done.stdout)


def main() -> None:
    """Writes what is not current."""
    wanted = {CHART / "files" / "contract.json": contract()}
    page = CHART / "README.md"
    wanted[page] = readme(page.read_text("utf-8"))
    for helm in helms()[:1]:
        wanted |= {e / "rendered.yaml": render(helm, e) for e in examples()}
    for target, body in wanted.items():
        if not target.exists() or target.read_text("utf-8") != body:
            target.write_text(body, "utf-8")
            print(f"wrote {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
