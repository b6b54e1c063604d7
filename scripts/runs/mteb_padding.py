"""By how much padding changes a score in MTEB: its classification task on a folder of sounds, with a codec's latents.

    python scripts/runs/mteb_padding.py
    python scripts/runs/mteb_padding.py FOLDER --cut_silence

Without a folder, 60 synthetic sounds of 3 to 5 s.

Until its version 2.24.0, mteb's `EncodecWrapper` filled the clips of a batch up with zeros, and took the mean of all frames,
those of the zeros too; later ones take each clip alone. Both are tried here, and ours, whose vector is the mean and the
standard deviation of each clip's own frames. The codecs are stand-ins for Meta's: `mini`, which is bundled, and
`untrained`, of the same width with random weights. Needs mteb, and neither torchaudio nor a network.
"""

import argparse
import json
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import EncodecFeatureExtractor

from hf_encls.audio import load
from hf_encls.codec.loading import load_codec
from hf_encls.data.folders import scan_folder
from hf_encls.data.synthetic import write_synthetic
from hf_encls.embeddings import MtebEncoder

CODECS = ("mini", "untrained")
POOLINGS = {
    "padded": "the clips of a batch padded with zeros, mean of all frames",
    "alone": "each clip alone, mean of its frames",
    "ours": "each clip alone, mean and standard deviation of its frames",
}
SILENCE = 1e-3  # of a clip's peak


def sounds(folder: str | Path, rate: int, *, cut_silence: bool) -> Dataset:
    """The folder's clips at `rate`: columns `audio` and `label`; shuffled, as mteb's folds are not stratified."""
    clips, _ = scan_folder(folder)
    rows = []
    for clip in clips.shuffle(seed=0):
        wave = load(clip["audio"]["path"] or clip["audio"], rate)
        if cut_silence:
            wave = wave[: np.flatnonzero(np.abs(wave) >= SILENCE * np.abs(wave).max())[-1] + 1]
        rows.append({"audio": {"array": wave, "sampling_rate": rate}, "label": clip["label"]})
    return Dataset.from_list(rows).with_format("numpy")


def local_task(rows: Dataset):
    """mteb's classification task, five folds, over rows that are here already."""
    from mteb.abstasks.classification import AbsTaskClassification
    from mteb.abstasks.task_metadata import TaskMetadata

    class LocalSounds(AbsTaskClassification):
        metadata = TaskMetadata(
            name="LocalSounds",
            description="Sounds of a folder, told by their classes.",
            reference="https://example.org",
            dataset={"path": "local/sounds", "revision": "0"},
            type="AudioClassification",
            category="a2c",
            eval_splits=["train"],
            eval_langs=["zxx-Zxxx"],
            main_score="accuracy",
            modalities=["audio"],
        )
        input_column_name, label_column_name, is_cross_validation = "audio", "label", True

        def load_data(self, **_):
            self.dataset, self.data_loaded = {"train": rows}, True

    return LocalSounds()


def wrappers(codec: str, folder: Path) -> dict:
    """mteb's own wrapper of a codec, as it is and as it was."""
    from mteb.models.modality_collators import AudioCollator
    from mteb.models.model_implementations.encodec_model import EncodecWrapper, encodec_24khz

    class Alone(EncodecWrapper):
        mteb_model_meta = encodec_24khz

    class Padded(Alone):
        def get_audio_embeddings(self, inputs, **_):
            inputs.collate_fn = AudioCollator(target_sampling_rate=self.sampling_rate)
            found = []
            for batch in inputs:
                waves = [np.asarray(sound["array"], dtype=np.float32) for sound in batch["audio"]]
                waves = [np.pad(wave, (0, max(0, self.sampling_rate - len(wave)))) for wave in waves]
                made = self.processor(waves, sampling_rate=self.sampling_rate, padding=True, return_tensors="pt")
                with torch.no_grad():
                    mean = self.model.encoder(made["input_values"].to(self.device)).mean(dim=2)
                found.append((mean / mean.norm(dim=-1, keepdim=True)).cpu())
            return torch.cat(found).numpy()

    model = load_codec(codec)
    model.save_pretrained(folder)
    EncodecFeatureExtractor(sampling_rate=model.config.sampling_rate).save_pretrained(folder)
    return {"padded": Padded(str(folder), "main"), "alone": Alone(str(folder), "main")}


def loader(rows: Dataset, batch_size: int = 32) -> DataLoader:
    """Rows in batches, as mteb hands them to an encoder."""
    return DataLoader(rows, batch_size=batch_size, collate_fn=lambda batch: {"audio": [row["audio"] for row in batch]})


def kept(model):
    """The model, whose embeddings of all clips are kept in `seen`."""
    encode = model.encode

    def encoded(*args, **kwargs):
        model.seen = np.asarray(encode(*args, **kwargs))
        return model.seen

    model.encode = encoded
    return model


def measure(rows: Dataset, codec: str, batch_size: int) -> dict:
    """Accuracy of each pooling, and how far padding turns a clip's vector: 1 - cosine."""
    import mteb

    found, seen = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in {**wrappers(codec, Path(folder)), "ours": MtebEncoder(folder)}.items():
            settings = {"batch_size": batch_size, "show_progress_bar": False}
            result = mteb.evaluate(kept(model), local_task(rows), cache=None, encode_kwargs=settings)
            scores = result.task_results[0].scores["train"][0]
            found[name] = {
                "accuracy": scores["accuracy"],
                "folds": [each["accuracy"] for each in scores["scores_per_experiment"]],
            }
            seen[name] = model.seen
    turned = 1 - (seen["padded"] * seen["alone"]).sum(axis=1)
    return found | {"turned": {"mean": float(turned.mean()), "largest": float(turned.max())}}


def table(measured: dict) -> str:
    lines = [f"| codec | {' | '.join(POOLINGS.values())} | padding turns a vector by (1 - cosine), mean, largest |"]
    lines.append("| --- |" + " ---: |" * (len(POOLINGS) + 1))
    for codec, found in measured.items():
        scores = " | ".join(f"{found[name]['accuracy']:.3f}" for name in POOLINGS)
        lines.append(f"| {codec} | {scores} | {found['turned']['mean']:.2g}, {found['turned']['largest']:.2g} |")
    return "\n".join(lines)


def without_torchaudio() -> None:
    """mteb imports torchaudio to resample; clips come at the codec's rate, so nothing is asked of it but to be there."""
    try:
        import torchaudio  # noqa: F401
    except ImportError:
        sys.modules["torchaudio"] = types.ModuleType("torchaudio")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="sounds in one folder per class")
    parser.add_argument("--codecs", nargs="+", default=CODECS, choices=CODECS, metavar="CODEC", help="default: both")
    parser.add_argument("--batch_size", type=int, default=32, help="default: %(default)s, mteb's")
    parser.add_argument(
        "--cut_silence", action="store_true", help="cut the silence at the end of clips that were filled up"
    )
    parser.add_argument("--output", metavar="FILE", help="write the numbers as JSON")
    options = parser.parse_args()
    without_torchaudio()
    measured = {}
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or write_synthetic(Path(made) / "sounds", clips_per_class=10)
        for codec in options.codecs:
            rows = sounds(folder, load_codec(codec).config.sampling_rate, cut_silence=options.cut_silence)
            measured[codec] = measure(rows, codec, options.batch_size)
    print(table(measured))
    if options.output:
        Path(options.output).write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
