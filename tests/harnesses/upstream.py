"""Other projects' own tests: their source archives, checked and unpacked, and stand-ins for what they need not import."""

import hashlib
import importlib.util
import subprocess
import sys
import tarfile
import types
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch

from hf_encls.audio import read, resample

# SHA-256 of the archives as the registry states them. A version that is not here is not run.
ARCHIVES = {("transformers", "5.23.0"): "19d647a4d5d903a7c644ca5cde2d86efc3dde7d8c687ae7988806ff2205efa71"}


class NotThereError(Exception):
    """Why an archive could not be had: no network, or a version that is not listed."""


def unpacked(package: str, version: str, place: Path) -> Path:
    """The folder of a package's source archive below `place`. Raises `NotThereError`; `ValueError` for a wrong one."""
    folder = place / f"{package}-{version}"
    if folder.is_dir():
        return folder
    if (package, version) not in ARCHIVES:
        raise NotThereError(f"no checksum of {package} {version} is listed in {Path(__file__).name}")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(place)]
    run = subprocess.run([*command, f"{package}=={version}"], capture_output=True, text=True)
    archive = place / f"{package}-{version}.tar.gz"
    if not archive.is_file():
        raise NotThereError(f"{package} {version} could not be downloaded: {run.stderr.strip().splitlines()[-1:]}")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != ARCHIVES[package, version]:
        archive.unlink()
        raise ValueError(f"expected SHA-256 {ARCHIVES[package, version]} of {archive.name}, found {found}")
    work = place / f"{folder.name}.part"
    with tarfile.open(archive) as file:
        file.extractall(work, filter="data")
    (work / folder.name).rename(folder)
    return folder


@contextmanager
def stand_in(name: str, **values) -> Iterator[None]:
    """While it lasts, a package that is not installed can be imported: `stand_in("tensorflow", Module=...)`.

    `values` are what it holds; a dictionary is a module within it. An installed package stays as it is.
    """
    if name in sys.modules or importlib.util.find_spec(name):
        yield
        return
    made = {name: types.ModuleType(name)}
    for key, value in values.items():
        if isinstance(value, dict):
            value, inner = types.ModuleType(f"{name}.{key}"), value
            vars(value).update(inner)
            made[value.__name__] = value
        setattr(made[name], key, value)
    sys.modules.update(made)
    try:
        yield
    finally:
        for each in made:
            del sys.modules[each]


def torchaudio() -> AbstractContextManager[None]:
    """torchaudio, as far as the benchmarks ask it: decoding and resampling, by ours."""

    def load(path: str) -> tuple[torch.Tensor, int]:
        samples, rate = read(path)
        return torch.from_numpy(samples.T.copy()), rate

    def resampled(wave: torch.Tensor, from_hz: int, to_hz: int) -> torch.Tensor:
        rows = [torch.from_numpy(resample(row.numpy(), from_hz, to_hz)) for row in wave.reshape(-1, wave.shape[-1])]
        return torch.stack(rows).reshape(*wave.shape[:-1], -1)

    def resampler(orig_freq: int, new_freq: int):
        return lambda wave: resampled(wave, orig_freq, new_freq)

    return stand_in("torchaudio", load=load, functional={"resample": resampled}, transforms={"Resample": resampler})
