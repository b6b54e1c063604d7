"""Codecs side by side: the same clips, heads and divisions for the features of each, every cell trained once."""

import functools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from hf_encls.audio import load
from hf_encls.codec.facts import CodecFacts
from hf_encls.comparison.choice import Candidate
from hf_encls.comparison.turns import in_turns
from hf_encls.data.splits import make_splits, official_folds
from hf_encls.features.extraction import feature_identity
from hf_encls.features.frontends import frontend_of
from hf_encls.files import write_json
from hf_encls.files.records import read_record
from hf_encls.model.codec_encls import codec_adapter
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.metrics import clip_probabilities
from hf_encls.training.resuming import Start, plan_start
from hf_encls.training.run import Execution, probabilities, train
from hf_encls.training.settings import changed_settings, run_settings

CELL = "cell.json"  # the last file of a cell: it says that all of it is there
SPEED = "speed.json"
SPEED_S = 20.0  # seconds of audio whose features are timed
TURNS = 3
CELL_SHAPE = {
    **{"settings": dict, "window_accuracy": float, "clip_accuracy": float, "right": {"*": bool}},
    "training_s": float,
    **{"cpu_s?": float, "validation_accuracy?": float, "validation_loss?": float},  # cells of before have none
}


@dataclass
class Features:
    """One row's features of a data set.

    Args:
        name: what tables call them: the kind, and the codec.
        windows: as `extract_features` makes them.
        config: how they were made.
        codec: what made them; None for mel.
        facts: what is known of the codec.
        window_s: seconds of a window as they were asked for; those of `config` are whole frames.
    """

    name: str
    windows: Dataset
    config: EnclsConfig
    codec: PreTrainedModel | None = None
    facts: CodecFacts | None = None
    window_s: float = 1.0

    def costs(self) -> dict:
        """`kbytes_per_s` of the stored features, and `kbits_per_s` of all the codec's codes; None where it has none."""
        config = self.config
        size = np.prod(config.stored_shape) * np.dtype(config.representation.stored_dtype).itemsize / config.window_s
        bandwidths = codec_adapter(self.codec).bandwidths if self.codec is not None else ()
        kbits = config.bandwidth if config.representation.integers else max(bandwidths, default=None)
        return {"kbytes_per_s": float(size) / 1000, "kbits_per_s": kbits}


