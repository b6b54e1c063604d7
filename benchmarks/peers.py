"""Five seconds of sound, classified by us and by what others would take: architectures with random weights."""

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

from hf_encls.fast.onednn_tiles import onednn_convolutions
from hf_encls.features.extraction import feature_config
from hf_encls.model.modeling_encls import EnclsForAudioClassification

CLASSES = 50


GRAPHS = "ours, bfloat16, oneDNN's graphs"


def peers(options: Namespace) -> list[Row]:
    """Our pipeline's two passes, float32 and bfloat16, beside AST-base (512 frames) and wav2vec2-base in bfloat16. CPU time.

    The pipeline itself does without oneDNN's graphs, which take a second to make: the rows say what they would bring it.
    """
    wave = torch.from_numpy((0.1 * np.random.default_rng(0).standard_normal(5 * 24_000)).astype(np.float32))
    sides = {"ours, float32": _ours("float32", wave), "ours, bfloat16": _ours("bfloat16", wave)}
    sides[GRAPHS] = _ours("bfloat16", wave, graphs=True)
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
    ast_s, ours_s, graphs_s = (times[side] for side in ("AST-base", "ours, bfloat16", GRAPHS))
    against = "AST-base of 512 frames, bfloat16"
    return [
        Row(name, against, ast_s / ours_s, 3.0, details=details),
        Row(f"{name}, oneDNN's graphs", against, ast_s / graphs_s, 3.0, details=details),
        Row(name, "wav2vec2-base, bfloat16", times["wav2vec2-base"] / ours_s, None, details=details),
    ]


def _ours(dtype: str, wave: torch.Tensor, graphs: bool = False):
    codec = full_size(24)
    config = feature_config("encodec_24khz", codec=codec, codec_dtype=dtype, num_labels=CLASSES)
    model = EnclsForAudioClassification(config)
    model.attach_codec(codec)
    model.eval()
    if graphs:
        model.frontend.convolutions = onednn_convolutions(codec, torch.bfloat16)
    if dtype == "bfloat16":
        model.head.bfloat16()

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            model(input_values=wave[None])

    return run
