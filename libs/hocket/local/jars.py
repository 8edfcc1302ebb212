"""What the local servers are made of: which artifacts, fetched how, kept where.

A bundle is fetched once from Maven and remembered by its marker file; later starts read only the marker and
the files' sizes: no network, no resolution. Every file arrives under a temporary name, is checked against the
repository's SHA-1 and is then renamed, so a fetch killed midway leaves only whole files and the next start
takes up where it stopped. The marker is written last.
"""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hocket.local.process import BrokerError, file_lock

KAFKA_VERSION = "4.1.2"
REGISTRY_VERSION = "2.6.13.Final"
_LOG4J_VERSION = "2.25.3"  # what Kafka 4.1.2's own distribution ships

_MARKER = "complete.json"

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What makes up one server.

    An artifact is `group:name:version[:classifier:packaging]`; `excluded` holds `group:name` of dependencies
    that are left out.
    """

    title: str
    folder: str
    artifacts: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    unpack: bool = False  # the one artifact is an archive; what counts is its content


KAFKA = Bundle(
    title=f"Apache Kafka {KAFKA_VERSION}",
    folder=f"kafka-{KAFKA_VERSION}",
    artifacts=(
        f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
        f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}",
        f"org.apache.logging.log4j:log4j-slf4j-impl:{_LOG4J_VERSION}",
        f"org.apache.logging.log4j:log4j-core:{_LOG4J_VERSION}",
    ),
    # kafka-tools drags in Kafka Connect with its web server: 40 jars that no tool we run needs.
    excluded=("org.apache.kafka:connect-runtime",),
)

REGISTRY = Bundle(
    title=f"Apicurio Registry {REGISTRY_VERSION}",
    folder=f"apicurio-registry-{REGISTRY_VERSION}",
    artifacts=(f"io.apicurio:apicurio-registry-app:{REGISTRY_VERSION}:all:tar.gz",),
    unpack=True,
)


def silent(message: str) -> None:
    """Take a progress message and show nothing."""


def cache_root() -> Path:
    """Where bundles are kept: HOCKET_CACHE, else `hocket` in the user's cache folder."""
    own = os.environ.get("HOCKET_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hocket"


def installed(bundle: Bundle, progress: Progress = silent) -> tuple[Path, ...]:
    """The bundle's files, fetched now if they are not all there. Safe to call from many processes at once."""
    home = cache_root() / bundle.folder
    files = read_marker(bundle, home)
    if files is None:
        with install_lock(home, bundle.title, progress):
            files = read_marker(bundle, home) or _install(bundle, home, progress)
    return files


@contextmanager
def install_lock(home: Path, title: str, progress: Progress) -> Iterator[None]:
    """Let one process at a time work on a bundle; the others wait."""
    lock = home / ".lock"
    with ExitStack() as held:
        try:
            held.enter_context(file_lock(lock, wait=False))
        except BlockingIOError:
            progress(f"Waiting for another process that prepares {title}")
            held.enter_context(file_lock(lock, wait=True))
        except OSError as error:
            raise BrokerError(
                f"Can't write to the cache folder {home} ({error.strerror}). Set HOCKET_CACHE to a folder you own."
            ) from error
        yield


def read_marker(bundle: Bundle, home: Path) -> tuple[Path, ...] | None:
    """The files of a complete install, or None when any is missing or has another size than it had."""
    try:
        marker = json.loads((home / _MARKER).read_text())
        if marker["artifacts"] != [*bundle.artifacts, *bundle.excluded]:
            return None
        sizes = {home / name: size for name, size in marker["files"].items()}
        whole = all(path.stat().st_size == size for path, size in sizes.items())
    except (OSError, ValueError, KeyError):
        return None
    return tuple(sizes) if whole else None


def write_marker(bundle: Bundle, home: Path, files: tuple[Path, ...]) -> None:
    """Remember a complete install. Paths are kept relative, so that a cache folder can be moved or mounted."""
    marker = {
        "artifacts": [*bundle.artifacts, *bundle.excluded],
        "files": {path.relative_to(home).as_posix(): path.stat().st_size for path in files},
    }
    draft = home / f"{_MARKER}.part"
    draft.write_text(json.dumps(marker, indent=1))
    draft.replace(home / _MARKER)


def _install(bundle: Bundle, home: Path, progress: Progress) -> tuple[Path, ...]:
    try:
        drop_damaged(home / "maven")
        files = _fetch(bundle, home, progress)
        if bundle.unpack:
            files = _unpack(files[0], home)
        write_marker(bundle, home, files)
    except OSError as error:
        raise _cant_store(bundle, home, error) from error
    return files


def _cant_store(bundle: Bundle, home: Path, error: Exception) -> BrokerError:
    return BrokerError(
        f"{bundle.title} could not be stored in {home} ({error}). "
        "Make room there, or set HOCKET_CACHE to another folder."
    )


def drop_damaged(repository: Path) -> None:
    """Remove what a full disk or a crash of the machine left damaged, so that it is fetched anew."""
    for draft in repository.rglob("*.part"):
        draft.unlink()
    for path in [*repository.rglob("*.pom"), *repository.rglob("*.jar"), *repository.rglob("*.tar.gz")]:
        checksum = _checksum_file(path)
        if not checksum.exists() or checksum.read_text() != _sha1(path):
            path.unlink()


def _checksum_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha1")


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def _unpack(archive: Path, home: Path) -> tuple[Path, ...]:
    draft, target = home / "app.part", home / "app"
    for old in (draft, target):
        shutil.rmtree(old, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(draft, filter="data")
    draft.replace(target)
    shutil.rmtree(home / "maven")  # the archive is as large as its content
    return tuple(sorted(path for path in target.rglob("*") if path.is_file()))


def _fetch(bundle: Bundle, home: Path, progress: Progress) -> tuple[Path, ...]:
    try:
        from hocket.local import maven
    except ImportError as error:
        raise BrokerError(
            f"{bundle.title} has to be fetched first, which needs: pip install 'hocket[embedded]'"
        ) from error
    try:
        return maven.fetch(bundle, home / "maven", os.environ.get("HOCKET_MAVEN"), progress)
    except maven.StoreError as error:
        raise _cant_store(bundle, home, error) from error
    except maven.FetchError as error:
        raise BrokerError(
            f"{bundle.title} is not in the cache folder {home} yet and could not be fetched: {error}. "
            "Connect to the network and start again (HTTPS_PROXY is honoured), set HOCKET_MAVEN to the address "
            "of a Maven mirror that you can reach, copy the cache folder from another machine, "
            "or use a server of your own."
        ) from error
