"""Small random codecs of every family, and how each family's own model encodes: the oracle of `test_codec_families`."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers
from small_models import small_codec
from torch import nn

SEANET = {
    **{"hidden_size": 16, "num_filters": 2, "num_hidden_layers": 2, "intermediate_size": 32, "upsample_groups": 16},
    **{"num_attention_heads": 2, "num_key_value_heads": 2, "sliding_window": 20, "upsampling_ratios": [5, 4, 2]},
}
DAC = {
    **{"encoder_hidden_size": 4, "decoder_hidden_size": 16, "downsampling_ratios": [2, 4, 5], "n_codebooks": 3},
    **{"codebook_size": 32, "codebook_dim": 4, "sampling_rate": 16_000},
}
SPEECH = {
    **{"model_type": "hubert", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 16, "conv_dim": [8, 8, 8], "conv_kernel": [10, 4, 2], "conv_stride": [5, 4, 2]},
    **{"num_feat_extract_layers": 3, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2},
}
XCODEC = {
    **{"target_bandwidths": [3, 6], "codebook_size": 32, "semantic_model_config": SPEECH},
    "acoustic_model_config": {
        **{"model_type": "dac", "encoder_hidden_size": 4, "hidden_size": 8, "decoder_hidden_size": 16},
        **{"downsampling_ratios": [5, 4, 2], "upsampling_ratios": [5, 4, 2]},
    },
}


@dataclass(frozen=True)
class Family:
    """How a family's small model is made, and what its own `encode` gives.

    Args:
        make: a small random model.
        hear: a waveform (1, 1, N) through the model's own `encode`; gives codes (K, F); without a quantizer latents (C, F).
        feature_name: what its latents are called.
        lookahead: samples, or None: the whole clip.
        pads: whether its own feature extractor fills clips up to whole frames.
        has_codes: whether it has a quantizer.
        bounded: whether it streams in constant memory.
        weight: where a changed weight changes the latents.
    """

    make: Callable[[], nn.Module]
    hear: Callable[[nn.Module, torch.Tensor], torch.Tensor]
    feature_name: str
    lookahead: int | None = 0
    pads: bool = False
    has_codes: bool = True
    bounded: bool = False
    weight: str = "encoder"


def make(name: str, settings: dict) -> Callable[[], nn.Module]:
    """What makes a small random model of a class in transformers; the same one each time."""

    def made() -> nn.Module:
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**settings)).eval()
        model.requires_grad_(False)
        for module in model.modules():
            if type(module) is nn.Conv1d:  # some families begin with weights so small that far samples say nothing
                nn.init.kaiming_normal_(module.weight).div_(2)
        for path, value in (*model.named_buffers(), *model.named_parameters()):
            if path.endswith(("codebook.embed", "embed_sum", "codebook.weight")):
                value.copy_(0.05 * torch.randn(value.shape))
            if path.endswith(("gamma", "scale")):  # near zero in a fresh model: its blocks would say nothing
                value.fill_(0.5)
        return model

    return made


FAMILIES = {
    "encodec": Family(small_codec, lambda m, x: m.encode(x, bandwidth=6.0).audio_codes[0, 0], "encodec_24khz", bounded=True),
    "dac": Family(
        make("Dac", DAC),
        lambda m, x: m.encode(x).audio_codes[0],
        "dac_16khz",
        lookahead=493,
        pads=True,
        bounded=True,
    ),
    "mimi": Family(
        make("Mimi", SEANET | {"num_quantizers": 4, "codebook_size": 32, "codebook_dim": 8}
                | {"vector_quantization_hidden_dimension": 8}),
        lambda m, x: m.encode(x).audio_codes[0],
        "mimi_24khz",
        bounded=True,
    ),
    "pocket_tts_audio_tokenizer": Family(
        make("PocketTTSAudioTokenizer", SEANET | {"latent_stride": 4, "latent_dim": 16}),
        lambda m, x: m.encode(x).latents[0].T,
        "pocket_tts_audio_tokenizer_24khz",
        bounded=True,
        has_codes=False,
    ),
    "vibevoice_acoustic_tokenizer": Family(
        make("VibeVoiceAcousticTokenizer", {"hidden_size": 16, "num_filters": 2, "downsampling_ratios": [2, 4, 5]}
                | {"depths": [1, 1, 1, 2]}),
        lambda m, x: m.encode(x, sample=False).latents[0].T,
        "vibevoice_acoustic_tokenizer_24khz",
        pads=True,
        has_codes=False,
        bounded=True,
    ),
    "xcodec": Family(
        make("Xcodec", XCODEC),
        lambda m, x: m.encode(x).audio_codes[0],
        "xcodec_16khz",
        lookahead=None,
        pads=True,
        weight="fc",
    ),
}  # fmt: skip
