"""A Hub on loopback: what the real clients ask of huggingface.co to push and load models and data sets.

Files live in memory. Requests are answered by method and path, as the real Hub does for the clients of
huggingface_hub 1.x and 2.x with `HF_HUB_DISABLE_XET=1`: `POST /api/repos/create`, `/api/validate-yaml`,
`GET /api/whoami-v2`, preupload, LFS batch and PUT, commit (ndjson), repository info, tree, paths-info, refs, and
`resolve` with ranges. It also answers wrongly when told to:

    hub.fail("POST", "/commit/", 500)               once, then fine
    hub.fail("PUT", "/lfs/", DROP, times=2)         the connection ends in the middle of the upload
    hub.fail("POST", "/commit/", LOST)              it is done, but the connection ends before the answer
    hub.meanwhile("POST", "/commit/", action)       before it is answered, somebody else does something
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

USER, TOKEN, READ_TOKEN = "tester", "hf_loopback_write", "hf_loopback_read"
DROP, LOST = 0, -1  # instead of a status: close the connection before, or after, the request is carried out
LFS_SUFFIXES = (".parquet", ".safetensors", ".png", ".bin", ".onnx")

Files = dict[str, bytes]


@dataclass
class Commit:
    oid: str
    files: Files
    title: str


@dataclass
class Failure:
    method: str
    pattern: str
    status: int
    times: int
    message: str


@dataclass
class Hub:
    """The state of the server, and what a test may ask of it."""

    endpoint: str = ""
    repos: dict[tuple[str, str], list[Commit]] = field(default_factory=dict)  # (type, id) -> commits, oldest first
    objects: dict[str, bytes] = field(default_factory=dict)  # LFS objects by sha256
    failures: list[Failure] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    actions: list[tuple[str, str, Callable[[], object]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)  # one commit at a time

    def fail(self, method: str, pattern: str, status: int, times: int = 1, message: str = "") -> None:
        """Answer the next `times` requests whose path contains the regular expression with `status` (or `DROP`)."""
        self.failures.append(Failure(method, pattern, status, times, message or f"wrong on purpose: {status}"))

    def meanwhile(self, method: str, pattern: str, action: Callable[[], object]) -> None:
        """Before the next request whose path contains the regular expression is carried out, do something, once."""
        self.actions.append((method, pattern, action))

    def files(self, repo_id: str, repo_type: str = "model") -> Files:
        """What the newest commit of a repository holds."""
        return self.repos[repo_type, repo_id][-1].files

    def commits(self, repo_id: str, repo_type: str = "model") -> list[Commit]:
        """The commits of a repository, the empty one that creates it included."""
        return self.repos[repo_type, repo_id]

    def asked(self, method: str, pattern: str) -> int:
        """How many requests there were whose path contains the regular expression."""
        return sum(m == method and re.search(pattern, path) is not None for m, path in self.requests)

    def environment(self, home: str) -> dict[str, str]:
        """What a process needs in its environment to take this server for the Hub; `home` holds its caches."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": TOKEN,
            "HF_HOME": home,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def next_action(self, method: str, path: str) -> Callable[[], object]:
        """What is done before this request: nothing, in most cases."""
        with self.lock:
            for action in self.actions:
                if action[0] == method and re.search(action[1], path):
                    self.actions.remove(action)
                    return action[2]
        return lambda: None

    def next_failure(self, method: str, path: str) -> Failure | None:
        for failure in self.failures:
            if failure.times > 0 and failure.method == method and re.search(failure.pattern, path):
                failure.times -= 1
                return failure
        return None


