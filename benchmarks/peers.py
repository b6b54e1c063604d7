"""Five seconds of sound, classified by us and by what others would take: architectures with random weights."""

import copy
import time
from argparse import Namespace

import numpy as np
import torch
from timing import Row, full_size, in_turns
from transformers import (
    ASTConfig,
    ASTForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
)

from hf_encls.features.extraction import feature_config
from hf_encls.model.modeling_encls import EnclsForAudioClassification

CLASSES = 50


def peers(options: Namespace) -> list[Row]:
    """Our pipeline's two passes, float32 and bfloat16, beside AST-base (512 frames) and wav2vec2-base in bfloat16. CPU time."""
    wave = torch.from_numpy((0.1 * np.random.default_rng(0).standard_normal(5 * 24_000)).astype(np.float32))
    sides = {}
    for dtype in ("float32", "bfloat16"):
        sides[f"ours, {dtype}"] = _ours(dtype, wave)
    torch.manual_seed(0)
    ast = ASTForAudioClassification(ASTConfig(max_length=512, num_labels=CLASSES)).eval().bfloat16()
    spectrum = torch.randn(1, 512, 128).bfloat16()
    wav2vec2 = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(num_labels=CLASSES)).eval().bfloat16()
    samples = torch.randn(1, 5 * 16_000).bfloat16()
    sides["AST-base"] = lambda: ast(spectrum)
    sides["wav2vec2-base"] = lambda: wav2vec2(samples)
    with torch.inference_mode():
        times = in_turns(sides, 3 * options.repeats, clock=time.process_time)
    details = {"cpu_milliseconds": {name: round(1e3 * value, 1) for name, value in times.items()}}
    name = "a classifier of 5 s, bfloat16, full-size codec"
    return [
        Row(
            name, "AST-base of 512 frames, bfloat16", times["AST-base"] / times["ours, bfloat16"], 3.0, details=details
        ),
        Row(name, "wav2vec2-base, bfloat16", times["wav2vec2-base"] / times["ours, bfloat16"], None, details=details),
    ]


def _ours(dtype: str, wave: torch.Tensor):
    codec = full_size(24)
    config = copy.deepcopy(feature_config("encodec_24khz", codec=codec, codec_dtype=dtype))
    model = EnclsForAudioClassification(
        type(config)(**config.to_dict() | {"num_labels": CLASSES, "codec_config": None})
    )
    model.attach_codec(codec)
    model.eval()
    if dtype == "bfloat16":
        model.head.bfloat16()

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            model(input_values=wave[None])

    return run