@dataclass(frozen=True)
class Division:
    """One way to divide the clips: protocol, test fold (None where there is none) and seed."""

    protocol: str
    fold: int | None
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder: `official-fold1-seed0`."""
        fold = "" if self.fold is None else f"-fold{self.fold}"
        return f"{self.protocol}{fold}-seed{self.seed}"


def divisions_of(
    windows: Dataset, protocols: Sequence[str], folds: Sequence[int] | None, seeds: Sequence[int]
) -> list[Division]:
    """Every protocol with its folds and seeds. Raises `ValueError` where the data set has no such division."""
    divisions = []
    for protocol in protocols:
        known = official_folds(windows) if protocol == "official" else [None]
        unknown = sorted(set(folds or ()) - set(known)) if protocol == "official" else []
        if unknown:
            raise ValueError(f"expected `folds` among {', '.join(map(str, known))}, found {unknown[0]}")
        chosen = [fold for fold in known if fold is None or folds is None or fold in folds]
        divisions += [Division(protocol, fold, seed) for seed in seeds for fold in chosen]
    return divisions


@dataclass
class Work:
    """How cells are made.

    Args:
        folder: where they are kept.
        args: makes the arguments of training, given a `recipe`, an `output_dir` and a `seed`.
        say: told of each cell that was trained.
        train_missing: False: what is not finished is left out.
    """

    folder: Path
    args: Callable[..., EnclsTrainingArguments]
    say: Callable[[str], object] = print
    train_missing: bool = True


def run_cells(features: Features, candidate: Candidate, divisions: Sequence[Division], work: Work) -> Iterator[dict]:
    """Train what is not finished of one row's cells for one candidate, and yield each as its `cell.json` has it.

    A cell that was broken off goes on from its last checkpoint. Raises `ValueError` where a finished cell has other
    settings.
    """
    config = EnclsConfig.of(features.config, head=candidate.head)
    above = work.folder / features.name.replace("/", "--").replace(" ", "-") / candidate.head
    for division in divisions:
        place = above / candidate.folder / division.name
        arguments = work.args(recipe=candidate.recipe, output_dir=str(place / "run"), seed=division.seed)
        settings = run_settings(features.windows, config, arguments, division.protocol, division.fold)
        cell = _finished(place, above / division.name, settings)
        if cell is None and not work.train_missing:
            continue
        if cell is None:
            started = time.monotonic()
            start = plan_start(place / "run", "last", settings, one_of_several=True)
            cell = _train(features, config, arguments, start) | {"settings": settings}
            write_json(cell, place / CELL)
            shutil.rmtree(place / "run", ignore_errors=True)
            work.say(
                f"{features.name}, {candidate.text}, {division.name}: {cell['clip_accuracy']:.3f} of clips, "
                f"{time.monotonic() - started:.0f} s"
            )
        yield {"features": features.name, **vars(candidate), **vars(division), **cell}


def _finished(place: Path, of_before: Path, settings: dict) -> dict | None:
    """The finished cell at `place`, or of the same settings where all lay side by side before; None: there is none.

    Raises `ValueError` where the one at `place` has other settings.
    """
    for folder in (place, of_before):
        if (folder / CELL).is_file():
            cell = read_record(folder / CELL, CELL_SHAPE)
            changed = changed_settings(cell["settings"], settings)
            if not changed:
                return cell
            if folder == place:
                raise ValueError(
                    f"{place} was made with other settings (it differs in {', '.join(changed)}): give the same ones, or "
                    "another `output_dir`"
                )
    return None


def _train(features: Features, config: EnclsConfig, args: EnclsTrainingArguments, start: Start) -> dict:
    codec = features.codec if config.representation.integers else None  # latents need none to be trained on
    division = {name: start.settings[name] for name in ("protocol", "fold")}
    started = time.process_time()
    run = train(features.windows, config, **division, codec=codec, args=args, execution=Execution(start=start))
    cpu_s = time.process_time() - started
    test = features.windows.select(make_splits(features.windows, **division, seed=args.seed)["test"])
    scores, truth, ids = clip_probabilities(
        probabilities(run.model, test), np.asarray(test["label"][:]), test["clip_id"][:]
    )
    right = scores.argmax(axis=1) == truth
    return {
        "window_accuracy": run.results.test.window.accuracy,
        "clip_accuracy": run.results.test.clip.accuracy,
        "right": dict(zip(map(str, ids), right.tolist(), strict=True)),
        "validation_accuracy": run.results.validation.clip.accuracy,
        "validation_loss": run.results.validation.clip.loss,
        "training_s": float(run.results.times_s["training"]),
        "cpu_s": cpu_s,
    }


def measure_speed(all_features: Sequence[Features], clips: Dataset, folder: Path, device: str | None = None) -> dict:
    """Seconds of audio that each makes features of in a second: the rows in turns, the median of `TURNS`, in one run.

    Decoding and resampling are not in it. What was measured of the same rows before is kept, in `speed.json`.
    """
    hashes = {each.name: str(sorted(feature_identity(each.config).items())) for each in all_features}
    file = folder / SPEED
    if file.is_file() and (measured := read_record(file, {"of": dict, "x_real_time": dict}))["of"] == hashes:
        return measured["x_real_time"]
    chosen, seconds = [], 0.0
    for row in clips:
        if seconds >= SPEED_S:
            break
        chosen.append(row["audio"])
        seconds += row["duration_s"]
    works = {}
    for each in all_features:
        frontend = frontend_of(each.config, each.codec).to(device or "cpu").eval()
        waves = [torch.from_numpy(load(audio, each.config.sampling_rate)).to(device or "cpu") for audio in chosen]
        works[each.name] = functools.partial(frontend.stored_windows, waves)
    with torch.inference_mode():
        times = in_turns(works, TURNS, device or "cpu")
    rates = {name: seconds / float(np.median(each)) for name, each in times.items()}
    write_json({"of": hashes, "x_real_time": rates, "audio_s": seconds, "turns": TURNS}, file)
    return rates
