"""Downloads end with the right file or a clear message; archives that would do harm write nothing."""

import hashlib
import io
import shutil
import socket
import stat
import tarfile
import threading
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from miniature_data import esc50_archive

from hf_encls.commands import prepare
from hf_encls.data import download
from hf_encls.data.download import DownloadError, fetch, unpack
from hf_encls.data.esc50 import ESC50
from hf_encls.data.facts import Archive
from hf_encls.data.gtzan_genres import GTZAN_GENRES

CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves one body; `cut` ends each answer after that many bytes, `ranges` says whether Range is honoured."""

    body: bytes = CONTENT
    cut: int | None = None
    ranges: bool = True
    failures: int = 0
    requests: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/archive.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Server = self.server
        asked = self.headers.get("Range")
        server.requests.append(asked)
        if self.path == "/missing":
            self.send_error(404)
            return
        if server.failures:
            server.failures -= 1
            self.send_error(500)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        body = server.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        self.end_headers()
        self.wfile.write(body if server.cut is None else body[: server.cut])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def archive_of(body: bytes, *urls: str) -> Archive:
    return Archive(
        urls=urls,
        file_name="archive.zip",
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        max_members=100,
        max_unpacked=10**7,
    )


def test_a_download_ends_with_the_right_file_and_is_not_repeated(server, tmp_path):
    counts = []
    path = fetch(archive_of(CONTENT, server.url), tmp_path / "new", progress=counts.append)
    assert path.read_bytes() == CONTENT and sum(counts) == len(CONTENT)
    assert fetch(archive_of(CONTENT, server.url), tmp_path / "new") == path
    assert len(server.requests) == 1 and [item.name for item in path.parent.iterdir()] == ["archive.zip"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on_or_starts_again(server, tmp_path, ranges):
    server.ranges = ranges
    (tmp_path / "archive.zip.part").write_bytes(CONTENT[:1000])
    assert fetch(archive_of(CONTENT, server.url), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-"]


def test_a_connection_dropped_in_each_answer_is_continued(server, tmp_path):
    server.cut = len(CONTENT) // 3 + 1
    assert fetch(archive_of(CONTENT, server.url), tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_a_truncated_download_says_so_and_keeps_its_bytes(server, tmp_path):
    server.cut = 5000
    with pytest.raises(DownloadError, match=f"ended after 15000 of {len(CONTENT)} bytes"):
        fetch(archive_of(CONTENT, server.url), tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["archive.zip.part"]
    server.cut = None
    assert fetch(archive_of(CONTENT, server.url), tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(server, tmp_path):
    server.body = b"\1" + CONTENT[1:]
    with pytest.raises(DownloadError, match="not the same file"):
        fetch(archive_of(CONTENT, server.url), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_beginning_of_another_file_is_thrown_away(server, tmp_path):
    (tmp_path / "archive.zip.part").write_bytes(b"x" * 1000)
    assert fetch(archive_of(CONTENT, server.url), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-", None]


def test_a_longer_file_than_promised_is_not_taken(server, tmp_path):
    with pytest.raises(DownloadError, match="not the same file"):
        fetch(archive_of(CONTENT[:-10], server.url), tmp_path)


def test_an_error_of_the_server_is_tried_again_and_the_next_address_after_it(server, tmp_path):
    server.failures = 1
    missing = server.url.replace("archive.zip", "missing")
    assert fetch(archive_of(CONTENT, missing, server.url), tmp_path).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="404"):
        fetch(archive_of(CONTENT, missing), tmp_path / "other")


@pytest.mark.parametrize(
    "reason", [TimeoutError("timed out"), socket.gaierror("unknown host"), ConnectionRefusedError("refused")]
)
def test_an_address_where_nobody_answers_is_tried_once(tmp_path, monkeypatch, reason):
    asked = []

    def urlopen(request, timeout):
        asked.append((request.full_url, timeout))
        raise urllib.error.URLError(reason)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(DownloadError, match=r"(?s)one.*two.*Get it by other means.*sha256.*`url`"):
        fetch(archive_of(CONTENT, "http://one", "http://two"), tmp_path)
    assert [url for url, _ in asked] == ["http://one", "http://two"] and max(timeout for _, timeout in asked) <= 20


def test_the_live_address_is_tried_first_and_a_dead_one_not_at_all(tmp_path, monkeypatch):
    assert [urllib.parse.urlsplit(url).hostname for url in GTZAN_GENRES.archive.urls] == [
        "huggingface.co",
        "opihi.cs.uvic.ca",
    ]
    monkeypatch.setattr(urllib.request, "urlopen", None)
    with pytest.raises(DownloadError, match=r"(?s)has not answered for years.*`data_dir`.*`url`"):
        prepare.main(["gtzan_music_speech", "--data_dir", str(tmp_path / "data"), "--download"])
    assert not (tmp_path / "data").exists()


def test_addresses_that_are_not_http_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(CONTENT)
    with pytest.raises(DownloadError, match="http or https"):
        fetch(archive_of(CONTENT, (tmp_path / "secret").as_uri()), tmp_path / "out")


def test_another_address_can_be_named(server, tmp_path):
    assert fetch(archive_of(CONTENT, "http://127.0.0.1:9/gone"), tmp_path, url=server.url).read_bytes() == CONTENT


# Archives


def zip_with(path: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return path


def tar_with(path: Path, members: dict[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    with tarfile.open(path, f"w:{path.suffix.removeprefix('.').replace('tar', '')}") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(data) if info.size else None)
    return path


GOOD = {"set/audio/a.wav": b"a" * 100, "set/meta/table.csv": b"x,y\n", "set/é ü.txt": b""}


@pytest.mark.parametrize(
    ("name", "write"), [("a.zip", zip_with), *((f"a.tar{kind}", tar_with) for kind in ("", ".gz", ".bz2", ".xz"))]
)
def test_a_good_archive_unpacks(tmp_path, name, write):
    out = unpack(write(tmp_path / name, GOOD), tmp_path / "out", max_members=10, max_unpacked=10_000)
    assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()} == GOOD
    with pytest.raises(DownloadError, match="not empty"):
        unpack(tmp_path / name, out, max_members=10, max_unpacked=10_000)


def refused(path: Path, message: str, **limits: int) -> None:
    root = path.parent
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(DownloadError, match=message):
        unpack(path, root / "out" / "inner", **({"max_members": 10, "max_unpacked": 10_000} | limits))
    (root / "out").rmdir()
    assert sorted(root.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "member",
    [
        "../evil.txt",
        "set/../../evil.txt",
        "/tmp/evil.txt",
        "C:\\evil.txt",
        "C:/evil.txt",
        "..\\evil.txt",
        "\\\\host\\x",
    ],
)
@pytest.mark.parametrize(("name", "write"), [("a.zip", zip_with), ("a.tar.gz", tar_with)])
def test_a_member_that_leaves_the_folder_is_refused(tmp_path, name, write, member):
    refused(write(tmp_path / name, {"good.txt": b"1", member: b"2"}), "would leave its folder")


@pytest.mark.parametrize(("name", "write"), [("a.zip", zip_with), ("a.tar.gz", tar_with)])
@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("", "without a name"),
        ("x" * 10_000, "10000 characters"),
        ("é" * 200 + "/a", "202 char"),
        ("a/" * 600 + "b", "1201 char"),
    ],
)
def test_an_empty_or_endless_name_is_refused(tmp_path, name, write, member, message):
    refused(write(tmp_path / name, {"good.txt": b"1", member: b""}), message)


def test_a_tar_header_without_end_is_not_read(tmp_path):
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, 1 << 30
        (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"x" * 5_000)
        refused(tmp_path / "a.tar", "name or header of 1073741824 bytes")


@pytest.mark.parametrize(
    ("name", "write"), [("a.zip", zip_with), *((f"a.tar{kind}", tar_with) for kind in ("", ".gz", ".bz2", ".xz"))]
)
def test_damaged_archives_unpack_whole_or_are_one_error(tmp_path, name, write):
    """Bytes changed, cut out and put in, seeds fixed."""
    whole = write(tmp_path / name, GOOD).read_bytes()
    random = np.random.default_rng(0)
    for number in range(300):
        data = bytearray(whole)
        for at in random.integers(0, len(data), random.integers(1, 6)):
            data[at] = random.integers(256)
        at = int(random.integers(0, len(data)))
        if number % 3 == 1:
            del data[at : at + int(random.integers(1, 40))]
        elif number % 3 == 2:
            data[at:at] = random.bytes(int(random.integers(1, 40)))
        (tmp_path / name).write_bytes(data)
        out = tmp_path / "out"
        try:
            shutil.rmtree(unpack(tmp_path / name, out, max_members=10, max_unpacked=10_000))
        except DownloadError as error:
            assert len(str(error).splitlines()) == 1 and len(str(error)) < 500
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_links_and_devices_are_refused(tmp_path):
    for kind, link in (
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "good.txt"),
        (tarfile.CHRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ):
        refused(tar_with(tmp_path / "a.tar", {"x": b""}, kind, link), "a link or a device")
    refused(zip_with(tmp_path / "a.zip", {"x": b"/etc/passwd"}, stat.S_IFLNK | 0o777), "a link or a device")


@pytest.mark.parametrize(("name", "write"), [("a.zip", zip_with), ("a.tar.gz", tar_with)])
def test_limits_on_members_bytes_and_ratio(tmp_path, name, write, monkeypatch):
    many = write(tmp_path / name, {f"{k}.txt": b"x" for k in range(11)})
    refused(many, "more than 10 members")
    refused(write(tmp_path / name, {"a": b"x" * 6000, "b": b"y" * 6000}), "more than 10000 bytes")
    monkeypatch.setattr(download, "BLOCK", 1000)
    bomb = write(tmp_path / name, {"zeros": bytes(5_000_000)})
    assert bomb.stat().st_size * 100 < 5_000_000
    refused(bomb, "unpacks to more than", max_unpacked=10**9)


def test_a_size_that_the_archive_lies_about_is_counted_anyway(tmp_path, monkeypatch):
    path = zip_with(tmp_path / "a.zip", {"a": b"x" * 20_000})
    real = zipfile.ZipFile.infolist

    def lying(self):
        members = real(self)
        for member in members:
            member.file_size = 10
        return members

    monkeypatch.setattr(zipfile.ZipFile, "infolist", lying)
    out = tmp_path / "out"
    with pytest.raises(DownloadError):
        unpack(path, out, max_members=10, max_unpacked=5_000)
    assert not out.exists()


def test_names_in_each_others_way_are_refused(tmp_path):
    refused(tar_with(tmp_path / "a.tar", {"a": b"1", "A": b"2"}), "twice")
    refused(tar_with(tmp_path / "a.tar", {"a": b"1", "a/b": b"2"}), "cannot be unpacked")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_broken_archives_are_one_error(tmp_path, name):
    path = (zip_with if name == "a.zip" else tar_with)(tmp_path / name, {"a": bytes(range(256)) * 50})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "cannot be unpacked", max_unpacked=10**6)
    path.write_bytes(b"not an archive")
    refused(path, "cannot be unpacked")


def test_prepare_downloads_unpacks_and_reads(server, tmp_path, monkeypatch, capsys):
    source = esc50_archive(tmp_path / "source" / "ESC-50-abc")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, path.relative_to(source.parent))
    server.body = buffer.getvalue()
    small = archive_of(server.body, server.url)
    monkeypatch.setattr(prepare, "KNOWN", (replace(ESC50, archive=small),))
    result = prepare.main(["esc50", "--data_dir", str(tmp_path / "data"), "--download"])
    assert result["used"] == 45 and not (tmp_path / "archive.zip").exists()
    assert "fetching archive.zip" in capsys.readouterr().out
    assert (tmp_path / "data" / "ESC-50-abc" / "meta" / "esc50.csv").is_file()
