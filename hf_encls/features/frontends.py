"""Frontends that compute with a codec's weights."""

import json
import threading

import torch
from transformers import PreTrainedModel

from hf_encls.model.configuration_encls import FeatureConfig
from hf_encls.model.identity_encls import codebook_hash, codec_hash
from hf_encls.model.representation_encls import Representation

KEPT = 2  # codecs whose copies a process keeps: making and preparing one takes a second or two

_COPYING = threading.Lock()
_COPIES: dict[tuple, PreTrainedModel] = {}  # nobody else has them, so that they stay as they are


def kept_frontend(config: FeatureConfig, codec: PreTrainedModel | None, device: torch.device) -> Representation:
    """As `frontend_of`, on a device. On a processor the last few copies of codecs stay, and what was prepared of them."""
    if codec is None or device.type != "cpu" or not config.representation.needs_codec:
        return frontend_of(config, codec).to(device).eval()
    settings = json.dumps([config.codec_config, config.representation.integers], sort_keys=True)
    key = (codec_hash(codec), codebook_hash(codec) if config.representation.integers else None, settings)
    with _COPYING:
        if key not in _COPIES:
            while len(_COPIES) >= KEPT:
                del _COPIES[next(iter(_COPIES))]
            _COPIES[key] = frontend_of(config, codec).eval().codec
        return config.representation(config, _COPIES[key]).eval()


def frontend_of(config: FeatureConfig, codec: PreTrainedModel | None) -> Representation:
    """A frontend with the weights of `codec` in it, ready to compute."""
    frontend = config.representation(config)
    if codec is not None and config.representation.needs_codec:
        frontend.copy_codec(codec)
    return frontend
