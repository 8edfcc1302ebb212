"""The chart agrees with the code: values, schema, contract, pages; and what it renders, where helm is there."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hocket.runtime.settings import Settings
from tests.support.chart import CHART, contract, documented, examples, helms, readme, render
from tests.support.tree import ROOT

HELMS = helms()
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
AGAIN = "run `python -m tests.support.chart`"
with_helm = pytest.mark.skipif(not HELMS, reason="no helm on the PATH: what the chart renders was not checked")
every_helm = pytest.mark.parametrize("helm", HELMS, ids=[Path(h).name for h in HELMS])
REPLICAS_BESIDE = {"Deployment", "StatefulSet"}


def faults(values: Any) -> list[str]:
    return [e.message for e in jsonschema.Draft7Validator(SCHEMA).iter_errors(values)]


def test_the_contract_that_the_templates_read_is_current() -> None:
    assert (CHART / "files" / "contract.json").read_text() == contract(), AGAIN


def test_the_readme_tells_every_value() -> None:
    page = (CHART / "README.md").read_text()
    assert page == readme(page), AGAIN


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    else:
        yield ".".join(path)


def test_every_value_is_explained() -> None:
    told = [path for path, _, _ in documented((CHART / "values.yaml").read_text())]
    silent = [leaf for leaf in leaves(VALUES) if not any(leaf == t or leaf.startswith(f"{t}.") for t in told)]
    assert silent == []


def test_the_defaults_are_valid_and_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert faults(VALUES) == []


def objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "properties" in node and "object" in str(node.get("type")):
            yield path, node
        for key, value in node.items():
            yield from objects(value, f"{path}/{key}")


def test_the_schema_refuses_unknown_keys_everywhere_but_under_global() -> None:
    open_ones = [path for path, node in objects(SCHEMA) if node.get("additionalProperties") is not False]
    assert open_ones == ["/properties/global"]


def test_the_chart_can_stand_under_another_one() -> None:
    assert faults(VALUES | {"global": {"anything": 1}, "enabled": True}) == []


def test_every_value_has_its_place_in_the_schema() -> None:
    def known(schema: dict[str, Any], path: list[str]) -> bool:
        if "$ref" in schema:
            schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
        if not path:
            return True
        inner = schema.get("properties", {}).get(path[0], schema.get("additionalProperties"))
        if isinstance(inner, dict):
            return known(inner, path[1:])
        return "properties" not in schema  # an object of Kubernetes' own

    assert [leaf for leaf in leaves(VALUES) if not known(SCHEMA, leaf.split("."))] == []


@pytest.mark.parametrize("values", [e / "values.yaml" for e in examples()], ids=lambda p: p.parent.name)
def test_an_example_is_valid(values: Path) -> None:
    assert faults(yaml.safe_load(values.read_text())) == []


def test_every_variable_that_the_templates_set_is_a_setting() -> None:
    text = "".join(p.read_text() for p in sorted((CHART / "templates").rglob("*.*")))
    named = set(re.findall(r"name: (HOCKET_[A-Z_]+)", text))
    known = {f"HOCKET_{n.upper()}" for n in Settings.model_fields} | {
        "HOCKET_DATA",
        "HOCKET_PROVIDERS",
        "HOCKET_MODELS",
    }
    assert named
    assert sorted(named - known) == []


def rendered(example: str) -> list[dict[str, Any]]:
    documents = yaml.safe_load_all((CHART / "examples" / example / "rendered.yaml").read_text())
    return [d for d in documents if d]


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for d in documents:
        spec = d["spec"] if d["kind"] == "Pod" else d.get("spec", {}).get("template", {}).get("spec")
        if spec and "containers" in spec:
            yield d["metadata"]["name"], spec


@pytest.mark.parametrize("example", [e.name for e in examples()])
def test_every_pod_fits_the_restricted_standard(example: str) -> None:
    found = list(pods(rendered(example)))
    assert found
    for name, spec in found:
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name


@pytest.mark.parametrize("example", [e.name for e in examples()])
def test_a_pod_may_finish_its_longest_call(example: str) -> None:
    for name, spec in pods(rendered(example)):
        env = {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}
        if "HOCKET_GRACE_SECONDS" in env:
            assert spec["terminationGracePeriodSeconds"] >= int(env["HOCKET_GRACE_SECONDS"]) + 10, name


@pytest.mark.parametrize("example", [e.name for e in examples()])
def test_nobody_says_replicas_beside_an_autoscaler(example: str) -> None:
    documents = rendered(example)
    scaled = {
        (d["spec"]["scaleTargetRef"]["kind"], d["spec"]["scaleTargetRef"]["name"])
        for d in documents
        if "scaleTargetRef" in d.get("spec", {})
    }
    said = {
        (d["kind"], d["metadata"]["name"])
        for d in documents
        if d["kind"] in REPLICAS_BESIDE and "replicas" in d["spec"]
    }
    assert said & scaled == set()
    every = {(d["kind"], d["metadata"]["name"]) for d in documents if d["kind"] in REPLICAS_BESIDE}
    assert said | scaled == every


def environment(container: dict[str, Any]) -> dict[str, str]:
    """As a kubelet fills it in, with something for each secret."""
    found: dict[str, str] = {}
    for entry in container["env"]:
        value = entry.get("value", "given")
        found[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda m: found[m[1]], value)
    return found


@pytest.mark.parametrize("example", [e.name for e in examples()])
def test_every_process_understands_what_it_is_given(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, spec in pods(rendered(example)):
        (container,) = spec["containers"]
        with monkeypatch.context() as patched:
            for key, value in environment(container).items():
                patched.setenv(key, value)
            said = Settings()
        assert said.bootstrap, name
        assert said.registry_basic_auth is None or said.registry_basic_auth.get_secret_value() == "given:given", name
        assert container["args"][0] in {*programs, "sh"}, name
        mounted = [m["mountPath"] for m in container["volumeMounts"]]
        for path in (said.ssl_cafile, said.ssl_certfile, said.ssl_keyfile, said.workflows):
            assert path is None or any(path.is_relative_to(m) for m in mounted), (name, path)
        if said.specialties:
            assert any(Path(m).parent == said.specialties for m in mounted), name


@pytest.mark.parametrize("example", [e.name for e in examples()])
def test_no_secret_is_rendered(example: str) -> None:
    assert [d["metadata"]["name"] for d in rendered(example) if d["kind"] == "Secret"] == []


@with_helm
@every_helm
@pytest.mark.parametrize("example", examples(), ids=lambda p: p.name)
def test_an_example_is_rendered_as_it_stands_here(helm: str, example: Path) -> None:
    def named(text: str) -> dict[tuple[str, str], Any]:
        return {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(text) if d}

    assert named(render(helm, example)) == named((example / "rendered.yaml").read_text()), AGAIN


WRONG = {
    "kafka.bootstrapServers=": "set it to host:port",
    "kafka.prefix=a.b": "no dots",
    "blobStore.url=": "blobStore is required",
    "blobStore.url=file:///data": "no other pod sees",
    "blobStore.existingClaim=x": "both set",
    "topics.provisioning=strimzi": "set topics.strimzi.cluster",
    "kafka.securityProtocol=SASL_SSL": "set kafka.sasl.existingSecret",
    "kafka.sasl.existingSecret=x": "use SASL_SSL",
    "kafka.securityProtocol=SASL_SSL,kafka.sasl.existingSecret=x,kafka.sasl.mechanism=OAUTHBEARER": "sasl.tokenUrl",
    "kafka.tls.ca.existingSecret=x": "use SSL or SASL_SSL",
    "planner.kafka.securityProtocol=SASL_SSL": "planner: ",
    "workers.code.autoscaling.maxReplicas=13": "its topic has 12 partitions",
    "workers.code.autoscaling.minReplicas=13": "the least cannot be above the most",
    "workers.code.autoscaling.minReplicas=0": "use KEDA",
    "workers.legal.replicas=1": "workers.legal.configMap",
    "default.terminationGracePeriodSeconds=60": "set at least 70",
    "aggregator.replicas=13": "its topic has 12 partitions",
    "monitoring.podMonitor.enabled=true,monitoring.serviceMonitor.enabled=true": "scraped twice",
    "workers.code.env.HOCKET_CONCURRENCY=3": "take HOCKET_CONCURRENCY out",
    "monitor.replicas=2": "replicas",
    "monitor.enabled=false": "leave the monitor in",
    "workers.code.replica=1": "replica",
    "wrokers.code.replicas=1": "wrokers",
    "autoscaling.mode=on": "autoscaling",
    "autoscaling.targetDrainSeconds=10": "well above that",
}
GOOD = "kafka.bootstrapServers=k:9092,blobStore.url=s3://b/h"


def template(helm: str, *sets: str) -> subprocess.CompletedProcess[str]:
    command = [helm, "template", "h", str(CHART), "--kube-version", "1.34.0", *(x for s in sets for x in ("--set", s))]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)


@with_helm
@every_helm
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_value_is_refused_with_a_sentence(helm: str, wrong: str) -> None:
    done = template(helm, GOOD, wrong)
    assert done.returncode != 0
    assert WRONG[wrong] in done.stderr


@with_helm
@every_helm
def test_a_specialty_is_one_key(helm: str) -> None:
    def names(*sets: str) -> dict[str, dict[str, Any]]:
        documents = [d for d in yaml.safe_load_all(template(helm, GOOD, "autoscaling.mode=keda", *sets).stdout) if d]
        return {f"{d['kind']}/{d['metadata']['name']}": d for d in documents}

    before, after = names(), names("workers.legal.configMap=legal-folder")
    assert sorted(set(after) - set(before)) == [
        f"{kind}/h-worker-legal" for kind in ("Deployment", "PodDisruptionBudget", "ScaledObject")
    ]
    for service in ("Deployment/h-planner", "StatefulSet/h-aggregator", "Job/h-topics"):
        container = after[service]["spec"]["template"]["spec"]["containers"][0]
        assert {"name": "HOCKET_SPECIALTIES", "value": "/etc/hocket/specialties"} in container["env"], service
        assert "/etc/hocket/specialties/legal" in [m["mountPath"] for m in container["volumeMounts"]], service


LOGINS = {
    "kafka.securityProtocol=SASL_SSL,kafka.sasl.mechanism=OAUTHBEARER,kafka.sasl.existingSecret=client,"
    "kafka.sasl.usernameKey=id,kafka.sasl.passwordKey=secret,kafka.sasl.tokenUrl=https://login/token,"
    "kafka.sasl.scope=kafka": {
        "HOCKET_SASL_MECHANISM": "OAUTHBEARER",
        "HOCKET_SASL_USERNAME": ("client", "id"),
        "HOCKET_SASL_PASSWORD": ("client", "secret"),
        "HOCKET_SASL_TOKEN_URL": "https://login/token",
        "HOCKET_SASL_SCOPE": "kafka",
    },
    "kafka.securityProtocol=SSL,kafka.tls.ca.existingSecret=cluster,kafka.tls.client.existingSecret=user,"
    "kafka.tls.client.certKey=user.crt,kafka.tls.client.keyKey=user.key,kafka.tls.client.passwordKey=user.password": {
        "HOCKET_SSL_CAFILE": "/etc/hocket/kafka-ca/ca.crt",
        "HOCKET_SSL_CERTFILE": "/etc/hocket/kafka-client/user.crt",
        "HOCKET_SSL_KEYFILE": "/etc/hocket/kafka-client/user.key",
        "HOCKET_SSL_KEY_PASSWORD": ("user", "user.password"),
    },
}


@with_helm
@every_helm
@pytest.mark.parametrize("sets", LOGINS, ids=["OAUTHBEARER", "mTLS with a locked key"])
def test_every_pod_is_given_its_whole_login(helm: str, sets: str) -> None:
    done = template(helm, GOOD, sets)
    assert done.returncode == 0, done.stderr
    for name, spec in pods([d for d in yaml.safe_load_all(done.stdout) if d]):
        given = {}
        for entry in spec["containers"][0]["env"]:
            ref = entry.get("valueFrom", {}).get("secretKeyRef")
            given[entry["name"]] = (ref["name"], ref["key"]) if ref else entry.get("value")
        assert {k: given.get(k) for k in LOGINS[sets]} == LOGINS[sets], name


@with_helm
@every_helm
def test_auto_takes_keda_where_its_api_is(helm: str) -> None:
    def kinds(*flags: str) -> set[str]:
        command = [helm, "template", "h", str(CHART), "--set", GOOD, *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return {d["kind"] for d in yaml.safe_load_all(done.stdout) if d}

    assert "HorizontalPodAutoscaler" in kinds()
    with_keda = kinds("--api-versions", "keda.sh/v1alpha1")
    assert "ScaledObject" in with_keda
    assert "HorizontalPodAutoscaler" not in with_keda


@with_helm
@every_helm
def test_alert_rules_and_dashboards_are_rendered_as_they_stand(helm: str) -> None:
    on = ("monitoring.dashboards.enabled=true", "monitoring.prometheusRule.enabled=true")
    documents = [d for d in yaml.safe_load_all(template(helm, GOOD, *on).stdout) if d]
    maps = [d["data"] for d in documents if d["kind"] == "ConfigMap"]
    shown = {name: json.loads(body) for data in maps for name, body in data.items()}
    assert shown == {p.name: json.loads(p.read_text()) for p in (CHART / "files" / "dashboards").glob("*.json")}
    groups = [g for d in documents if d["kind"] == "PrometheusRule" for g in d["spec"]["groups"]]
    files = sorted((CHART / "files" / "alerts").glob("*.yaml"))
    assert groups == [g for p in files for g in yaml.safe_load(p.read_text())["groups"]]


@with_helm
@every_helm
@pytest.mark.parametrize("kind", ["podMonitor", "serviceMonitor"])
def test_labels_of_the_monitors_figures_are_not_overwritten(helm: str, kind: str) -> None:
    documents = [d for d in yaml.safe_load_all(template(helm, GOOD, f"monitoring.{kind}.enabled=true").stdout) if d]
    [found] = [d["spec"] for d in documents if d["kind"].lower() == kind.lower()]
    assert [e["honorLabels"] for e in found.get("podMetricsEndpoints", found.get("endpoints"))] == [True]


@with_helm
@every_helm
def test_datadogs_agent_finds_every_service_when_wanted(helm: str) -> None:
    def annotations(*sets: str) -> dict[str, dict[str, str]]:
        documents = [d for d in yaml.safe_load_all(template(helm, GOOD, *sets).stdout) if d]
        templates = [d["spec"]["template"] for d in documents if d["kind"] in REPLICAS_BESIDE]
        return {t["spec"]["containers"][0]["name"]: t["metadata"].get("annotations", {}) for t in templates}

    assert not any(annotations().values())
    found = annotations("monitoring.datadog.enabled=true", "planner.podAnnotations.mine=kept")
    assert found["planner"].pop("mine") == "kept"
    assert {"aggregator", "monitor", "planner", "worker-code"} <= found.keys()
    for name, given in found.items():
        [(key, checks)] = given.items()
        assert key == f"ad.datadoghq.com/{name}.checks"
        [instance] = json.loads(checks)["openmetrics"]["instances"]
        assert instance["openmetrics_endpoint"] == "http://%%host%%:8080/metrics"
        assert instance["namespace"] == "hocket", "the monitors' queries begin so"


@with_helm
@every_helm
def test_it_stands_under_another_chart_and_values_files_merge(helm: str, tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "hocket").symlink_to(CHART)
    dependency = {"name": "hocket", "version": "*", "condition": "hocket.enabled"}
    chart = {"apiVersion": "v2", "name": "umbrella", "version": "1.0.0", "dependencies": [dependency]}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(chart))
    given = {
        "one.yaml": {"global": {"imageRegistry": "reg.example", "team": "a"}, "hocket": {"enabled": True}},
        "two.yaml": {"hocket": {"kafka": {"bootstrapServers": "k:9092"}, "blobStore": {"url": "s3://b/h"}}},
        "three.yaml": {"hocket": {"workers": {"code": {"concurrency": 3}, "legal": {"configMap": "legal"}}}},
    }
    command = [helm, "template", "u", str(tmp_path)]
    for name, values in given.items():
        (tmp_path / name).write_text(yaml.safe_dump(values))
        command += ["--values", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found = {d["metadata"]["name"]: d for d in yaml.safe_load_all(done.stdout) if d and d["kind"] == "Deployment"}
    container = found["u-worker-code"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"].startswith("reg.example/hocket:")
    assert {"name": "HOCKET_CONCURRENCY", "value": "3"} in container["env"]
    assert {"u-worker-legal", "u-worker-writing"} <= set(found)
    off = subprocess.run(
        [*command, "--set", "hocket.enabled=false"], capture_output=True, text=True, check=True, timeout=60
    )
    assert not [d for d in yaml.safe_load_all(off.stdout) if d]
