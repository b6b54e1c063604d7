"""Codecs of other families: their latents against the model's own `encode`, clip by clip."""

import time
from argparse import Namespace

import torch
import transformers
from timing import Row, in_turns
from torch import nn

from hf_encls.model.codec_encls import codec_adapter

DURATION_S, CLIPS = 5.0, 3
SEANET = {
    "num_filters": 16,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "upsample_groups": 64,
}
SPEECH = {
    **{"model_type": "hubert", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"intermediate_size": 128, "conv_dim": [64] * 7},
}
ACOUSTIC = {"model_type": "dac", "encoder_hidden_size": 16, "hidden_size": 64, "decoder_hidden_size": 64}
# Narrower than the published ones, as deep and with their strides: class in transformers -> what is changed.
FAMILIES = {
    "Dac": {"encoder_hidden_size": 16, "decoder_hidden_size": 32},
    "Mimi": SEANET,
    "PocketTTSAudioTokenizer": SEANET,
    "VibeVoiceAcousticTokenizer": {"num_filters": 8},
    "Xcodec": {"semantic_model_config": SPEECH, "acoustic_model_config": ACOUSTIC},
}


def families(options: Namespace) -> list[Row]:
    """One row for each family. Its own `encode` goes on to its codes, where it has any."""
    return [_row(name, settings, options) for name, settings in FAMILIES.items()]


def _row(name: str, settings: dict, options: Namespace) -> Row:
    torch.manual_seed(0)
    codec = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**settings))
    codec.eval().requires_grad_(False)
    adapter = codec_adapter(codec)
    waves = [0.1 * torch.randn(round(DURATION_S * adapter.sampling_rate)) for _ in range(CLIPS)]
    quiet = {"sample": False} if name.startswith("VibeVoice") else {}  # its default adds noise

    def plain() -> None:
        for wave in waves:
            codec.encode(adapter.fill(wave)[None, None], **quiet)

    def ours() -> list[torch.Tensor]:
        return adapter.latents(codec, waves, adapter.default_policy, torch.float32)

    with torch.inference_mode():
        times = in_turns({"encode": plain, "ours": ours}, options.repeats, clock=time.process_time)
        error = _error(adapter.encode(codec, waves[0][None])[0], ours()[0])
    details = {"seconds": {side: round(value, 3) for side, value in times.items()}, "largest_error": error}
    details["x_real_time"] = round(CLIPS * DURATION_S / times["ours"], 1)
    details["in_tiles"] = adapter.tiles(codec) is not None
    details["parameters"] = _parameters(codec)
    title = f"latents of {adapter.name}, random and narrow"
    return Row(title, f"{name}Model.encode per clip", times["encode"] / times["ours"], 1.0, details=details)


def _error(expected: torch.Tensor, found: torch.Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def _parameters(codec: nn.Module) -> int:
    return sum(weight.numel() for weight in codec.parameters())
