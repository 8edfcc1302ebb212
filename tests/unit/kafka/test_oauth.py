"""libs/hocket/kafka/oauth.py against a token endpoint over HTTPS, and what both clients are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hocket.kafka.client import aiokafka_options, librdkafka_options
from hocket.kafka.oauth import TokenError, Tokens
from hocket.runtime.settings import Settings
from tests.support.certificates import Authority
from tests.support.tokens import Issuer, serving

ID, SECRET = "hocket", "a word of: = and ;"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oauth")


@pytest.fixture(scope="module")
def issuer(folder: Path) -> Iterator[Issuer]:
    with serving(Issuer({ID: SECRET}, lives=100), *Authority(folder).issue("issuer")) as one:
        yield one


def settings(issuer: Issuer, folder: Path, **changes: object) -> Settings:
    given = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_username": ID,
        "sasl_password": SECRET,
        "sasl_token_url": f"{issuer.url}/token",
        "ssl_cafile": folder / "ca.crt",
    }
    return Settings(**(given | changes))


def test_a_token_is_kept_until_a_fifth_of_its_life_is_left(issuer: Issuer, folder: Path):
    clock = [0]
    tokens = Tokens(settings(issuer, folder), now=lambda: clock[0])
    before = len(issuer.given)
    first, ends = tokens.token()
    assert ends == 100
    clock[0] = 79_000
    assert tokens.token() == (first, ends)
    assert len(issuer.given) == before + 1
    clock[0] = 80_000
    assert tokens.token()[1] == 180
    assert len(issuer.given) == before + 2


def test_a_refusal_names_the_settings_and_no_secret(issuer: Issuer, folder: Path):
    with pytest.raises(TokenError, match="HOCKET_SASL_PASSWORD") as raised:
        Tokens(settings(issuer, folder, sasl_password="guessed")).token()
    assert "guessed" not in str(raised.value)


def test_an_issuer_out_of_reach_or_not_trusted_is_named(issuer: Issuer, folder: Path):
    with pytest.raises(TokenError, match=r"127\.0\.0\.1:1/token"):
        Tokens(settings(issuer, folder, sasl_token_url="https://127.0.0.1:1/token")).token()
    with pytest.raises(TokenError, match="certificate verify failed"):
        Tokens(settings(issuer, folder, ssl_cafile=None)).token()


async def test_both_clients_are_told_where_tokens_are(issuer: Issuer, folder: Path):
    chosen = settings(issuer, folder, sasl_scope="kafka")
    token = await aiokafka_options(chosen)["sasl_oauth_token_provider"].token()
    assert token.count(".") == 2
    told = librdkafka_options(chosen)
    assert told["sasl.oauthbearer.token.endpoint.url"] == chosen.sasl_token_url
    assert told["sasl.oauthbearer.scope"] == "kafka"
    assert "sasl.password" not in told
    assert "sasl_plain_password" not in aiokafka_options(chosen)


def test_a_client_certificate_reaches_both_clients(folder: Path):
    certificate, key = Authority(folder).issue("client", password="locked")
    chosen = Settings(
        security_protocol="SSL", ssl_cafile=folder / "ca.crt", ssl_certfile=certificate, ssl_keyfile=key,
        ssl_key_password="locked",
    )  # fmt: skip
    assert aiokafka_options(chosen)["ssl_context"].get_ca_certs()
    assert librdkafka_options(chosen)["ssl.key.password"] == "locked"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"security_protocol": "SASL_SSL"}, "HOCKET_SASL_USERNAME and HOCKET_SASL_PASSWORD"),
        (
            {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "OAUTHBEARER",
                "sasl_username": "a",
                "sasl_password": "b",
            },
            "HOCKET_SASL_TOKEN_URL",
        ),
        ({"security_protocol": "SSL", "ssl_certfile": Path("a.crt")}, "HOCKET_SSL_KEYFILE"),
    ],
)
def test_half_a_login_is_refused_at_start(given: dict[str, object], missing: str):
    with pytest.raises(ValueError, match=missing):
        Settings(**given)
