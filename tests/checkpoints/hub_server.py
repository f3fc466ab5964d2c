"""A hub on this machine: answers what huggingface_hub's client asks when it pushes and loads a model repository.

Written from what the client sends (its hf_api, _commit_api, lfs and file_download modules). Large files go through the
LFS batch and are downloaded behind a redirect, small ones travel in the commit, as on huggingface.co; Xet is not there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

OWNER, READER = "hf_owner", "hf_reader"
"""Tokens: of somebody who may write to every repository, and of somebody who may only read."""
LFS_SUFFIX = ".safetensors"


@dataclass
class Repository:
    """Commits, oldest first: sha -> path -> content."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main" and self.commits:
            return list(self.commits.items())[-1]
        return (revision, self.commits[revision]) if revision in self.commits else None

    def add(self, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[sha] = files
        return sha


@dataclass
class Hub:
    """What the hub holds, and every request that reached it."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def elsewhere(self, oid: str) -> str:
        """A large file on another host name, as a content network's."""
        return f"{self.address.replace('127.0.0.1', 'localhost')}/lfs/{oid}"

    def put(self, name: str, files: dict[str, bytes], **rights: bool) -> Repository:
        repository = self.repositories.setdefault(name, Repository(**rights))
        repository.add({**(list(repository.commits.values()) or [{}])[-1], **files})
        return repository


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply()

        def do_HEAD(self) -> None:
            self.reply()

        def do_POST(self) -> None:
            self.reply()

        def do_PUT(self) -> None:
            self.reply()

        def log_message(self, *arguments: object) -> None:
            pass

        # ---- what is asked

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            for method, pattern, answer in (
                ("HEAD", r"/", self.root),
                ("GET", r"/api/whoami-v2", self.whoami),
                ("POST", r"/api/validate-yaml", self.yaml),
                ("POST", r"/api/repos/create", self.create),
                ("GET", r"/api/models/([\w.-]+/[\w.-]+)/tree/([\w.-]+)", self.tree),
                ("GET", r"/api/models/([\w.-]+/[\w.-]+)(?:/revision/([\w.-]+))?", self.info),
                ("POST", r"/api/models/([\w.-]+/[\w.-]+)/preupload/([\w.-]+)", self.preupload),
                ("POST", r"/api/models/([\w.-]+/[\w.-]+)/commit/([\w.-]+)", self.commit),
                ("POST", r"/([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", self.batch),
                ("PUT", r"/lfs/(\w+)", self.store),
                ("GET|HEAD", r"/lfs/(\w+)", self.large),
                ("GET|HEAD", r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)", self.resolve),
            ):
                found = re.fullmatch(pattern, path)
                if found and self.command in method.split("|"):
                    answer(body, *found.groups())
                    return
            self.send(404, {"error": f"no such address: {path}"})

        def root(self, body: bytes) -> None:
            self.send(200, {})

        def whoami(self, body: bytes) -> None:
            if self.token in (OWNER, READER):
                self.send(200, {"type": "user", "name": "org", "auth": {"accessToken": {"role": "write"}}})
            else:
                self.send(401, {"error": "Invalid username or password."})

        def yaml(self, body: bytes) -> None:
            self.send(200, {"errors": [], "warnings": []})

        def create(self, body: bytes) -> None:
            asked = json.loads(body)
            if self.token != OWNER:
                status, words = (403, "You don't have the rights") if self.token else (401, "Invalid username")
                self.send(status, {"error": words}, {"X-Error-Message": words})
                return
            name = f"{asked['organization'] or 'org'}/{asked['name']}"
            there = name in hub.repositories
            if not there:
                private = asked.get("visibility") == "private" or bool(asked.get("private"))
                hub.put(name, {".gitattributes": b""}, private=private)
            self.send(409 if there else 200, {"url": f"{hub.address}/{name}", "name": name})

        def info(self, body: bytes, name: str, revision: str | None) -> None:
            found = self.find(name, revision or "main")
            if found is not None:
                siblings = [{"rfilename": path} for path in found[1]]
                self.send(200, {"id": name, "modelId": name, "sha": found[0], "private": False, "siblings": siblings})

        def tree(self, body: bytes, name: str, revision: str) -> None:
            found = self.find(name, revision)
            if found is not None:
                self.send(200, [entry(path, content) for path, content in found[1].items()])

        def preupload(self, body: bytes, name: str, revision: str) -> None:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LFS_SUFFIX) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self.send(200, {"files": files})

        def batch(self, body: bytes, name: str) -> None:
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{hub.address}/lfs/{wanted['oid']}"}}}
                for wanted in json.loads(body)["objects"]
            ]
            self.send(200, {"transfer": "basic", "objects": objects})

        def store(self, body: bytes, oid: str) -> None:
            fits = hashlib.sha256(body).hexdigest() == oid
            hub.large[oid] = body
            self.send(200 if fits else 400, {})

        def commit(self, body: bytes, name: str, revision: str) -> None:
            files: dict[str, bytes] = {}
            for line in body.decode().splitlines():
                operation = json.loads(line)
                value: dict[str, Any] = operation["value"]
                if operation["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif operation["key"] == "lfsFile":
                    files[value["path"]] = hub.large[value["oid"]]
            repository = hub.put(name, files)
            sha = list(repository.commits)[-1]
            self.send(200, {"success": True, "commitOid": sha, "commitUrl": f"{hub.address}/{name}/commit/{sha}"})

        def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
            found = self.find(name, revision)
            if found is None:
                return
            sha, files = found
            if path not in files:
                self.send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
                return
            content = files[path]
            marks = {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
            if path.endswith(LFS_SUFFIX):
                oid = hashlib.sha256(content).hexdigest()
                hub.large[oid] = content
                marks |= {
                    "X-Linked-Etag": f'"{oid}"',
                    "X-Linked-Size": str(len(content)),
                    "Location": hub.elsewhere(oid),
                }
                self.send(302, b"", marks)
            else:
                self.send(200, content, marks)

        def large(self, body: bytes, oid: str) -> None:
            self.send(200, hub.large[oid], {"ETag": f'"{oid}"'})

        # ---- how it is answered

        @property
        def token(self) -> str:
            return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

        def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
            """A commit that the asking person may see; else the answer is sent."""
            repository = hub.repositories.get(name)
            if repository is None or (repository.private and self.token not in (OWNER, READER)):
                # huggingface.co does not tell strangers whether a repository exists
                status = 404 if self.token else 401
                self.send(status, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
                return None
            if repository.gated:
                self.send(403, {"error": "Access is restricted"}, {"X-Error-Code": "GatedRepo"})
                return None
            found = repository.at(revision)
            if found is None:
                self.send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
            return found

        def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    return Handler


def entry(path: str, content: bytes) -> dict[str, Any]:
    """A file as the tree listing has it."""
    found: dict[str, Any] = {
        "type": "file",
        "path": path,
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
    }
    if path.endswith(LFS_SUFFIX):
        oid = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 132}
    return found


@contextmanager
def serving() -> Iterator[Hub]:
    """An empty hub while the block runs."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
