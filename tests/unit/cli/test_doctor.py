"""What the doctor finds without a broker, and that it leaves nothing behind."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hocket.cli import doctor
from hocket.cli.app import app
from hocket.runtime.settings import Settings

SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def _own_data_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOCKET_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(doctor, "_KAFKA_SECONDS", 0.2)


def test_no_broker_fails_and_says_what_mends_it(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["--bootstrap", "127.0.0.1:1", "doctor", "-o", "json"])
    assert outcome.exit_code == 1
    document = json.loads(outcome.stdout)
    assert document["ok"] is False
    kafka = next(c for c in document["checks"] if c["name"] == "kafka")
    assert (kafka["verdict"], "hocket dev" in kafka["mend"]) == ("fail", True)
    assert all(c["mend"] for c in document["checks"] if c["verdict"] != "pass")
    assert not (tmp_path / "home").exists(), "a doctor only looks"


def test_keys_are_seen_but_never_shown(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    outcome = CliRunner().invoke(app, ["--bootstrap", "127.0.0.1:1", "doctor"])
    assert "ANTHROPIC_API_KEY" in outcome.stdout
    assert SECRET not in outcome.stdout + outcome.stderr
    assert doctor.provider_check(settings)[0].verdict == "pass"


def test_without_a_key_it_warns(settings: Settings) -> None:
    assert [c.verdict for c in doctor.provider_check(settings)] == ["warn"]


def test_a_wrong_specialty_is_found(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "own" / "broken").mkdir(parents=True)
    (tmp_path / "own" / "broken" / "specialty.toml").write_text("name = 'other'")
    (check,) = doctor.catalogue_check(settings.model_copy(update={"specialties": tmp_path / "own"}))
    assert check.verdict == "fail"
    assert "broken" in check.message


def test_a_low_disk_is_told(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    for free, verdict in ((10**8, "fail"), (5 * 10**8, "warn"), (10**10, "pass")):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path, found=usage: found)
        assert doctor.disk_check(settings)[0].verdict == verdict


def test_the_blob_store_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    store = tmp_path / "deep" / "blobs"
    assert doctor._try_blob_store(store.as_uri()).verdict == "pass"
    assert not (tmp_path / "deep").exists()
    (tmp_path / "file").write_text("")
    assert doctor._try_blob_store((tmp_path / "file").as_uri()).verdict == "fail"
    assert doctor._try_blob_store("nosuchscheme://x").verdict == "fail"


async def test_an_advertised_name_that_does_not_resolve_is_told() -> None:
    check = await doctor._advertised("no-such-host.invalid", 9092)
    assert check.verdict == "fail"
    assert "advertised.listeners" in check.mend
