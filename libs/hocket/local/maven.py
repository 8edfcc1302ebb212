"""Fetch artifacts with their dependencies from a Maven repository; imported only when something is missing.

`jgo` works out which artifacts are needed. The fetching is ours, since jgo writes straight to the final name
and only warns about a wrong checksum.
"""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from jgo.maven import Artifact, Dependency, MavenContext, PythonResolver

if TYPE_CHECKING:
    from hocket.local.jars import Bundle, Progress

_CONNECTIONS = 4
_ATTEMPTS = 3
_PAUSE_S = 0.5
_TIMEOUT_S = (10, 60)  # to connect, and between two reads
_REPORT_S = 0.5
_CHUNK = 1 << 16


# No OSError, RuntimeError or ValueError: jgo takes those for a flaw of a description file and goes on without it.
class FetchError(Exception):
    """An artifact could not be fetched; the message says which and why."""


class StoreError(FetchError):
    """An artifact could not be written to the cache folder."""


class _Downloader(PythonResolver):
    """Fetches whole, verified files only: under a temporary name, then renamed."""

    def __init__(self) -> None:
        super().__init__()
        self.received = 0
        self._counting = threading.Lock()
        self._per_thread = threading.local()
        self._sessions: list[requests.Session] = []

    def close(self) -> None:
        """Close the connections of all threads."""
        for session in self._sessions:
            session.close()

    def download(self, artifact: Artifact) -> Path:
        target = artifact.cached_path
        if target is None:
            raise FetchError(f"no place to keep {artifact}")
        (base,) = artifact.context.remote_repos.values()
        url = f"{base}/{artifact.component.path_prefix.as_posix()}/{artifact.filename}"
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._download(url, target)
            except requests.RequestException as error:
                if attempt == _ATTEMPTS or not _may_pass(error):
                    raise FetchError(f"{artifact.filename}: {_reason(error)}") from error
                time.sleep(_PAUSE_S * attempt)
            except OSError as error:  # after requests' own, which are OSErrors too
                raise StoreError(f"{target}: {error.strerror}") from error
        raise AssertionError

    def _download(self, url: str, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f"{target.name}.{os.getpid()}.part")
        checksum = hashlib.sha1(usedforsecurity=False)
        try:
            with self._get(url, stream=True) as response, draft.open("wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    checksum.update(chunk)
                    with self._counting:
                        self.received += len(chunk)
            expected = self._get(f"{url}.sha1").text.strip()[:40]  # some repositories add the file's name
            if checksum.hexdigest() != expected:
                raise requests.exceptions.ContentDecodingError("the checksum does not match")
            target.with_name(f"{target.name}.sha1").write_text(expected)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
        return target

    def _get(self, url: str, *, stream: bool = False) -> requests.Response:
        session: requests.Session | None = getattr(self._per_thread, "session", None)
        if session is None:  # kept open: a handshake for each of 200 small files would cost most of the time
            session = self._per_thread.session = requests.Session()
            self._sessions.append(session)
        response = session.get(url, stream=stream, timeout=_TIMEOUT_S)
        if not response.ok:
            response.close()  # a streamed one would keep its connection
        response.raise_for_status()
        return response


def _may_pass(error: requests.RequestException) -> bool:
    status = error.response.status_code if error.response is not None else None
    return status is None or status == requests.codes.too_many_requests or status >= 500


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP {error.response.status_code} from {error.response.url}"
    if isinstance(error, requests.ConnectionError):
        return "the Maven repository can't be reached"
    return str(error)


def fetch(bundle: "Bundle", cache: Path, mirror: str | None, progress: "Progress") -> tuple[Path, ...]:
    """Fetch the bundle's artifacts, and all they need unless it is one archive, into `cache`.

    Raises FetchError, and OSError when `cache` can't be written. `progress` is called in this thread.
    """
    downloader = _Downloader()
    context = MavenContext(
        resolver=downloader,
        repo_cache=cache,
        remote_repos={"mirror": mirror.rstrip("/")} if mirror else None,
    )

    def report(what: str) -> None:
        progress(f"Fetching {bundle.title}: {what}, {downloader.received / 1e6:.0f} MB")

    with contextlib.closing(downloader), ThreadPoolExecutor(_CONNECTIONS) as pool:
        try:
            listing = pool.submit(_artifacts, bundle, context)
            _finish([listing], lambda _: report("finding out what it needs"))
            files = [pool.submit(artifact.resolve) for artifact in listing.result()]
            _finish(files, lambda done: report(f"{done} of {len(files)} files"))
        finally:
            pool.shutdown(cancel_futures=True)
    return tuple(sorted(file.result() for file in files))


def _finish(work: Sequence[Future[Any]], report: Callable[[int], None]) -> None:
    """Wait for all, reporting how many are done twice a second; raise what the first failure raised."""
    done: set[Future[Any]] = set()
    while len(done) < len(work):
        report(len(done))
        done, _ = wait(work, timeout=_REPORT_S, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    report(len(done))


def _artifacts(bundle: "Bundle", context: MavenContext) -> list[Artifact]:
    wanted = [_artifact(context, text) for text in bundle.artifacts]
    return wanted if bundle.unpack else _with_dependencies(bundle, context, wanted)


def _artifact(context: MavenContext, text: str) -> Artifact:
    group, name, version, classifier, packaging = (*text.split(":"), "", "jar")[:5]
    return context.project(group, name).at_version(version).artifact(classifier, packaging)


def _with_dependencies(bundle: "Bundle", context: MavenContext, artifacts: Sequence[Artifact]) -> list[Artifact]:
    excluded = [context.project(*text.split(":")) for text in bundle.excluded]
    # `raw`: else jgo lets log4j's parent, which manages versions of Kafka's clients for its own tests, decide them.
    wanted = [Dependency(artifact, exclusions=excluded, raw=True) for artifact in artifacts]
    _, needed = context.resolver.resolve(wanted)
    return [*artifacts, *(dependency.artifact for dependency in needed)]
