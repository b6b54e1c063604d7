"""Whether a file is whole, as far as its container can tell; libsndfile mends wrong sizes silently."""

import re
from typing import BinaryIO

import soundfile

# Containers that do not say how long their sound is (or whose word libsndfile does not pass on): one that was cut short
# cannot be told from a whole one.
LENGTHLESS = {
    "PAF": "an Ensoniq PARIS file",
    "IRCAM": "an IRCAM file",
    "PVF": "a Portable Voice Format file",
    "XI": "a FastTracker instrument",
    "MAT5": "a MATLAB 5 file",
}


# What libsndfile's log says of containers that are shorter than they say: RIFF and its like, AIFF, AU, 8SVX; WVE.
SIZES = re.compile(
    r"^\s*(?:(?:data|riff|SSND|BODY)\s*(?:size)?\s*:|Data length)\s*(\d+)\s*\(?should be (\d+)", re.M | re.I
)
# Ogg; VOC; MATLAB 4.
CUT = re.compile(r"Junk after the last page|Seems to be a truncated file|File seems to be truncated")


class AudioError(ValueError):
    """A source that cannot be used as audio; the message is the reason."""


class FormatError(AudioError):
    """A file that is no audio at all, or of a format that libsndfile does not read."""


def check_container(file: soundfile.SoundFile, source: str | BinaryIO) -> None:
    """Raise where a cut file could not be told from a whole one, or can be told before it is decoded."""
    if file.format in LENGTHLESS:
        raise AudioError(
            f"is {LENGTHLESS[file.format]} ({file.format}), which does not say how long its sound is, so that a truncated "
            "one cannot be told from a whole one: convert it to WAV or FLAC"
        )
    if file.format == "NIST":  # libsndfile takes the length from the file's size, whatever the header says
        count = re.search(rb"^sample_count -i (\d{1,18})\s*$", _first_bytes(source, 1024), re.M)
        if count is None:
            raise AudioError(
                "is a NIST SPHERE file without sample_count, so that a truncated one cannot be told from a whole one: "
                "convert it to WAV or FLAC"
            )
        _check_promise(int(count[1]), file.frames)


def _first_bytes(source: str | BinaryIO, size: int) -> bytes:
    if isinstance(source, str):
        with open(source, "rb") as file:
            return file.read(size)
    position = source.tell()
    source.seek(0)
    try:
        return source.read(size)
    finally:
        source.seek(position)


def check_complete(file: soundfile.SoundFile, num_samples: int) -> None:
    """Raise where fewer samples came than the header promises. libsndfile mends sizes silently and says so in its log."""
    log = file.extra_info
    # RIFF sizes a few bytes off are a common harmless fault, and all ones means "not known" (a stream).
    for promised, actual in (map(int, sizes.groups()) for sizes in SIZES.finditer(log)):
        if actual + 16 < promised < 0xFFFFFFFF - 64:
            raise AudioError(f"is truncated: its header promises {promised} bytes, {actual} are there")
    if CUT.search(log):
        raise AudioError("is truncated: its end is missing")
    if num_samples == 0:
        raise AudioError("has no samples (zero length)")
    # A frame count of 2**63 - 1 means that libsndfile could not know it (a pipe, a stream without sizes).
    if file.frames < 2**62:
        _check_promise(file.frames, num_samples)
    if file.format in ("AVR", "MPC2K"):
        for promised in re.findall(r"^\s*Frames\s*: (\d+)", log, re.M):
            _check_promise(int(promised), num_samples)


def _check_promise(promised: int, actual: int) -> None:
    if actual < promised:
        raise AudioError(f"is truncated: its header promises {promised} samples, {actual} are there")
