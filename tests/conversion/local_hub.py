"""A Hub on this machine: repositories, LFS objects, commits, trees, tags; and ways to break."""

import base64
import hashlib
import itertools
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_testTokenThatIsNeverShown"
LARGE = 1000  # bytes from which the Hub keeps a file as an LFS object


@dataclass
class Repo:
    private: bool = True
    commits: list[dict[str, tuple[str, int, str]]] = field(default_factory=lambda: [{}])
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return sha_of(len(self.commits) - 1)


def sha_of(number: int) -> str:
    return f"{number:040x}"


def git_sha(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass
class LocalHub:
    """State of the server, and what it is to do wrong.

    Attributes:
        status: Path pattern → statuses that the next requests get instead of an answer, one after the other.
        cut: How many of the next uploads of bytes are cut off after half of them.
        holds: Uploads of bytes, by order of arrival, that come half and are read no further until their sender is gone.
        waiting: Released once for each of them.
        part_bytes: Uploads larger than this come in parts.
        spoils: Keep other bytes than were sent.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    status: dict[str, list[int]] = field(default_factory=dict)
    cut: int = 0
    holds: range = range(0)
    waiting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    arrivals: Iterator[int] = field(default_factory=itertools.count)
    part_bytes: int = 1 << 30
    spoils: bool = False
    echoes_token: bool = False
    url: str = ""

    def puts(self) -> list[str]:
        """Object ids (or parts) that came whole, in order."""
        return [call.removeprefix("stored ") for call in self.calls if call.startswith("stored ")]


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def _json(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _planned(self, path: str) -> bool:
        """Answer with a planned status, if there is one for this path."""
        for pattern, statuses in self.hub.status.items():
            if statuses and re.search(pattern, f"{self.command} {path}"):
                self._body()
                said = f"said of {TOKEN}" if self.hub.echoes_token else "planned"
                self._json({"error": said}, statuses.pop(0))
                return True
        return False

    def _route(self) -> None:
        path = urlsplit(self.path).path
        self.hub.calls.append(f"{self.command} {path}")
        if self._planned(path):
            return
        if path.startswith("/objects/"):  # the storage is a third party: the token is not for it
            self._store(path)
            return
        body = self._body()
        found = re.fullmatch(r"/api/models/(\w[\w.-]*/[\w.-]+)(?:/([a-z]+)(?:/(.+))?)?", path)
        file = re.fullmatch(r"/(\w[\w.-]*/[\w.-]+)/resolve/(\w+)/(.+)", path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "Invalid username or password."}, 401)
        elif file:
            self._download(self.hub.repos[file[1]].commits[int(file[2], 16)][file[3]][0], file[2])
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif path.startswith("/verify/"):
            self._verify(json.loads(body))
        elif not found or found[1] not in self.hub.repos:
            self._json({"error": "Repository not found"}, 404)
        else:
            self._repo(self.hub.repos[found[1]], found[1], found[2] or "", found[3] or "", body)

    do_GET = do_HEAD = do_POST = do_PUT = _route  # noqa: N815  the server's own names

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repos:
            return self._json({"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}, 409)
        self.hub.repos[name] = Repo(private=asked.get("visibility") == "private")
        return self._json({"url": f"{self.hub.url}/{name}", "name": name})

    def _repo(self, repo: Repo, name: str, what: str, rest: str, body: bytes) -> None:
        if what in ("", "revision"):
            return self._json({"id": name, "modelId": name, "sha": repo.head, "private": repo.private, "siblings": [],
                               "tags": [], "downloads": 0})  # fmt: skip
        if what == "refs":
            refs = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": sha} for tag, sha in repo.tags.items()]
            main = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}]
            return self._json({"branches": main, "converts": [], "tags": refs})
        if what == "preupload":
            return self._json({"files": [
                {"path": f["path"], "uploadMode": "lfs" if f["size"] >= LARGE else "regular", "shouldIgnore": False,
                 "oid": repo.commits[-1].get(f["path"], (None,))[0]} for f in json.loads(body)["files"]
            ]})  # fmt: skip
        if what == "commit":
            return self._commit(repo, name, body)
        if what == "tree":
            number = len(repo.commits) - 1 if rest == "main" else int(rest, 16)
            return self._json([
                {"type": "file", "path": path, "size": size, "oid": oid,
                 **({"lfs": {"oid": oid, "size": size, "pointerSize": 134}} if kind == "lfs" else {})}
                for path, (oid, size, kind) in repo.commits[number].items()
            ])  # fmt: skip
        if what == "tag":
            repo.tags[json.loads(body)["tag"]] = repo.head if rest == "main" else rest
            return self._json({})
        if what == "settings":
            repo.private = json.loads(body)["visibility"] == "private"
            return self._json({})
        return self._json({"error": f"unknown {what}"}, 404)

    def _commit(self, repo: Repo, name: str, body: bytes) -> None:
        files = dict(repo.commits[-1])
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                data = base64.b64decode(value["content"])
                files[value["path"]] = (git_sha(data), len(data), "regular")
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return self._json({"error": f"{value['path']} was not uploaded"}, 400)
                data = self.hub.objects[value["oid"]]
                files[value["path"]] = (hashlib.sha256(data).hexdigest(), len(data), "lfs")
        repo.commits.append(files)
        url = f"{self.hub.url}/{name}/commit/{repo.head}"
        return self._json({"success": True, "commitUrl": url, "commitOid": repo.head, "hookOutput": ""})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for one in asked["objects"]:
            oid, size = one["oid"], one["size"]
            answer: dict[str, Any] = {"oid": oid, "size": size}
            if oid not in self.hub.objects:
                upload: dict[str, Any] = {"href": f"{self.hub.url}/objects/{oid}"}
                if size > self.hub.part_bytes:
                    count = -(-size // self.hub.part_bytes)
                    urls = {str(n + 1): f"{self.hub.url}/objects/{oid}.{n + 1}" for n in range(count)}
                    upload = {"href": f"{self.hub.url}/objects/{oid}/complete",
                              "header": {"chunk_size": str(self.hub.part_bytes), **urls}}  # fmt: skip
                answer["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/verify/{oid}"}}
            objects.append(answer)
        self._json({"transfer": "basic", "objects": objects})

    def _download(self, oid: str, commit: str) -> None:
        self.send_response(200)
        for name, value in {"ETag": oid, "X-Repo-Commit": commit, "Content-Length": len(self.hub.objects[oid])}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else self.hub.objects[oid])

    def _store(self, path: str) -> None:
        name = path.removeprefix("/objects/")
        size = int(self.headers.get("Content-Length", 0))
        if self.command == "POST":  # all parts are there
            oid = name.split("/")[0]
            asked = json.loads(self._body())
            parts = self.hub.parts.pop(oid)
            self.hub.objects[oid] = b"".join(parts[one["partNumber"]] for one in asked["parts"])
            return self._json({})
        if self.hub.cut:
            self.hub.cut -= 1
            self.rfile.read(size // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        if next(self.hub.arrivals) in self.hub.holds:  # files come at the same time: what is stored tells no order
            self.rfile.read(size // 2)
            self.hub.waiting.release()
            self.rfile.read()  # until the other side is gone
            self.close_connection = True
            return None
        body = self._body()
        oid, _, number = name.partition(".")
        if not number and hashlib.sha256(body).hexdigest() != oid:  # its sender died on the way
            self.close_connection = True
            return None
        if self.hub.spoils:
            body = b"x" + body[1:]
        if number:
            self.hub.parts.setdefault(oid, {})[int(number)] = body
        else:
            self.hub.objects[oid] = body
        self.hub.calls.append(f"stored {name}")
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _verify(self, asked: dict[str, Any]) -> None:
        there = len(self.hub.objects.get(asked["oid"], b"")) == asked.get("size", -1)
        self._json({} if there else {"error": "wrong size"}, 200 if there else 400)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """Run a Hub until the block ends."""
    hub = LocalHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
