"""Small models, sounds to give to the command `hf-encls`, and the command itself in this process."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_models import save_small_model, small_codec

from hf_encls.commands.cli import main


def save_models(root: Path) -> Path:
    """A model of log-mel, `mel`, one of codes, `codes`, and its codec, `codec`."""
    save_small_model(root / "mel", "log_mel", window_s=0.4, step_s=0.2)
    save_small_model(root / "codes", "encodec_24khz_codes", window_s=0.4, step_s=0.2, bandwidth=3.0)
    small_codec(24).save_pretrained(root / "codec")
    return root


def save_parts(root: Path) -> Path:
    """A model of log-mel, `model`, a codec, `codec`, and four clips of each of two classes, `sounds`."""
    save_small_model(root / "model", "log_mel", window_s=0.4, step_s=0.2)
    small_codec(24).save_pretrained(root / "codec")
    for label in ("x", "y"):
        (root / "sounds" / label).mkdir(parents=True)
        for index in range(4):
            wave = 0.1 * np.random.default_rng(index + ord(label)).standard_normal(12_000)
            soundfile.write(root / "sounds" / label / f"{index}.wav", wave, 24_000)
    return root


def write_sounds(folder: Path) -> Path:
    """Three clips of two classes beside a file that is no sound."""
    for index, name in enumerate(["dogs/a b.wav", "dogs/c.flac", "cats/d.wav"]):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = 0.1 * np.random.default_rng(index).normal(size=(20_000 * (index + 1), 2))
        soundfile.write(path, wave, 44_100)
    (folder / "notes.txt").write_text("no audio")
    return folder


def write_bad(sounds: Path) -> Path:
    """A file among them that cannot be decoded."""
    path = sounds / "dogs" / "broken.wav"
    path.write_bytes(b"RIFF no")
    return path


def run(capsys: pytest.CaptureFixture, *args: object) -> tuple[int, str, str]:
    """The exit status of `hf-encls` with these words, and what it printed on both outputs."""
    status = main([str(each) for each in args])
    printed = capsys.readouterr()
    return status, printed.out, printed.err
