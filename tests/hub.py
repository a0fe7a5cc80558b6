"""A model hub on loopback with the endpoints that `huggingface_hub` calls here: data sets to read, repositories to push to."""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

TOKEN = "hf_loopback"


@dataclass
class Repository:
    """`commits` by their 40 hex digits, the newest last; each holds files by path."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def commit(self, files: dict[str, bytes]) -> str:
        """Adds a commit with these files alone."""
        digest = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[digest] = files
        return digest

    def resolve(self, revision: str | None) -> str | None:
        """The commit that a revision names, None where there is none."""
        if revision in (None, "main"):
            return next(reversed(self.commits), "0" * 40)
        return revision if revision in self.commits else None


class Hub:
    """Serves `repositories`, keyed by (type, owner/name), until the `with` block ends."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}  # LFS objects by sha256
        self.requests: list[str] = []
        self.stall = ""  # a file whose name ends so is sent by half, and then nothing
        self.stalled = threading.Event()
        self.ended = threading.Event()
        hub = self

        class Handler(_Handler):
            def __init__(self, *arguments: Any) -> None:
                self.hub = hub
                super().__init__(*arguments)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def dataset(self, name: str, files: dict[str, bytes], *, gated: bool = False) -> str:
        """Puts a commit of a data set on the hub and returns its digits."""
        return self.repositories.setdefault(("dataset", name), Repository(gated=gated)).commit(files)

    def files(self, kind: str, name: str) -> dict[str, bytes]:
        """What the newest commit of a repository holds."""
        repository = self.repositories[kind, name]
        return repository.commits[str(repository.resolve(None))]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # the base class's name
        parts = self._parts()
        match parts:
            case ["api", ("datasets" | "models") as kind, owner, name, *rest]:
                self._info(kind[:-1], f"{owner}/{name}", rest[1] if rest else None)
            case ["datasets", owner, name, "resolve", revision, *path]:
                self._file(self.hub.repositories.get(("dataset", f"{owner}/{name}")), revision, "/".join(path))
            case [owner, name, "resolve", revision, *path]:
                self._file(self.hub.repositories.get(("model", f"{owner}/{name}")), revision, "/".join(path))
            case _:
                self._refuse(404, "no such endpoint", "")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self._parts()
        if parts == ["api", "validate-yaml"]:
            return self._json({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(401, "Invalid credentials in Authorization header", "")
        match parts:
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                kind, name = asked.get("type", "model"), f"{asked['organization']}/{asked['name']}"
                self.hub.repositories[kind, name] = Repository(private=asked.get("visibility") == "private")
                self._json({"url": f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"})
            case ["api", kind, owner, name, "preupload", _]:
                paths = [file["path"] for file in json.loads(body)["files"]]
                modes = ["lfs" if path.endswith((".safetensors", ".parquet")) else "regular" for path in paths]
                files = [
                    {"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in zip(paths, modes, strict=True)
                ]
                self._json({"files": files})
            case [*_, "info", "lfs", "objects", "batch"]:
                upload = {"href": f"{self.hub.url}/lfs/", "header": {}}
                self._json({"transfer": "basic", "objects": [
                    asked | {"actions": {"upload": upload | {"href": upload["href"] + asked["oid"]}}}
                    for asked in json.loads(body)["objects"]
                ]})  # fmt: skip
            case ["api", kind, owner, name, "commit", _]:
                self._commit(self.hub.repositories[kind[:-1], f"{owner}/{name}"], body)
            case _:
                self._refuse(404, "no such endpoint", "")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        digest = self._parts()[-1]
        if hashlib.sha256(content).hexdigest() != digest:
            return self._refuse(400, "the content is not that of its oid", "")
        self.hub.large[digest] = content
        self._json({})

    def _commit(self, repository: Repository, body: bytes) -> None:
        files: dict[str, bytes] = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
        digest = repository.commit(files)
        self._json({"commitUrl": f"{self.hub.url}/o/n/commit/{digest}", "commitOid": digest})

    def _info(self, kind: str, name: str, revision: str | None) -> None:
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and not self._known()):
            return self._refuse(401, "Repository not found", "RepoNotFound")
        digest = repository.resolve(revision)
        if digest is None:
            return self._refuse(404, "Invalid rev id", "RevisionNotFound")
        siblings = [{"rfilename": path} for path in repository.commits.get(digest, {})]
        self._json({"id": name, "sha": digest, "private": repository.private, "gated": repository.gated, "siblings": siblings})

    def _file(self, repository: Repository | None, revision: str, path: str) -> None:
        digest = repository.resolve(revision) if repository else None
        if repository is None or digest is None:
            return self._refuse(404, "Repository not found", "RepoNotFound")
        if repository.gated and not self._known():
            return self._refuse(401, "Access to this data set is restricted", "GatedRepo")
        content = repository.commits[digest].get(path)
        if content is None:
            return self._refuse(404, "Entry not found", "EntryNotFound")
        etag = hashlib.sha1(content).hexdigest()
        if self.hub.stall and path.endswith(self.hub.stall) and self.command == "GET":
            self._head(200, {"X-Repo-Commit": digest, "ETag": f'"{etag}"', "Content-Length": str(len(content))})
            self.wfile.write(content[: len(content) // 2])
            self.hub.stalled.set()
            self.hub.ended.wait(60)
            return None
        self._send(200, content, {"X-Repo-Commit": digest, "ETag": f'"{etag}"'})

    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _parts(self) -> list[str]:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        return [unquote(part) for part in path.strip("/").split("/")]

    def _json(self, answer: dict[str, Any]) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, message: str, code: str) -> None:
        content = json.dumps({"error": message}).encode()
        self._send(status, content, {"Content-Type": "application/json", "X-Error-Message": message, "X-Error-Code": code})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self._head(status, headers | {"Content-Length": str(len(content))})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on the terminal; `Hub.requests` holds them."""
