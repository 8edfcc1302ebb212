"""Claim check: payloads above a limit go into a blob store and travel as a URI with size and hash.

Blobs are content-addressed, so writing the same payload twice (a replay after a crash) is the same blob. Stores are
fsspec URLs: a folder by default (`file:///...`), S3 and others by URL. URIs that clients wrote are read
only where allowed.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Sequence

from hocket.contracts.places import allowed, locate, read, unreadable
from hocket.contracts.records import Attachment, Output, Request, Result, Task, TaskInput

INLINE_LIMIT = 256 * 1024
"""Bytes of payload that may travel inside one record, all its payloads together."""
MAX_PAYLOAD = 64 * 1024 * 1024
TEXT_KEPT = 2_000
"""Characters of an output's text that stay beside the reference when its record moves to the blob store."""


class ClaimError(Exception):
    """A payload cannot be read or written; the message says who must act. `kind` is stable and machine-readable."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Blobs:
    """A blob store at an fsspec URL, and the places that attachments may be fetched from. All calls block on I/O."""

    def __init__(self, store: str, allowed: Sequence[str] = (), max_bytes: int = MAX_PAYLOAD) -> None:
        self.store = store.rstrip("/")
        self._allowed = (self.store, *allowed)
        self._max = max_bytes

    def put(self, data: bytes) -> tuple[str, str]:
        """Stores the bytes; returns (uri, sha256). Raises ClaimError when the store refuses."""
        digest = hashlib.sha256(data).hexdigest()
        uri = f"{self.store}/{digest[:2]}/{digest}"
        try:
            fs, path = locate(uri)
            if not (fs.exists(path) and fs.size(path) == len(data)):
                fs.makedirs(posixpath.dirname(path), exist_ok=True)
                fs.pipe_file(path, data)
        except unreadable() as e:
            raise ClaimError(
                "blob_store", f"cannot write to the blob store {self.store} (HOCKET_BLOB_STORE): {e}"
            ) from e
        return uri, digest

    def get(self, uri: str, *, size: int = 0, sha256: str | None = None) -> bytes:
        """The bytes behind a URI. Raises ClaimError: not allowed, too large, missing, or not what was promised."""
        if not allowed(uri, self._allowed):
            raise ClaimError("forbidden_uri", f"{uri} is outside the allowed places (HOCKET_ALLOWED_URIS)")
        if size > self._max:
            raise ClaimError("too_large", f"{uri} has {size} bytes, the limit is {self._max}")
        try:
            data = read(uri, self._max + 1)
        except FileNotFoundError as e:
            raise ClaimError("missing_payload", f"{uri} is gone; submit the request again with the document") from e
        except unreadable() as e:
            raise ClaimError("blob_store", f"cannot read {uri}: {e}") from e
        if len(data) > self._max:
            raise ClaimError("too_large", f"{uri} has more than {self._max} bytes")
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise ClaimError("corrupt_payload", f"{uri} is not the document that was submitted (its hash differs)")
        return data

    def attachment(self, a: Attachment) -> bytes:
        """The bytes of an attachment, wherever they are. Raises ClaimError."""
        if a.data is not None:
            return a.data
        if a.uri is None:
            raise ClaimError("bad_input", f"attachment {a.name!r} has neither data nor uri")
        return self.get(a.uri, size=a.size, sha256=a.sha256)

    def output(self, o: Output) -> str:
        """The JSON of an output, wherever it is. Raises ClaimError."""
        if o.data is not None:
            return o.data
        if o.uri is None:
            raise ClaimError("missing_payload", f"an output of {o.specialty} has neither data nor uri")
        return self.get(o.uri, size=o.size, sha256=o.sha256).decode()


Put = Callable[[bytes], tuple[str, str]]


def _attachment_out(a: Attachment, put: Put) -> Attachment:
    uri, digest = put(a.data or b"")
    return a.model_copy(update={"data": None, "uri": uri, "size": len(a.data or b""), "sha256": digest})


def _output_out(o: Output, put: Put) -> Output:
    raw = (o.data or "").encode()
    uri, digest = put(raw)
    kept = {"data": None, "uri": uri, "size": len(raw), "sha256": digest}
    if len(o.text) > TEXT_KEPT:
        kept["text"] = f"{o.text[:TEXT_KEPT]}\n[cut: the whole output has {len(raw)} bytes, at {uri}]"
    return o.model_copy(update=kept)


def _weight(o: Output) -> int:
    return len((o.data or "").encode()) + len(o.text.encode())


def _to_move(sizes: Sequence[int], limit: int) -> set[int]:
    """Which payloads must leave, largest first, until the rest fits into the limit."""
    rest, moved = sum(sizes), set()
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        if rest <= limit:
            break
        moved.add(i)
        rest -= sizes[i]
    return moved


def shrink_request(request: Request, put: Put, limit: int = INLINE_LIMIT) -> Request:
    """The request with as many attachments as needed moved to the blob store. Raises ClaimError."""
    move = _to_move([len(a.data or b"") for a in request.attachments], limit)
    if not move:
        return request
    kept = tuple(_attachment_out(a, put) if i in move else a for i, a in enumerate(request.attachments))
    return request.model_copy(update={"attachments": kept})


def shrink_inputs(inputs: tuple[TaskInput, ...], put: Put, limit: int = INLINE_LIMIT) -> tuple[TaskInput, ...]:
    """Task inputs (or an answer's outputs) with as many as needed moved to the blob store. Raises ClaimError."""
    move = _to_move([0 if x.output.data is None else _weight(x.output) for x in inputs], limit)
    if not move:
        return inputs
    return tuple(
        x.model_copy(update={"output": _output_out(x.output, put)}) if i in move else x for i, x in enumerate(inputs)
    )


def shrink_task(task: Task, put: Put, limit: int = INLINE_LIMIT) -> Task:
    """The task with its inputs within the limit (its attachments already are, since admission). Raises ClaimError."""
    inputs = shrink_inputs(task.inputs, put, limit)
    return task if inputs is task.inputs else task.model_copy(update={"inputs": inputs})


def held_inline(task: Task) -> bool:
    """Whether everything that the task refers to travels with it, so that reading it asks no blob store."""
    inline = all(i.output.data is not None for i in task.inputs)
    return inline and all(a.data is not None for a in task.attachments)


def fits(result: Result, limit: int = INLINE_LIMIT) -> bool:
    """Whether the result's output may stay in its record."""
    return result.output is None or result.output.data is None or _weight(result.output) <= limit


def shrink_result(result: Result, put: Put, limit: int = INLINE_LIMIT) -> Result:
    """The result with a large output moved to the blob store. Raises ClaimError."""
    if fits(result, limit) or result.output is None:
        return result
    return result.model_copy(update={"output": _output_out(result.output, put)})
