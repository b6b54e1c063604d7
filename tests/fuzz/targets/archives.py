"""Archives that are unpacked: zip and tar."""

import io
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from random import Random

from harness import Case, Result
from mutations import broken_bytes

NAMES = ["", "/", ".", "..", "../x", "/etc/x", "a/../../x", "C:\\x", "a\\b", "a\0b", "a/", "a//b", "é", "x" * 300]
NAMES += ["/".join("d" * 200), "a/b", "audio", "con", "\ud800", " ", "a\nb"]
MOST = 1_000_000  # bytes unpacked


class Archives:
    """`unpack`, as `prepare --download` calls it once the checksum is right."""

    name, share = "archives", 1.0

    def prepare(self, root: Path) -> None:
        pass

    def case(self, random: Random, root: Path, work: Path) -> Case:
        from hf_encls.data.download import unpack

        members = [(f"audio/{i}.wav", bytes(random.randrange(256) for _ in range(200))) for i in range(4)]
        members.append(("meta/table.csv", b"a,b\n" * 100))
        for _ in range(random.choice([0, 1, 1, 2])):
            name = random.choice([*NAMES, members[0][0], members[0][0].upper(), members[0][0] + "/x"])
            members.insert(random.randrange(len(members)), (name, random.choice([b"", b"x", b"\0" * 200_000])))
        name = random.choice(["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
        data = _zip(random, members) if name == "a.zip" else _tar(random, members, name)
        if random.random() < 0.6:
            data, _ = broken_bytes(random, data, b"PK\3\4" + bytes(100))
        (work / name).write_bytes(data)
        (work / "in").mkdir()
        call = partial(unpack, work / name, work / "in" / "out", max_members=20, max_unpacked=MOST)
        return Case(call, (name,), partial(_possible, work, name), f"{name} {[each for each, _ in members]}")


def _zip(random: Random, members: list) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name.encode("utf-8", "replace").decode()
            if random.random() < 0.05:
                info.external_attr = random.choice([0o120777, 0o010644, 0o060644, 0o100000]) << 16
            archive.writestr(info, content)
    return file.getvalue()


def _tar(random: Random, members: list, name: str) -> bytes:
    file = io.BytesIO()
    mode = {"a.tar": "w", "a.tar.gz": "w:gz", "a.tar.xz": "w:xz"}[name]
    with tarfile.open(
        fileobj=file,
        mode=mode,
        format=random.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
        errors="replace",
    ) as archive:
        for each, content in members:
            info = tarfile.TarInfo(each.encode("utf-8", "replace").decode().replace("\0", "_")[:99])
            info.size = len(content)
            if random.random() < 0.05:
                info.type = random.choice(
                    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"x", b"Z"]
                )
                info.linkname = "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _possible(work: Path, name: str, result: Result) -> str | None:
    outside = {path.name for path in work.iterdir()} - {name, "in"} | {p.name for p in (work / "in").iterdir()} - {
        "out"
    }
    if outside:
        return "files outside of the folder"
    found = list((work / "in" / "out").rglob("*"))
    if any(path.is_symlink() or not (path.is_file() or path.is_dir()) for path in found):
        return "a link or a device"
    return "more than it may" if sum(p.stat().st_size for p in found if p.is_file()) > MOST else None
