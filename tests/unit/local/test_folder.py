import sys

import pytest

from hocket.local import folder, process
from hocket.local.folder import BrokerFolder, LastRun
from hocket.local.jars import KAFKA_VERSION
from hocket.local.process import BrokerError

PORTS = {"PLAINTEXT": 20001}


@pytest.fixture
def kept(tmp_path):
    held = BrokerFolder(tmp_path / "data")
    yield held
    held.close()


def test_a_temporary_folder_is_deleted_at_close():
    held = BrokerFolder(None)
    assert held.path.is_dir()
    held.close()
    assert not held.path.exists()


def test_a_kept_folder_stays_and_remembers_its_last_run(kept):
    run = LastRun(kafka=KAFKA_VERSION, pid=0, ports=PORTS)
    assert kept.last_run() is None
    kept.record(run)
    kept.close()
    again = BrokerFolder(kept.path)
    assert again.last_run() == run
    again.close()


def test_a_folder_in_use_is_refused(kept):
    with pytest.raises(BrokerError, match=r"in use by a running broker\. Stop that one first"):
        BrokerFolder(kept.path)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match=r"can't be used .* choose another"):
        BrokerFolder(tmp_path / "file")


def test_data_of_a_newer_kafka_is_refused_and_of_an_older_patch_or_minor_is_not(kept):
    for version in ("3.9.1", "4.1.0", "4.1.9"):
        kept.record(LastRun(kafka=version, pid=0, ports=PORTS))
        kept.refuse_unusable()
    kept.record(LastRun(kafka="4.10.0", pid=0, ports=PORTS))
    with pytest.raises(BrokerError, match=r"last used by Kafka 4\.10\.0.*Remove that folder"):
        kept.refuse_unusable()


def test_an_empty_half_made_folder_heals_and_one_with_data_is_refused(kept):
    kept.data.mkdir()
    kept.refuse_unusable()
    assert not kept.data.exists()

    (kept.data / "hocket.results-0").mkdir(parents=True)
    with pytest.raises(BrokerError, match=r"lacks kafka/meta.properties\. Remove"):
        kept.refuse_unusable()
    assert (kept.data / "hocket.results-0").exists()


def test_an_orphaned_broker_is_named_and_a_reused_process_id_is_not_taken_for_one(kept, monkeypatch):
    monkeypatch.setattr(folder, "_ORPHAN_WAIT_S", 0.1)
    script = "import time; print(flush=True); time.sleep(60)"
    stranger = process.ServerProcess(
        [sys.executable, "-c", script], environment={}, folder=kept.path, console=kept.console, delete=False
    )
    kept.record(LastRun(kafka=KAFKA_VERSION, pid=stranger.pid, ports=PORTS))
    kept.refuse_unusable()
    stranger.kill()

    orphan = process.ServerProcess(
        [sys.executable, "-c", script, str(kept.config)],
        environment={},
        folder=kept.path,
        console=kept.console,
        delete=False,
    )
    assert process.wait_until(kept.console.read_text, 30)  # while it is being exec'ed, a process has no command line
    kept.record(LastRun(kafka=KAFKA_VERSION, pid=orphan.pid, ports=PORTS))
    with pytest.raises(BrokerError, match=f"End it with: kill {orphan.pid}"):
        kept.refuse_unusable()
    orphan.kill()
    kept.refuse_unusable()


def test_a_damaged_record_counts_as_none(kept):
    kept.record(LastRun(kafka=KAFKA_VERSION, pid=0, ports=PORTS))
    for damaged in ("", "[]", '{"kafka": "4.1.2"}', '{"kafka": 1, "pid": "x", "ports": {}}'):
        (kept.path / "state.json").write_text(damaged)
        assert kept.last_run() is None
