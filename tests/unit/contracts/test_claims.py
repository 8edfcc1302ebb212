"""Claim check: large payloads leave the record, come back whole, and nothing outside the allowed places is read."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.claims import (
    INLINE_LIMIT,
    TEXT_KEPT,
    Blobs,
    ClaimError,
    shrink_inputs,
    shrink_request,
    shrink_result,
    shrink_task,
)
from hocket.contracts.records import Attachment, Output, Request, Result, Task, TaskInput

PDF = b"%PDF-1.7 " + bytes(range(256)) * 12_288  # 3 MB


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs((tmp_path / "blobs").as_uri())


def request_with(*payloads: bytes) -> Request:
    attached = tuple(Attachment(name=f"{i}.pdf", media_type="application/pdf", data=p) for i, p in enumerate(payloads))
    return Request(request_id="r", attachments=attached, submitted_at=1)


def claim(kind: str) -> pytest.RaisesExc[ClaimError]:
    return pytest.RaisesExc(ClaimError, check=lambda e: e.kind == kind)


def test_a_document_of_three_megabytes_travels(blobs: Blobs) -> None:
    shrunk = shrink_request(request_with(PDF), blobs.put)
    moved = shrunk.attachments[0]
    assert (moved.data, moved.size, moved.sha256) == (None, len(PDF), hashlib.sha256(PDF).hexdigest())
    assert blobs.attachment(moved) == PDF


def test_a_small_one_stays_where_it_is(blobs: Blobs) -> None:
    request = request_with(b"small")
    assert shrink_request(request, blobs.put) is request
    assert blobs.attachment(request.attachments[0]) == b"small"


def test_the_same_payload_is_the_same_blob(blobs: Blobs, tmp_path: Path) -> None:
    assert blobs.put(PDF) == blobs.put(PDF)
    assert len([p for p in (tmp_path / "blobs").rglob("*") if p.is_file()]) == 1


def test_a_store_in_a_folder_with_spaces_and_signs(tmp_path: Path) -> None:
    store = tmp_path / "My Docs ü"
    blobs = Blobs(store.as_uri())
    uri, digest = blobs.put(b"x")
    assert blobs.get(uri, size=1, sha256=digest) == b"x"
    assert store.is_dir()


def test_a_store_that_cannot_be_written_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ClaimError, match="HOCKET_BLOB_STORE"):
        Blobs((tmp_path / "file" / "blobs").as_uri()).put(b"x")


def test_s3_without_credentials_names_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    store = Blobs("s3://bucket/hocket")
    with pytest.raises(ClaimError, match="HOCKET_BLOB_STORE"):
        store.put(b"data")
    with pytest.raises(ClaimError, match="cannot read"):
        store.get("s3://bucket/hocket/aa/none")


def test_an_unknown_scheme_names_the_setting() -> None:
    with pytest.raises(ClaimError, match="HOCKET_BLOB_STORE"):
        Blobs("nosuch://bucket/blobs").put(b"x")


OUTSIDE = [
    "{root}/secret",
    "{root}/allowed/../secret",
    "{root}/allowed/%2e%2e/secret",
    "{root}/allowed/%2E%2E%2Fsecret",
    "{root}/allowed/%252e%252e/secret",
    "{root}/allowed/..%5csecret",
    "{root}/allowed-not/x",
    "{root}/allowed/x?y",
    "{root}/allowed/x#y",
    "{root}/allowed/x::{root}/secret",
    "{root}/allowed/x\n",
    "file://elsewhere{path}/allowed/x",
    "simplecache::{root}/allowed/x",
    "{path}/secret",
    "http://127.0.0.1:1/x",
    "https://docs.example.evil/x",
    "https://docs.example@evil/x",
    "https://docs.example:444/x",
    "http://docs.example/x",
    "http://[broken",
    "",
]


@pytest.mark.parametrize("uri", OUTSIDE)
def test_nothing_outside_the_allowed_places_is_read(uri: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "x").write_text("fine")
    blobs = Blobs((tmp_path / "blobs").as_uri(), [(tmp_path / "allowed").as_uri(), "https://docs.example"])
    full = uri.format(root=tmp_path.as_uri(), path=tmp_path)
    with claim("forbidden_uri"):
        blobs.get(full)
    assert blobs.get(f"{tmp_path.as_uri()}/allowed/x") == b"fine"


@given(st.lists(st.sampled_from(["..", "%2e%2e", ".%2e", ".", "a", "", "blobs", "%2f", "..%2f.."]), max_size=6))
def test_no_path_leads_out(parts: list[str]) -> None:
    from hocket.contracts.places import allowed, locate

    uri = "file:///srv/blobs/" + "/".join(parts)
    if allowed(uri, ["file:///srv/blobs"]):
        _, path = locate(uri)
        assert (path + "/").startswith("/srv/blobs/")
        assert ".." not in path.split("/")


def test_a_payload_with_another_hash_is_refused(blobs: Blobs) -> None:
    uri, _ = blobs.put(b"what was sent")
    with claim("corrupt_payload"):
        blobs.get(uri, sha256=hashlib.sha256(b"something else").hexdigest())


def test_too_large_is_refused_by_the_promise_and_by_the_bytes(tmp_path: Path) -> None:
    uri, _ = Blobs(tmp_path.as_uri()).put(b"x" * 101)
    small = Blobs(tmp_path.as_uri(), max_bytes=100)
    with claim("too_large"):
        small.get(uri, size=101)
    with claim("too_large"):
        small.get(uri)


def test_what_is_gone_says_so(blobs: Blobs) -> None:
    uri, _ = blobs.put(b"x")
    with claim("missing_payload"):
        blobs.get(uri[:-1] + ("0" if uri[-1] != "0" else "1"))


def test_an_attachment_with_neither_data_nor_uri_is_the_clients_fault(blobs: Blobs) -> None:
    with claim("bad_input"):
        blobs.attachment(Attachment(name="x", media_type="text/plain"))
    with claim("missing_payload"):
        blobs.output(Output(specialty="extraction"))


@given(st.lists(st.integers(0, 400), max_size=6), st.integers(0, 600))
def test_what_stays_inline_is_within_the_limit_and_nothing_is_lost(sizes: list[int], limit: int) -> None:
    stored: dict[str, bytes] = {}

    def put(data: bytes) -> tuple[str, str]:
        digest = hashlib.sha256(data).hexdigest()
        stored[f"mem:{digest}"] = data
        return f"mem:{digest}", digest

    request = request_with(*(bytes([i]) * n for i, n in enumerate(sizes)))
    shrunk = shrink_request(request, put, limit)
    assert sum(len(a.data or b"") for a in shrunk.attachments) <= limit
    whole = [a.data if a.data is not None else stored[a.uri or ""] for a in shrunk.attachments]
    assert whole == [a.data for a in request.attachments]


def output(n: int, text: int = 3) -> Output:
    return Output(specialty="extraction", text="t" * text, data='"' + "d" * (n - 2) + '"', size=n)


@given(st.lists(st.tuples(st.integers(2, 9_000), st.integers(0, 5_000)), max_size=5), st.integers(12_000, 30_000))
def test_inputs_within_the_limit(sizes: list[tuple[int, int]], limit: int) -> None:
    inputs = tuple(TaskInput(task_id=str(i), output=output(n, t)) for i, (n, t) in enumerate(sizes))
    shrunk = shrink_inputs(inputs, lambda data: (f"mem:{len(data)}", "0" * 64), limit)
    kept = [x.output for x in shrunk if x.output.data is not None]
    assert sum(len(o.data or "") + len(o.text) for o in kept) <= limit
    moved = [x.output for x in shrunk if x.output.data is None]
    assert all(o.uri and len(o.text) <= TEXT_KEPT + 100 for o in moved)


def test_a_large_output_leaves_its_result_and_comes_back(blobs: Blobs) -> None:
    large = Result(
        request_id="r",
        task_id="t",
        specialty="extraction",
        status="completed",
        output=output(INLINE_LIMIT + 1, 5_000),
        worker="w",
        started_at=1,
        ended_at=2,
    )
    shrunk = shrink_result(large, blobs.put)
    assert shrunk.output is not None
    assert shrunk.output.data is None
    assert shrunk.output.text.startswith("t" * TEXT_KEPT + "\n[cut: the whole output has ")
    assert blobs.output(shrunk.output) == large.output.data  # type: ignore[union-attr]
    assert shrink_result(shrunk, blobs.put) is shrunk


def test_a_task_with_small_inputs_is_left_alone(blobs: Blobs) -> None:
    inputs = (TaskInput(task_id="a", output=output(10)),)
    task = Task(request_id="r", task_id="t", specialty="decision", instruction="", inputs=inputs, dispatched_at=1)
    assert shrink_task(task, blobs.put) is task
    moved = shrink_task(task, blobs.put, limit=5).inputs[0].output
    assert blobs.output(moved) == inputs[0].output.data


class _Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, headers = {
            "/doc": (200, {}),
            "/moved": (302, {"Location": "/doc"}),
            "/broken": (500, {}),
        }.get(self.path, (404, {}))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "4")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"text")

    do_HEAD = do_GET  # noqa: N815 - the standard library's name

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def web() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_attachments_are_fetched_over_http_without_following_redirects(web: str, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path.as_uri(), [web])
    assert blobs.get(f"{web}/doc") == b"text"
    with pytest.raises(ClaimError, match="redirects to /doc"):
        blobs.get(f"{web}/moved")
    with claim("blob_store"):
        blobs.get(f"{web}/broken")
    with claim("missing_payload"):
        blobs.get(f"{web}/gone")
