"""Five seconds of sound, classified by us and by what others would take: architectures with random weights."""

import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from timing import Row, full_size, in_turns
from transformers import (
    ASTConfig,
    ASTForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
)

from hf_encls.fast import onednn_tiles
from hf_encls.fast.tiles import WhileListening
from hf_encls.features.extraction import feature_config
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.model.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.model.modeling_encls import EnclsForAudioClassification

CLASSES = 50


WARM = ", warm"
TOGETHER = ", 8 together"
CLIPS = 8  # that `classify` takes together


def peers(options: Namespace) -> list[Row]:
    """Clips of 5 s through our pipeline, float32 and bfloat16, beside AST-base (512 frames) and wav2vec2-base in bfloat16.

    CPU time of one clip. Each side has them one by one, and 8 together as `classify` has those of a folder; AST-base is
    taken as it is faster. Warm: a pipeline that has heard a minute computes with oneDNN's graphs, which it makes then.
    """
    rng = np.random.default_rng(0)
    waves = [(0.1 * rng.standard_normal(5 * 24_000)).astype(np.float32) for _ in range(CLIPS)]
    sides = {}
    for dtype in ("float32", "bfloat16"):
        ours = f"ours, {dtype}"
        pipe = _pipeline(dtype)
        sides[ours] = partial(_ours, pipe, waves[:1], dtype, WhileListening)
        warm = WhileListening()
        warm.hear(onednn_tiles.ENOUGH_S)
        sides[ours + WARM] = partial(_ours, pipe, waves[:1], dtype, lambda warm=warm: warm)
        sides[ours + WARM + TOGETHER] = partial(_ours, pipe, waves, dtype, lambda warm=warm: warm)
    torch.manual_seed(0)
    ast = ASTForAudioClassification(ASTConfig(max_length=512, num_labels=CLASSES)).eval().bfloat16()
    spectra = torch.randn(CLIPS, 512, 128).bfloat16()
    wav2vec2 = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(num_labels=CLASSES)).eval().bfloat16()
    samples = torch.randn(1, 5 * 16_000).bfloat16()
    sides |= {"AST-base": lambda: ast(spectra[:1]), "AST-base" + TOGETHER: lambda: ast(spectra)}
    sides["wav2vec2-base"] = lambda: wav2vec2(samples)
    with torch.inference_mode():
        times = in_turns(sides, 3 * options.repeats, clock=time.process_time)
    times = {name: value / (CLIPS if name.endswith(TOGETHER) else 1) for name, value in times.items()}
    details = {"cpu_milliseconds": {name: round(1e3 * value, 1) for name, value in times.items()}}
    ast_s = min(times["AST-base"], times["AST-base" + TOGETHER])
    ours, name = "ours, bfloat16", "a classifier of 5 s, bfloat16, full-size codec"
    return [
        *(
            Row(name + how, "AST-base of 512 frames, bfloat16", ast_s / times[ours + how], 3.0, details=details)
            for how in ("", WARM, WARM + TOGETHER)
        ),
        Row(name, "wav2vec2-base, bfloat16", times["wav2vec2-base"] / times[ours], None, details=details),
    ]


def _pipeline(dtype: str) -> EnclsPipeline:
    codec = full_size(24)
    config = feature_config("encodec_24khz", codec=codec, codec_dtype=dtype, num_labels=CLASSES)
    model = EnclsForAudioClassification(config)
    model.attach_codec(codec)
    model.eval()
    if dtype == "bfloat16":
        model.head.bfloat16()
    return EnclsPipeline(model=model, feature_extractor=EnclsFeatureExtractor(config.sampling_rate), device="cpu")


def _ours(pipe: EnclsPipeline, waves: list[np.ndarray], dtype: str, heard: Callable[[], WhileListening]) -> None:
    pipe._listening = heard()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        pipe(waves)
