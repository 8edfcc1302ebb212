"""What `make audit` says: a service that was not asked is no clean bill."""

from __future__ import annotations

import json

from tests.support.audit import CLEAN, NOT_ASKED, VULNERABLE, told

FINE = {"name": "pyyaml", "version": "6.0", "vulns": []}
BAD = {"name": "old", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": []}]}
UNKNOWN = {"name": "aiobotocore", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def report(*dependencies: object) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_clean_is_what_was_asked_about_entirely() -> None:
    assert told(report(FINE), "") == (CLEAN, "1 of 1 packages were asked about")


def test_an_advisory_is_named_with_what_mends_it() -> None:
    code, words = told(report(FINE, BAD, UNKNOWN), "")
    assert code == VULNERABLE
    assert "old 1: PYSEC-1, fixed in 1.1" in words
    assert "aiobotocore" in words


def test_a_service_that_does_not_answer_is_no_clean_bill() -> None:
    code, words = told(report(FINE, UNKNOWN), "")
    assert code == NOT_ASKED
    assert "1 packages (aiobotocore)" in words
    code, words = told("", "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\n")
    assert code == NOT_ASKED
    assert "Could not connect" in words
    assert "--vulnerability-service osv" in words
