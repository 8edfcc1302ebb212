"""Each way of logging in to a secured Kafka, end to end: every service and the command line do their work with it.

The broker authorizes, and knows only the three names below: who does not log in may do nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from hocket.kafka.admin import KafkaUnreachable, list_topics
from hocket.kafka.log import KafkaRefused
from hocket.local.broker import BrokerOptions, EmbeddedBroker
from hocket.local.process import free_ports
from hocket.runtime.settings import Settings
from tests.kafka.test_acls import BRIEF, LETTER, metrics
from tests.support.certificates import Authority
from tests.support.kafka import Service, environment, running
from tests.support.tokens import AUDIENCE, Issuer, serving

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
USERS = {"SCRAM": "scram-hocket", "MTLS": "mtls-hocket", "OAUTH": "oauth-hocket"}
PASSWORD = "a word of, = and ;"
LOGIN_MODULE = "org.apache.kafka.common.security.{} required"


@dataclass(frozen=True)
class Secured:
    broker: EmbeddedBroker
    authority: Authority
    issuer: Issuer

    def login(self, mode: str) -> dict[str, str]:
        shared = {"HOCKET_SSL_CAFILE": str(self.authority.ca)}
        if mode == "MTLS":
            certificate, key = self.authority.issue(USERS[mode], password=PASSWORD)
            return shared | {
                "HOCKET_SECURITY_PROTOCOL": "SSL",
                "HOCKET_SSL_CERTFILE": str(certificate),
                "HOCKET_SSL_KEYFILE": str(key),
                "HOCKET_SSL_KEY_PASSWORD": PASSWORD,
            }
        named = {"HOCKET_SASL_USERNAME": USERS[mode], "HOCKET_SASL_PASSWORD": PASSWORD}
        shared |= named | {"HOCKET_SECURITY_PROTOCOL": "SASL_SSL"}
        if mode == "SCRAM":
            return shared | {"HOCKET_SASL_MECHANISM": "SCRAM-SHA-512"}
        token = {"HOCKET_SASL_TOKEN_URL": f"{self.issuer.url}/token", "HOCKET_SASL_SCOPE": "kafka"}
        return shared | token | {"HOCKET_SASL_MECHANISM": "OAUTHBEARER"}


def properties(authority: Authority, issuer: Issuer, folder: Path) -> dict[str, str]:
    certificate, key = authority.issue("broker")
    both = folder / "broker.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    # The broker logs in, too, with these options; it never uses the token, but must have a name in it.
    trust = f'unsecuredLoginStringClaim_sub="broker" ssl.truststore.type="PEM" ssl.truststore.location="{authority.ca}"'
    names = [f"User:{'CN=' if m == 'MTLS' else ''}{u}" for m, u in USERS.items()]
    bearer = LOGIN_MODULE.format("oauthbearer.OAuthBearerLoginModule")
    scram, oauth = "listener.name.scram", "listener.name.oauth"
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": ";".join(["User:ANONYMOUS", *names]),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.ca),
        "listener.name.mtls.ssl.client.auth": "required",
        f"{scram}.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        f"{scram}.scram-sha-512.sasl.jaas.config": f"{LOGIN_MODULE.format('scram.ScramLoginModule')};",
        f"{oauth}.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{oauth}.oauthbearer.sasl.jaas.config": f"{bearer} {trust};",
        f"{oauth}.oauthbearer.sasl.server.callback.handler.class": (
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
        ),
        f"{oauth}.sasl.oauthbearer.jwks.endpoint.url": f"{issuer.url}/keys",
        f"{oauth}.sasl.oauthbearer.expected.audience": AUDIENCE,
        f"{oauth}.sasl.oauthbearer.expected.issuer": issuer.url,
    }


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder)
    with serving(Issuer({USERS["OAUTH"]: PASSWORD}), *authority.issue("issuer")) as issuer:
        options = BrokerOptions(
            listeners={"SCRAM": "SASL_SSL", "MTLS": "SSL", "OAUTH": "SASL_SSL"},
            properties=properties(authority, issuer, folder),
            java_flags=[f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer.url}/keys"],
        )
        with EmbeddedBroker(options) as broker:
            admin = AdminClient({"bootstrap.servers": broker.bootstrap})
            known = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
            wish = UserScramCredentialUpsertion(USERS["SCRAM"], known, PASSWORD.encode())
            for done in admin.alter_user_scram_credentials([wish]).values():
                done.result(20)
            yield Secured(broker, authority, issuer)


WRONG: dict[str, tuple[str, dict[str, str], str]] = {
    "password": (
        "SCRAM",
        {"HOCKET_SASL_PASSWORD": "guessed"},
        r"refuses the login of 'scram-hocket'.*HOCKET_SASL_PASSWORD",
    ),
    "mechanism": ("SCRAM", {"HOCKET_SASL_MECHANISM": "PLAIN"}, "no login by PLAIN.*HOCKET_SASL_MECHANISM"),
    "client secret": ("OAUTH", {"HOCKET_SASL_PASSWORD": "guessed"}, "/token refuses client 'oauth-hocket'"),
    "CA": ("SCRAM", {"HOCKET_SSL_CAFILE": ""}, "certificate of Kafka at .* is not accepted here.*HOCKET_SSL_CAFILE"),
    "no certificate": ("MTLS", {"HOCKET_SSL_CERTFILE": "", "HOCKET_SSL_KEYFILE": ""}, "HOCKET_SSL_CERTFILE"),
    "no TLS": ("SCRAM", {"HOCKET_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "That port may want TLS"),
}
"""What is wrong: the listener, the variables, and what the one before the screen reads."""


async def test_a_closed_door_is_told_with_who_must_act(
    secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for what, (mode, changes, told) in WRONG.items():
        given = {k: v for k, v in (secured.login(mode) | changes).items() if v}
        with monkeypatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            wrong = Settings(bootstrap=secured.broker.address(mode))
        with pytest.raises((KafkaRefused, KafkaUnreachable)) as raised:
            await list_topics(wrong, wait_seconds=0)
        assert re.search(told, str(raised.value)), f"{what}: {raised.value}"
        assert "guessed" not in str(raised.value)
        assert "no Kafka broker answers" not in str(raised.value), what
    home = Settings(bootstrap=secured.broker.address("SCRAM"), state_dir=tmp_path / "state")
    login = secured.login("SCRAM") | {"HOCKET_SASL_PASSWORD": "guessed"}
    asked, checked = await asyncio.gather(
        asyncio.to_thread(hocket, home, login, "topics", "list"), asyncio.to_thread(hocket, home, login, "doctor")
    )
    assert asked.returncode != 0
    assert "hocket: Kafka at" in asked.stderr
    assert "refuses the login of 'scram-hocket'" in asked.stderr
    assert "refuses the login" in " ".join(checked.stdout.split())
    aggregator = Service("services.aggregator", home, tmp_path / "aggregator.log", **login).start()
    assert aggregator.process is not None
    assert await asyncio.to_thread(aggregator.process.wait, 60) == 1, aggregator.tail()
    assert "refuses the login of 'scram-hocket'" in aggregator.tail()
    assert "Traceback" not in aggregator.log.read_text()


def hocket(home: Settings, login: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from hocket.cli.app import main; main()", *words]
    return subprocess.run(
        command, env=environment(home, **login), capture_output=True, text=True, timeout=150, check=False
    )


@pytest.mark.parametrize("mode", USERS)
async def test_a_request_is_answered_over(mode: str, secured: Secured, tmp_path: Path) -> None:
    home = Settings(
        bootstrap=secured.broker.address(mode),
        prefix=f"{mode.lower()}-",
        partitions=1,
        blob_store=(tmp_path / "blobs").as_uri(),
        state_dir=tmp_path / "state",
    )
    login = secured.login(mode)
    made = await asyncio.to_thread(hocket, home, login, "topics", "apply")
    assert made.returncode == 0, made.stdout + made.stderr
    (port,) = free_ports(1)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "brief.yaml").write_text(BRIEF)
    letter = tmp_path / "letter.txt"
    letter.write_text(LETTER)
    own = {"HOCKET_WORKFLOWS": str(tmp_path / "workflows"), **login}
    services = [
        Service("services.aggregator", home, tmp_path / "aggregator.log", HOCKET_INSTANCE="a0", **own),
        Service("services.planner", home, tmp_path / "planner.log", **own),
        Service("services.workers", home, tmp_path / "worker.log", "--specialty", "summarisation", **login),
        Service("services.monitor", home, tmp_path / "monitor.log", HOCKET_HTTP_PORT=str(port), **login),
    ]
    with running(*services):
        asking = ["ask", "What of the lamps?", "--attach", str(letter), "--timeout", "120", "-o", "json"]
        for words in (asking, [*asking, "--workflow", "brief"]):  # through the planner, and without it
            asked = await asyncio.to_thread(hocket, home, login, *words)
            logs = "\n".join(s.tail() for s in services)
            assert asked.returncode == 0, f"{asked.stdout[:800]}{asked.stderr}\n{logs}"
            assert "lamps" in json.loads(asked.stdout)["content"]
        page = await asyncio.to_thread(metrics, port, f"{home.prefix}hocket-worker-summarisation")
        assert 'hocket_answers_total{status="completed"} 2' in page, services[-1].tail()
    if mode == "OAUTH":
        assert len(secured.issuer.given) >= len(services), "each service got a token of its own"
        assert secured.issuer.scopes == {"kafka"}
        for s in services:
            assert PASSWORD not in s.log.read_text()
