"""`make audit` against an index on loopback that serves PyPI's JSON interface."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conf.load import ROOT
from jobs import audit
from jobs.audit import Pin, pins

FAULT = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["1.1"], "summary": "reads\ntoo much", "withdrawn": None}
REPLIES = {
    "/pypi/pip/24.0/json": {"vulnerabilities": []},
    "/pypi/safe/2.0/json": {"vulnerabilities": [FAULT | {"id": "PYSEC-2", "withdrawn": "2026-01-01"}]},
    "/pypi/faulty/1.0/json": {"vulnerabilities": [FAULT]},
    "/pypi/torch/2.13.0/json": {"vulnerabilities": []},
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        reply = REPLIES.get(self.path)
        self.send_response(200 if reply else 404)
        self.end_headers()
        self.wfile.write(json.dumps(reply or "").encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"127.0.0.1:{server.server_port}"
        monkeypatch.setenv("PIP_INDEX_URL", f"http://me:s3cret@{address}/simple/")
        yield address
        server.shutdown()


def locks(folder: Path, *lines: str, accepted: str = "{}") -> list[str]:
    (folder / "cpu.txt").write_text("".join(f"{each}\n" for each in lines))
    (folder / "overrides-cpu.txt").write_text("faulty ; sys_platform == 'never'\n")
    (folder / "accepted-advisories.yaml").write_text(accepted)
    return ["--locks", str(folder)]


def test_an_advisory_is_told_and_fails_unless_it_is_accepted(
    index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ("faulty==1.0 ; python_version < '3.12'", "safe==2.0", "own==3.0", "torch==2.13.0+cpu")
    assert audit.main(locks(tmp_path, *lines)) == 1
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "cpu: 4 packages, 1 advisories",
        "  faulty 1.0: PYSEC-1 CVE-1, fixed in 1.1: reads too much",
        "  own 3.0: not on the index, so nothing is known of it",
        "2 to look at",
    ]
    lines = tuple(each for each in lines if each != "own==3.0")
    assert audit.main(locks(tmp_path, *lines, accepted="CVE-1: never called\nCVE-9: gone\n")) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[1].endswith("; accepted: never called")
    assert told[2] == "accepted-advisories.yaml: CVE-9 concerns no pinned package any more"
    assert audit.main(locks(tmp_path, "safe==2.0")) == 0


def test_an_index_without_advisories_is_one_line(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(REPLIES, "/pypi/pip/24.0/json")
    assert audit.main(locks(tmp_path, "safe==2.0")) == 2
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:s3cret@127.0.0.1:{port}/simple")
    assert audit.main(locks(tmp_path, "safe==2.0")) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(
        f"error: no advisories: http://...@{index}/pypi replies 404 for pip/24.0/json, so this index has none"
    )
    assert second.startswith(f"error: no advisories: http://...@127.0.0.1:{port}/pypi cannot be reached")


def test_reasons_have_to_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(locks(tmp_path, "safe==2.0", accepted="- CVE-1\n")) == 2
    assert "holds no reasons by id" in capsys.readouterr().err


def test_every_line_of_the_locks_is_a_pin() -> None:
    for lock in (ROOT / "locks").glob("*.txt"):
        if not lock.stem.startswith("overrides-"):
            lines = [line for line in lock.read_text().splitlines() if line and not line.startswith("#")]
            assert len(pins(lock)) == len(lines)
    assert Pin("torch", "2.13.0") in pins(ROOT / "locks" / "cpu.txt")
