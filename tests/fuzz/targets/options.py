"""Values of options that nobody should give: too many, too few, no numbers, other devices."""

import json
import math
import shutil
from functools import partial
from pathlib import Path
from random import Random

from harness import Case, Result

from targets.audio import features_are_wrong, scores_are_wrong

NUMBERS = [
    "0",
    "-1",
    "1",
    "2",
    "0.5",
    "1e-9",
    "1e9",
    "1e308",
    "nan",
    "inf",
    "-inf",
    "999999999999999999999",
    "x",
    "",
    "²",
]
DEVICES = [
    "cuda",
    "cuda:0",
    "cuda:99",
    "mps",
    "xpu",
    "nonsense",
    "",
    "cpu:7",
    "meta",
    "cpu",
    "0",
    "-1",
    "xla",
    "privateuseone",
]
# No places of the system: who may write there would find them replaced.
PATHS = ["", ".", "nowhere", "nowhere/x", "/proc/x", "x" * 300, "~x/y", "model", "a.wav", "a.wav/x", "sounds"]
KINDS = [
    "mel",
    "log_mel",
    "encodec_24khz",
    "encodec_48khz",
    "encodec_24khz_codes",
    "x",
    "",
    "encodec_0khz",
    "encodec_16khz",
]


class Options:
    """Every program with one strange option, on files that are fine."""

    name, share = "options", 2.0

    def prepare(self, root: Path) -> None:
        from small_commands import save_parts

        save_parts(root)

    def case(self, random: Random, root: Path, work: Path) -> Case:
        program = random.choice(sorted(PROGRAMS))
        plain, options = PROGRAMS[program]
        for name in ("model", "codec", "sounds"):
            shutil.copytree(root / name, work / name)
        shutil.copy(root / "sounds" / "x" / "0.wav", work / "a.wav")
        option = random.choice(sorted(options))
        value = random.choice(options[option])
        args = [each.format(work=work) for each in plain]
        if f"--{option}" in args:
            at = args.index(f"--{option}")
            del args[at : at + 2]
        args += [f"--{option}={value}"]
        names = (option, option.replace("_", "-"), option.replace("_", " "), value or "''")
        return Case(
            [program, *args],
            (*names, *OTHER_WORDS.get(option, ()), *OTHER_WORDS.get(program, ())),
            partial(_possible, program),
            f"{program} {option}={value!r}",
            accepts="offline mode" if program == "publish" else None,
        )


