"""Small untrained codecs and checkpoints for tests: everything is there, and nothing takes long."""

from pathlib import Path

import torch
from transformers import EncodecConfig, EncodecModel

from hf_encls.features.extraction import feature_config
from hf_encls.model.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.model.modeling_encls import EnclsForAudioClassification

SMALL = {"num_filters": 2, "hidden_size": 16, "num_lstm_layers": 1, "codebook_dim": 16}
CLASSES = ["bark", "rain", "siren"]


def small_codec(khz: int = 24, seed: int = 0) -> EncodecModel:
    """An untrained EncodecModel with few filters and codebooks of noise."""
    config = EncodecConfig(**SMALL, target_bandwidths=[1.5, 3.0, 6.0])
    if khz == 48:
        config = EncodecConfig(
            **SMALL,
            target_bandwidths=[3.0, 6.0],
            sampling_rate=48_000,
            audio_channels=2,
            normalize=True,
            chunk_length_s=1.0,
            overlap=0.01,
            use_causal_conv=False,
            norm_type="time_group_norm",
        )
    torch.manual_seed(seed)
    codec = EncodecModel(config).eval()
    for layer in codec.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed, std=0.05)
    return codec


def small_model(features: str, codec: EncodecModel | None = None, **settings) -> EnclsForAudioClassification:
    """A checkpoint with random weights that tells its inputs apart."""
    if features.startswith("encodec"):
        codec = codec or small_codec(int(features[8:10]))
        settings.setdefault("codec_id", "small")
    else:
        settings.setdefault("num_bands", 32)
    names = dict(enumerate(CLASSES))
    config = feature_config(
        features, codec=codec, id2label=names, label2id={name: i for i, name in names.items()}, **settings
    )
    torch.manual_seed(1)
    model = EnclsForAudioClassification(config)
    if codec is not None:
        model.attach_codec(codec)
    spread = 20.0 if codec is not None else 0.05
    model.set_standardization(torch.zeros(config.num_bands), torch.full((config.num_bands,), 1 / spread))
    return model.eval()


def save_small_model(folder: Path, features: str, **settings) -> Path:
    """A checkpoint folder with model and extractor."""
    model = small_model(features, **settings)
    model.save_pretrained(folder)
    EnclsFeatureExtractor(sampling_rate=model.config.sampling_rate).save_pretrained(folder)
    return folder
