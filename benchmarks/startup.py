"""What a command costs before it does anything: CPU seconds of processes of their own."""

import os
import statistics
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from timing import Row, work_folder, write_clips

from hf_encls.codec.loading import load_codec
from hf_encls.features.extraction import feature_config
from hf_encls.model.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.model.modeling_encls import EnclsForAudioClassification

RUNS = 5
LIBRARY = "from transformers import AudioClassificationPipeline; import transformers.modeling_utils"


def startup(options: Namespace) -> list[Row]:
    """`--help`, and `classify` of one clip of 5 s with the mini codec, beside the library's imports alone."""
    with work_folder() as folder:
        codec = load_codec("mini")
        config = feature_config("encodec_24khz", codec=codec, codec_id="mini", num_labels=2)
        model = EnclsForAudioClassification(config)
        model.attach_codec(codec)
        model.save_pretrained(folder / "model")
        EnclsFeatureExtractor(sampling_rate=config.sampling_rate).save_pretrained(folder / "model")
        sound = next(write_clips(folder / "clips", 1, 5.0, 24_000).rglob("*.wav"))
        program = [sys.executable, "-m", "hf_encls.commands.cli"]
        sides = {
            "help": [*program, "--help"],
            "library": [sys.executable, "-c", LIBRARY],
            "classify": [*program, "classify", str(sound), "--model", str(folder / "model")],
        }
        seconds = {name: [] for name in sides}
        for _ in range(RUNS):
            for name, command in sides.items():
                seconds[name].append(_cpu_s(command))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    details = {"cpu_s": {name: round(value, 2) for name, value in medians.items()}}
    return [
        Row("hf-encls --help: CPU seconds", "0.3 s", medians["help"], 0.3, at_most=True, details=details),
        Row(
            "hf-encls classify, one file: CPU seconds",
            "2.5 s",
            medians["classify"],
            2.5,
            at_most=True,
            details=details,
        ),
    ]


def _cpu_s(command: list[str]) -> float:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1]
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(errors.decode()[-500:])
    return usage.ru_utime + usage.ru_stime
