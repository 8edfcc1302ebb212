"""House rules that a machine can check. Each failure names file and line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from hocket.contracts.topics import PER_SPECIALTY, load_specs
from tests.support.tree import docstrings, python, text, tree

FUNCTION_LINES = 50
FILE_LINES = 400
CODE = ("libs", "services", "schemas", "workflows")

BROAD_EXCEPTS = {
    "libs/hocket/cli/base.py": "the command line's edge: a known failure becomes a sentence, a bug is raised again",
    "libs/hocket/cli/doctor.py": "every file system has errors of its own; all of them mean that the store is unusable",
    "libs/hocket/contracts/codec.py": "damaged bytes make fastavro raise anything; all of it is a dead letter",
    "libs/hocket/contracts/specialties.py": "fastavro and json have many ways to refuse a schema; all name the file",
    "libs/hocket/kafka/desk.py": "a defect harms only its own task: dead letter and failed outcome",
    "libs/hocket/local/dev.py": "a defect in the supervisor's thread must reach the thread that waits for it",
    "libs/hocket/runtime/lifecycle.py": "the process ends here, whatever it was",
    "services/aggregator/__main__.py": "the process ends here, whatever it was",
    "services/aggregator/alarm.py": "a defect of the alarm clock must stop the process: deadlines would pass unseen",
    "services/aggregator/edge.py": "a defect in the join harms only its own request: dead letter and failed answer",
    "services/aggregator/vitals.py": "a defect of the health page must not stop the join; the probes see the page gone",
    "services/workers/engine.py": "an engine may be a user's code: its crash is a failed task, not a dead worker",
}
"""Where `except Exception` may stand, and why; bare `except:` may stand nowhere."""


def _lines(path: Path) -> int:
    return text(path).count("\n")


def test_no_file_is_too_long() -> None:
    long = [f"{p}: {n} lines" for p in python("libs", "services") if (n := _lines(p)) > FILE_LINES]
    assert long == [], f"split them: a file has at most {FILE_LINES} lines"


def test_no_function_is_too_long() -> None:
    long = [
        f"{p}:{node.lineno} {node.name}: {length} lines"
        for p in python("libs", "services")
        for node in ast.walk(tree(p))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert long == [], f"split them: a function has at most {FUNCTION_LINES} lines"


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {c.id for c in caught if isinstance(c, ast.Name)}
    return handler.type is None or bool(names & {"Exception", "BaseException"})


def _ends_in_raise(handler: ast.ExceptHandler) -> bool:
    """Cleaning up and raising again hides nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _broad() -> list[tuple[str, int]]:
    return [
        (str(p), node.lineno)
        for p in python(*CODE)
        for node in ast.walk(tree(p))
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _ends_in_raise(node)
    ]


def test_broad_excepts_stand_only_where_there_is_a_reason() -> None:
    unlisted = [f"{p}:{line}" for p, line in _broad() if p not in BROAD_EXCEPTS]
    assert unlisted == [], "catch what can happen, or give the reason in BROAD_EXCEPTS"


def test_the_list_of_broad_excepts_is_not_stale() -> None:
    assert sorted(set(BROAD_EXCEPTS) - {p for p, _ in _broad()}) == []


NAMES = {n for n in load_specs() if n != PER_SPECIALTY}
# A plain word such as "results" is a topic only where a topic is meant; a hyphenated one always is.
AS_TOPIC = re.compile(r"(^|[^a-z-])tasks-[a-z{]")
TAKES_TOPIC = {"subscribe", "send", "send_and_wait", "topic", "to_topic", "encode", "TopicPartition", "Topic"}
SPELLERS = {"libs/hocket/contracts/topics.py"}
NOT_TOPICS = {("services/monitor/app.py", "dead-letters")}
"""Strings that look like a topic and are none: the name of the monitor's own table."""


def _spelled(node: ast.AST, skipped: set[int]) -> bool:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in skipped:
        return False
    return (node.value in NAMES and "-" in node.value) or AS_TOPIC.search(node.value) is not None


def _calls_with_a_name(module: ast.Module) -> list[int]:
    """Lines where a topic's bare name is passed to what takes topics."""
    found = []
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = [*node.args, *(k.value for k in node.keywords if k.arg in ("topic", "topics"))]
        if called in TAKES_TOPIC and any(isinstance(a, ast.Constant) and a.value in NAMES for a in given):
            found.append(node.lineno)
    return found


def test_topics_are_spelled_in_topics_yaml_only() -> None:
    wrong = []
    for p in python("libs", "services"):
        if str(p) in SPELLERS:
            continue
        module = tree(p)
        # Help texts of the command line may name a topic as an example.
        skipped = docstrings(module) | _help_texts(module)
        for node in ast.walk(module):
            if isinstance(node, ast.Constant) and _spelled(node, skipped) and (str(p), node.value) not in NOT_TOPICS:
                wrong.append(f"{p}:{node.lineno} {node.value!r}")
        wrong += [f"{p}:{line}" for line in _calls_with_a_name(module)]
    assert wrong == [], "use hocket.contracts.topics.Topics: a topic is spelled once, in schemas/topics.yaml"


def _help_texts(module: ast.Module) -> set[int]:
    return {id(k.value) for n in ast.walk(module) if isinstance(n, ast.Call) for k in n.keywords if k.arg == "help"}


def test_no_test_is_without_an_assertion() -> None:
    """`pytest.raises` and `pytest.fail` assert too, and so does a helper named so."""
    silent = []
    for p in python("tests"):
        if not p.name.startswith("test_"):
            continue
        for node in ast.walk(tree(p)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                source = ast.unparse(node)
                if not re.search(r"\bassert\b|raises|\bfail\(|assert_|claim\(", source):
                    silent.append(f"{p}:{node.lineno} {node.name}")
    assert silent == []


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"])
def test_nothing_is_left_for_later(word: str) -> None:
    found = [
        f"{p}:{n}"
        for p in python("libs", "services", "tests")
        for n, line in enumerate(text(p).splitlines(), 1)
        if re.search(rf"\b{word}\b", line)
    ]
    assert found == []
