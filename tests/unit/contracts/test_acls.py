"""Least privilege, derived: what each service may do, and that it is no more than the flow of records asks for."""

import json

import pytest
from typer.testing import CliRunner

from hocket.cli.app import app
from hocket.contracts.acls import Acl, acls, commands, services_of
from hocket.contracts.topics import Topics

TOPICS = Topics("p-")
SPECIALTIES = ["code", "extraction"]
RIGHTS = acls(TOPICS, SPECIALTIES, lambda role: f"p-hocket-{role}", ["answers-*", "results-of-mine"])


def having(service: str, operation: str, resource: str = "topic") -> set[str]:
    return {
        f"{a.name}{'*' if a.pattern == 'prefixed' else ''}"
        for a in RIGHTS[service]
        if a.resource == resource and operation in a.operations
    }


def test_a_worker_reads_its_own_tasks_and_writes_no_answers() -> None:
    assert having("worker-code", "Read") == {"p-tasks-code", "p-control", "p-grants", "p-handovers", "p-results"}
    assert having("worker-code", "Write") == {
        "p-results", "p-progress", "p-accounts", "p-heartbeats", "p-handovers", "p-dead-letters",
    }  # fmt: skip
    assert having("worker-code", "Read", "group") == {"p-hocket-worker-code"}
    assert {a.resource for a in RIGHTS["worker-code"]} == {"topic", "group"}


def test_who_looks_at_all_topics_may_see_them() -> None:
    """The aggregator waits for all topics at its start, the command line looks at the joined ones before it asks."""
    seen = having("aggregator", "Describe") | having("aggregator", "Read") | having("aggregator", "Write")
    assert set(TOPICS.all(SPECIALTIES)) <= seen
    joined = {n for n, s in TOPICS.all(SPECIALTIES).items() if s.joined}
    assert joined <= having("client", "Describe") | having("client", "Read") | having("client", "Write")


def test_a_client_asks_and_reads_answers_without_any_group() -> None:
    assert having("client", "Write") == {"p-requests", "p-control"}
    assert having("client", "Read") == {"p-answers", "p-progress", "p-answers-*", "p-results-of-mine"}
    assert {a.resource for a in RIGHTS["client"]} == {"topic"}


def test_the_aggregator_may_forward_keep_its_tables_and_write_in_transactions() -> None:
    inputs = {"p-requests", "p-plans", "p-results", "p-control", "p-grants", "p-wakeups", "p-accounts"}
    assert inputs <= having("aggregator", "Write") & having("aggregator", "Read")
    assert "p-answers" not in having("aggregator", "Read")
    assert having("aggregator", "Create") == {"changelog__p-hocket-aggregator--*"}
    assert having("aggregator", "Write", "transactional-id") == {"p-hocket-aggregator-*"}
    assert having("aggregator", "Read", "group") == {"p-hocket-aggregator"}
    assert having("aggregator", "Describe", "group") == {"p-hocket-fleet", "p-hocket-alarm"}


def test_the_monitor_sees_every_group_and_writes_only_its_own_tables() -> None:
    assert having("monitor", "Write") == {"p-hocket-monitor-*"}
    assert having("monitor", "Describe", "group") == {
        "p-hocket-aggregator", "p-hocket-planner", "p-hocket-worker-code", "p-hocket-worker-extraction",
    }  # fmt: skip
    shown = {"p-heartbeats", "p-answers", "p-dead-letters", "p-progress", "p-hocket-monitor-*"}
    aged = {f"p-{n}" for n in ("requests", "plans", "results", "control", "accounts", "grants", "wakeups")}
    tasks = {"p-tasks-planning", "p-tasks-code", "p-tasks-extraction"}
    assert having("monitor", "Read") == shown | aged | tasks


def test_only_the_topics_job_makes_and_alters_and_it_reads_nothing() -> None:
    assert having("topics", "Create") == set(TOPICS.all(SPECIALTIES))
    assert having("topics", "Read") | having("topics", "Write") == set()
    for service in services_of(SPECIALTIES):
        if service != "topics":
            assert having(service, "Alter") | having(service, "AlterConfigs") == set()


def test_nobody_may_delete_and_nothing_holds_for_everything() -> None:
    every = [a for rights in RIGHTS.values() for a in rights]
    assert [a for a in every if "Delete" in a.operations or "All" in a.operations or a.name in ("", "*")] == []


def test_every_declared_reader_and_writer_has_its_right() -> None:
    roles = {"worker": [f"worker-{s}" for s in SPECIALTIES]}
    for name, spec in TOPICS.all(SPECIALTIES).items():
        for who, operation in ((spec.producers, "Write"), (spec.consumers, "Read")):
            for service in {s for role in who for s in roles.get(role, [role])}:
                own = "tasks-" not in name or name == f"p-tasks-{service.removeprefix('worker-')}"
                if own or not service.startswith("worker-"):
                    assert name in having(service, operation), (service, operation, name)


def test_a_command_names_everything_kafka_needs_and_quotes_it() -> None:
    rights = [
        Acl(resource="topic", name="a", operations=("Read",)),
        Acl(resource="topic", name="b", operations=("Read",)),
    ]
    rights += [Acl(resource="topic", name="c-", pattern="prefixed", operations=("Create", "Write"))]
    rights += [Acl(resource="cluster", name="kafka-cluster", operations=("DescribeConfigs",))]
    start = "kafka-acls.sh --bootstrap-server k:9 --command-config 'my file' --add --allow-principal User:CN=x"
    assert commands("User:CN=x", rights, bootstrap="k:9", command_config="my file") == [
        f"{start} --operation Read --topic a --topic b",
        f"{start} --operation Create --operation Write --topic c- --resource-pattern-type prefixed",
        f"{start} --operation DescribeConfigs --cluster",
    ]


def test_a_reply_pattern_without_a_beginning_means_every_topic() -> None:
    rights = acls(Topics(""), [], lambda role: role, ["*-replies"])["client"]
    assert [a.pattern for a in rights if a.name == "*"] == ["literal"]


@pytest.mark.parametrize("output", ["text", "json"])
def test_the_command_prints_the_services_asked_for(output: str) -> None:
    arguments = ["--prefix", "p-", "acls", "--service", "planner", "--principal-prefix", "User:x-", "-o", output]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "User:x-planner" in done.stdout
    assert "worker-code" not in done.stdout
    if output == "json":
        (service,) = json.loads(done.stdout)["services"]
        assert service["acls"][0] == {
            "resource": "group", "name": "p-hocket-planner", "operations": ["Read"], "pattern": "literal",
        }  # fmt: skip


def test_an_unknown_service_is_wrong_usage() -> None:
    done = CliRunner().invoke(app, ["acls", "--service", "baker"])
    assert done.exit_code == 2
    assert "worker-extraction" in done.stderr


def test_the_monitor_writes_to_the_flow_only_where_it_may_replay() -> None:
    def written(*, replay: bool) -> set[str]:
        found = acls(TOPICS, SPECIALTIES, lambda role: f"p-hocket-{role}", replay=replay)["monitor"]
        return {a.name for a in found if a.resource == "topic" and "Write" in a.operations and a.pattern == "literal"}

    assert written(replay=False) == set()
    assert {"p-requests", "p-results", "p-plans", "p-tasks-code", "p-tasks-planning"} <= written(replay=True)
    assert not {"p-dead-letters", "p-answers", "p-timers"} & written(replay=True)