def serve() -> Iterator[Hub]:
    """Start a server on a free port of loopback, yield its `Hub`, stop it."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Answer(Exception):
    """Ends a request early with a status and the error the clients know."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each answer waits 40 ms for the client to acknowledge its headers
    hub: Hub
    routes = (
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/(models|datasets)/([^/]+/[^/]+)/preupload/([^/]+)", "preupload"),
        ("POST", r"/api/(models|datasets)/([^/]+/[^/]+)/commit/([^/]+)", "commit"),
        ("POST", r"/api/(models|datasets)/([^/]+/[^/]+)/paths-info/([^/]+)", "paths_info"),
        ("GET", r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", "tree"),
        ("GET", r"/api/(models|datasets)/([^/]+/[^/]+)/refs", "refs"),
        ("GET", r"/api/(models|datasets)/([^/]+/[^/]+?)(?:/revision/([^/]+))?", "info"),
        ("POST", r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
        ("PUT", r"/lfs/([0-9a-f]{64})", "lfs_put"),
        ("GET", r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
    )

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.silent = False
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        self.hub.next_action(self.command, path)()
        try:
            failure = self.hub.next_failure(self.command, self.path)
            if failure is not None and failure.status == DROP:
                return self.drop()
            self.body = self.read_body()
            self.silent = failure is not None and failure.status == LOST
            if failure is not None and not self.silent:
                raise Answer(failure.status, failure.message)
            method = "GET" if self.command == "HEAD" else self.command
            for verb, pattern, name in self.routes:
                if verb == method and (match := re.fullmatch(pattern, path)):
                    return getattr(self, name)(*match.groups())
            raise Answer(404, f"This Hub has no {self.command} {path}")
        except Answer as answer:
            headers = {"X-Error-Message": answer.message} | ({"X-Error-Code": answer.code} if answer.code else {})
            self.send({"error": answer.message}, answer.status, headers)

    do_HEAD = do_POST = do_PUT = do_GET

    # ---------------------------------------------------------------------------------------------- who and where

    def whoami(self) -> None:
        self.check_token()
        token = {"displayName": "loopback", "role": "write"}
        self.send({"type": "user", "name": USER, "auth": {"type": "access_token", "accessToken": token}, "orgs": []})

    def check_token(self, write: bool = False) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (TOKEN, READ_TOKEN):
            raise Answer(401, "Invalid username or password.")
        if write and token == READ_TOKEN:
            raise Answer(403, "This token may read but not write.")

    def validate_yaml(self) -> None:
        self.send({"errors": [], "warnings": []})

    def create(self) -> None:
        self.check_token(write=True)
        request = json.loads(self.body)
        repo_id = f"{request.get('organization') or USER}/{request['name']}"
        key = (request.get("type") or "model", repo_id)
        url = f"{self.hub.endpoint}/{'datasets/' if key[0] == 'dataset' else ''}{repo_id}"
        if key in self.hub.repos:
            return self.send({"error": "You already created this repo", "url": url}, 409)
        self.hub.repos[key] = [Commit(hashlib.sha1(repo_id.encode()).hexdigest(), {}, "initial commit")]
        self.send({"url": url, "name": repo_id, "id": repo_id})

    def at(self, kind: str | None, repo_id: str, revision: str | None = None) -> Commit:
        commits = self.hub.repos.get(("dataset" if kind and kind.startswith("dataset") else "model", repo_id))
        if commits is None:
            raise Answer(404, "Repository not found", "RepoNotFound")
        if revision in (None, "main"):
            return commits[-1]
        for commit in commits:
            if commit.oid == revision:
                return commit
        raise Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    # ---------------------------------------------------------------------------------------------- reading

    def info(self, kind: str, repo_id: str, revision: str | None = None) -> None:
        commit = self.at(kind, repo_id, revision)
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        facts = {"id": repo_id, "sha": commit.oid, "private": False, "gated": False, "disabled": False, "tags": []}
        self.send(facts | {"siblings": siblings, "downloads": 0, "likes": 0})

    def refs(self, kind: str, repo_id: str) -> None:
        branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": self.at(kind, repo_id).oid}
        self.send({"branches": [branch], "converts": [], "tags": [], "pullRequests": []})

    def tree(self, kind: str, repo_id: str, revision: str, folder: str | None = None) -> None:
        files, prefix = self.at(kind, repo_id, revision).files, f"{folder}/" if folder else ""
        inside = {path: data for path, data in files.items() if path.startswith(prefix)}
        if prefix and not inside:
            raise Answer(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        if parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1"):
            folders = {path[:end] for path in inside for end in range(len(prefix), len(path)) if path[end] == "/"}
        else:
            folders = {prefix + path[len(prefix) :].split("/")[0] for path in inside if "/" in path[len(prefix) :]}
            inside = {path: data for path, data in inside.items() if "/" not in path[len(prefix) :]}
        self.send([entry_of_folder(path) for path in sorted(folders)] + [entry(*item) for item in inside.items()])

    def paths_info(self, kind: str, repo_id: str, revision: str) -> None:
        files = self.at(kind, repo_id, revision).files
        if self.headers.get("Content-Type", "").startswith("application/json"):
            asked = json.loads(self.body)["paths"]
        else:
            asked = parse_qs(self.body.decode()).get("paths", [])
        found = [entry(path, files[path]) for path in asked if path in files]
        folders = [path for path in asked if any(name.startswith(f"{path.rstrip('/')}/") for name in files)]
        self.send(found + [entry_of_folder(path) for path in folders])

    def resolve(self, kind: str | None, repo_id: str, revision: str, path: str) -> None:
        commit = self.at(kind, repo_id, revision)
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        if path not in commit.files:
            headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return self.send({"error": "Entry not found"}, 404, headers)
        data, status = commit.files[path], 200
        headers["ETag"] = f'"{identity(path, data)}"'
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part:
            first, last = int(part[1]), min(int(part[2] or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first : last + 1], 206
        self.send(data, status, headers)

    # ---------------------------------------------------------------------------------------------- writing

    def preupload(self, kind: str, repo_id: str, revision: str) -> None:
        self.check_token(write=True)
        files = self.at(kind, repo_id, revision).files
        answers = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            oid = identity(path, files[path]) if path in files else None
            answers.append({"path": path, "uploadMode": mode(path), "shouldIgnore": False, "oid": oid})
        self.send({"files": answers})

    def lfs_batch(self, kind: str | None, repo_id: str) -> None:
        self.check_token(write=True)
        objects = []
        for item in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.endpoint}/lfs/{item['oid']}", "header": {}}}
            objects.append(item | ({} if item["oid"] in self.hub.objects else {"actions": upload}))
        self.send({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Answer(400, "The content does not have this checksum.")
        self.hub.objects[oid] = self.body
        self.send(b"")

    def commit(self, kind: str, repo_id: str, revision: str) -> None:
        self.check_token(write=True)
        with self.hub.lock:
            answer = self.committed(kind, repo_id, revision)
        self.send(answer)

    def committed(self, kind: str, repo_id: str, revision: str) -> dict:
        parent = self.at(kind, repo_id, revision)
        files, title = dict(parent.files), ""
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                title = value["summary"]
                if value.get("parentCommit") not in (None, parent.oid):
                    raise Answer(412, "A commit has happened since.")
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Answer(400, f"The LFS object of {value['path']} was never uploaded.")
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif item["key"] == "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise Answer(404, "A file with this name doesn't exist", "EntryNotFound")
            elif item["key"] == "deletedFolder":
                files = {path: data for path, data in files.items() if not path.startswith(value["path"])}
            else:
                raise Answer(400, f"This Hub does not know {item['key']!r} in a commit.")
        oid = hashlib.sha1(parent.oid.encode() + self.body).hexdigest()
        self.hub.repos["dataset" if kind == "datasets" else "model", repo_id].append(Commit(oid, files, title))
        url = f"{self.hub.endpoint}/{'datasets/' if kind == 'datasets' else ''}{repo_id}/commit/{oid}"
        return {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""}

    # ---------------------------------------------------------------------------------------------- the wire

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        if self.silent:
            return self.hang_up()
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drop(self) -> None:
        """Take a little of what is sent, then go away."""
        self.rfile.read(min(1000, int(self.headers.get("Content-Length") or 0)))
        self.hang_up()

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def mode(path: str) -> str:
    return "lfs" if path.endswith(LFS_SUFFIXES) else "regular"


def identity(path: str, data: bytes) -> str:
    """What the Hub calls the content: sha256 under LFS, git's blob id otherwise."""
    if mode(path) == "lfs":
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry(path: str, data: bytes) -> dict:
    facts = {"type": "file", "path": path, "size": len(data), "oid": identity(path, data)}
    if mode(path) == "lfs":
        facts["lfs"] = {"oid": facts["oid"], "size": len(data), "pointerSize": 130}
    return facts


def entry_of_folder(path: str) -> dict:
    return {"type": "directory", "path": path.rstrip("/"), "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
