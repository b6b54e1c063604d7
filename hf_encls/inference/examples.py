"""Example sounds for a model's card, with what the model answers, and a picture of what it hears when."""

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from hf_encls.audio import AudioError, load
from hf_encls.files import write_bytes, write_json
from hf_encls.inference.picture import Envelope, save_timeline_picture
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.report.examples import EXAMPLES, LISTING, Example, Examples

LONGEST_S = 10.0  # of an example: a page is for a first look
MOST = 20


def write_examples(folder: str | os.PathLike, sounds: Sequence[str | os.PathLike], license: str) -> Examples:
    """Make examples of files, for the card of the model in `folder`: WAV in mono, of the first ten seconds, without tags.

    Only what is named here is published with the model. `license` says, in words or as the Hub spells it, under which
    licence these sounds are. Earlier examples are replaced. Raises `ValueError` for a file that is no sound, for none or
    too many of them, and without a licence.
    """
    folder = Path(folder)
    if not license or not license.strip():
        raise ValueError("expected `examples_license`, the licence under which the example sounds may be published")
    if not 1 <= len(sounds) <= MOST:
        raise ValueError(f"expected 1 to {MOST} example sounds, found {len(sounds)}")
    pipe = EnclsPipeline.from_pretrained(folder)
    rate = pipe.model.config.sampling_rate
    waveforms = [_first_seconds(Path(path), rate) for path in sounds]
    answers = [pipe.analyse({"array": waveform, "sampling_rate": rate}, progress=False) for waveform in waveforms]
    for old in (folder / EXAMPLES).glob("*") if (folder / LISTING).is_file() else ():
        old.unlink()
    names = _names(sounds)
    for waveform, name in zip(waveforms, names):
        wav = io.BytesIO()
        soundfile.write(wav, np.clip(waveform, -1, 1), rate, format="WAV", subtype="PCM_16")
        write_bytes(wav.getvalue(), folder / EXAMPLES / name)
    examples = Examples(
        license=" ".join(license.split()),
        sounds=[
            Example(file=f"{EXAMPLES}/{name}", title=Path(path).stem, answers=_rounded(answer.top(5)))
            for path, name, answer in zip(sounds, names, answers)
        ],
        picture=f"{EXAMPLES}/timeline.png",
    )
    _draw(pipe, np.concatenate(waveforms), folder / examples.picture)
    write_json(examples.as_dict(), folder / LISTING)
    return examples


def _first_seconds(path: Path, rate: int) -> np.ndarray:
    try:
        return load(path, rate)[: round(LONGEST_S * rate)]
    except AudioError as error:
        raise AudioError(f"example sound {path}: {error}".replace(f"{path}: {path}", str(path))) from error


def _names(sounds: Sequence[str | os.PathLike]) -> list[str]:
    """File names that every system and every address can have, each one once."""
    names: list[str] = []
    for path in sounds:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(path).stem).strip("_")[:60] or "sound"
        same = [stem, *(f"{stem}_{number}" for number in range(2, MOST + 2))]
        names.append(next(f"{each}.wav" for each in same if f"{each}.wav".lower() not in map(str.lower, names)))
    return names


def _rounded(scores: Sequence[dict]) -> list[dict]:
    return [{"label": each["label"], "score": round(float(each["score"]), 4)} for each in scores]


def _draw(pipe: EnclsPipeline, waveform: np.ndarray, path: Path) -> None:
    """The sounds one after the other, as one recording."""
    rate = pipe.model.config.sampling_rate
    analysis = pipe.analyse({"array": waveform, "sampling_rate": rate}, progress=False)
    envelope = Envelope(rate, bin_s=min(0.01, analysis.duration_s / 1000))
    envelope.add(waveform)
    save_timeline_picture(path, analysis.timeline(), analysis.cells(), envelope=envelope)