OTHER_WORDS = {
    "dataset": ("sounds",),
    "data_name": ("sounds",),
    "validate": ("sounds",),  # they are none of the known data sets, whatever else is said
    "model_dir": ("trained model",),
    "output": ("a.wav", "written"),
    "map": (".png",),
    "hop_length": ("hop",),
    "step_s": ("step",),
    "window_s": ("window",),
    "features": ("kind",),
    "model": ("checkpoint",),
}
_CLASSIFY = {
    "top_k": NUMBERS,
    "batch_size": NUMBERS,
    "device": DEVICES,
    "output": PATHS,
    "model": PATHS,
    "revision": ["x", ""],
}
_FEATURES = {
    "window_s": NUMBERS,
    "step_s": NUMBERS,
    "hop_length": NUMBERS,
    "features": KINDS,
    "cache_dir": PATHS,
    "codec": PATHS,
    "bandwidth": NUMBERS,
    "codec_policy": ["x", "", "codec", "whole"],
    "codec_dtype": ["x", "", "tf32", "bfloat16", "float64"],
    "data_name": ["x", "", "esc50", "gtzan_genres", "folder"],
    "data_dir": PATHS,
}
_CODEC = [
    "--features",
    "encodec_24khz",
    "--codec",
    "codec",
    "--window_s",
    "0.4",
    "--cache_dir",
    "c",
    "--data_dir",
    "sounds",
]
_MEL = ["--features", "log_mel", "--window_s", "0.4", "--cache_dir", "c", "--data_dir", "sounds"]
PROGRAMS = {
    "classify": (["a.wav", "--model", "model", "--format", "jsonl"], _CLASSIFY),
    "segment": (
        ["a.wav", "--model", "model"],
        {
            **dict.fromkeys(("step_s", "median_s", "switch_penalty", "min_duration_s"), NUMBERS),
            **{
                "device": DEVICES,
                "output": PATHS,
                "plot": PATHS,
                "model": PATHS,
                "smoothing": ["x", "viterbi", "median"],
            },
        },
    ),
    "embed": (
        ["sounds", "--model", "model", "--output", "e.parquet"],
        {"output": PATHS, "map": PATHS, "device": DEVICES},
    ),
    "encode": (
        ["a.wav", "--codec", "codec", "--output", "a.ecdc"],
        {"bandwidth": NUMBERS, "device": DEVICES, "output": PATHS, "codec": PATHS, "format": ["x", "safetensors"]},
    ),
    "extract": (_CODEC, _FEATURES),
    "train": (
        [
            *_MEL,
            "--max_steps",
            "1",
            "--report_to",
            "none",
            "--output_dir",
            "m",
            *("--load_best_model_at_end", "false"),
            "--save_strategy",
            "no",
            "--use_cpu",
            "true",
        ],
        {
            **dict.fromkeys(
                ("dropout", "seed", "learning_rate", "num_train_epochs", "memory_limit_gb", "fold"), NUMBERS
            ),
            **dict.fromkeys(("per_device_train_batch_size", "save_total_limit", "warmup_steps"), NUMBERS),
            **{
                "protocol": ["x", "paper", "official"],
                "standardization": ["x", "none"],
                "output_dir": PATHS,
                "data_dir": PATHS,
            },
            **{"resume_from_checkpoint": PATHS, "optim": ["x", "sgd"], "report_to": ["x", "wandb"], "dataset": PATHS},
        },
    ),
    "validate": (
        ["--data_dir", "sounds"],
        {"data_dir": PATHS, "dataset": ["x", "esc50"], "report": PATHS, "most": NUMBERS},
    ),
    "pretrain": (
        [
            *("--data_dir", "sounds", "--num_filters", "2", "--max_steps", "1", "--batch_size", "1", "--cpu", "true"),
            *("--output_dir", "p", "--crop_s", "0.1"),
        ],
        {
            **dict.fromkeys(
                ("num_filters", "sampling_rate", "audio_channels", "target_bandwidths", "crop_s"), NUMBERS
            ),
            **dict.fromkeys(("batch_size", "learning_rate", "validation_share", "decay_share", "max_hours"), NUMBERS),
            **dict.fromkeys(("anchor_bands", "anchor_weight", "generated_share", "save_steps", "log_steps"), NUMBERS),
            **{"output_dir": PATHS, "data_dir": PATHS, "config": PATHS, "init": PATHS, "measure_dir": PATHS},
        },
    ),
    "reproduce": (
        ["--esc50", "sounds", "--report_only", "--output_dir", "r", "--inputs", "log_mel", "--timing_clips", "0"],
        {
            "epochs": NUMBERS,
            "hop_length": NUMBERS,
            "output_dir": PATHS,
            "esc50": PATHS,
            "seeds": NUMBERS,
            "data_dir": PATHS,
        },
    ),
    "publish": (
        [*_MEL, "--push_to_hub", "me/x"],
        {
            "push_to_hub": [*PATHS, "me/x/y", "-", "me/x y"],
            "model_dir": PATHS,
            "config_name": PATHS,
            "license": ["x", ""],
        },
    ),
}


def _possible(program: str, result: Result) -> str | None:
    if program == "classify" and result.out.startswith("{"):
        return scores_are_wrong(json.loads(result.out.splitlines()[0])["labels"])
    if program == "segment" and result.out.startswith("["):
        return scores_are_wrong(json.loads(result.out))
    if program == "train" and Path("m/results.json").exists():
        results = json.loads(Path("m/results.json").read_text(encoding="utf-8"))
        return None if math.isfinite(results["test"]["window"]["loss"]) else "a loss that is no number"
    return features_are_wrong(Path("c"))
