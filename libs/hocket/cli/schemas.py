"""`hocket schemas register|check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from hocket.cli.base import COMPLETE, WRONG, Output, print_json, usage
from hocket.contracts.specialties import load_specialties
from hocket.contracts.subjects import LEVEL, Finding, subjects
from hocket.kafka.client import topics_of
from hocket.runtime.settings import Settings

if TYPE_CHECKING:
    from hocket.contracts.registrar import Registrar


def check(settings: Settings, *, wait_seconds: float, output: Output) -> int:
    """Tells what the registry lacks; exit code 1 unless every subject is as this version needs it. Changes nothing."""
    findings = _look(settings, wait_seconds)
    wrong = [f for f in findings if f.action != "current" or f.relevel]
    _show(settings, findings, [s for f in wrong for s in _lacks(f)], output)
    return WRONG if wrong else COMPLETE


def register(settings: Settings, *, wait_seconds: float, output: Output) -> int:
    """Registers what is missing; exit code 1, and nothing registered, when one schema is refused."""
    findings = _look(settings, wait_seconds)
    refused = [s for f in findings if f.action == "refused" for s in _lacks(f)]
    done: list[str] = []
    _registrar(settings).register(findings, lambda f: done.append(_did(f)))
    sentences = [*refused, "nothing was registered"] if refused else done
    _show(settings, findings, sentences, output)
    return WRONG if refused else COMPLETE


def _registrar(settings: Settings) -> Registrar:
    from hocket.contracts.registrar import Registrar  # needs the registry extra

    if not settings.registry_url:
        usage("no schema registry is set: HOCKET_REGISTRY_URL, or --registry URL")
    secret = settings.registry_basic_auth
    return Registrar(settings.registry_url or "", basic_auth=secret.get_secret_value() if secret else None)


def _look(settings: Settings, wait_seconds: float) -> list[Finding]:
    registrar = _registrar(settings)
    wanted = topics_of(settings).all(load_specialties(settings.specialties))
    registrar.wait(wait_seconds)
    return registrar.look(subjects(wanted))


def _lacks(finding: Finding) -> list[str]:
    if finding.action == "refused":
        head = (
            f"{finding.subject}: {finding.record} is refused, because it would break readers or writers that are there"
        )
        return [head, *(f"  {fault}" for fault in finding.faults), *([finding.diff] if finding.diff else [])]
    if finding.action == "register":
        return [f"{finding.subject}: {finding.record} is not registered; run `hocket schemas register`"]
    return [f"{finding.subject}: its compatibility level is not {LEVEL}; run `hocket schemas register`"]


def _did(finding: Finding) -> str:
    parts = [f"{finding.record} registered"] if finding.action == "register" else []
    parts += [f"compatibility set to {LEVEL}"] if finding.relevel else []
    return f"{finding.subject}: {', '.join(parts)}"


def _show(settings: Settings, findings: Sequence[Finding], sentences: Sequence[str], output: Output) -> None:
    if output is Output.json:
        print_json({"registry": settings.registry_url, "subjects": [asdict(f) for f in findings]})
        return
    for sentence in sentences:
        print(sentence)
    print(f"{len(findings)} subjects looked at in {settings.registry_url}")
