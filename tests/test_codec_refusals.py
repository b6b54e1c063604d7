"""Codecs that cannot be had, or not be built: each is refused with what was expected, and before anything is built."""

import ast
import json
from pathlib import Path

import pytest

import hf_encls
from hf_encls.codec.loading import CodecNotFoundError, load_codec
from hf_encls.model import codec_encls
from hf_encls.model.codec_encls import codec_adapter


@pytest.mark.parametrize("kind", [["encodec"], {}, 3, None])
def test_a_model_type_that_is_no_text_is_no_family(kind, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(CodecNotFoundError, match="config.json"):
        load_codec(tmp_path)
    with pytest.raises(ValueError, match="expected a codec"):
        codec_adapter({"model_type": kind})


@pytest.mark.parametrize("dtype", ["cuda", "int8", "nothing", 3])
def test_a_dtype_that_is_no_floating_point_type_is_refused(dtype, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "encodec", "dtype": dtype}))
    with pytest.raises(CodecNotFoundError, match="config.json: expected dtype to be one of float16"):
        load_codec(tmp_path)


@pytest.mark.parametrize("kind", codec_encls.REFUSED)
def test_other_tokenizers_are_refused_with_the_reason(kind, tmp_path):
    (tmp_path / "config.json").write_text(f'{{"model_type": "{kind}"}}')
    with pytest.raises(CodecNotFoundError, match=f"found '{kind}': its encoder"):
        load_codec(tmp_path)


def test_every_tokenizer_of_the_library_is_known_or_refused():
    from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_TOKENIZATION_NAMES

    assert set(MODEL_FOR_AUDIO_TOKENIZATION_NAMES) <= {*codec_encls.FAMILIES, *codec_encls.REFUSED}


IMPOSSIBLE = [
    ("dac", {"encoder_hidden_size": 10**9}, "encoder_hidden_size from 1"),
    ("dac", {"n_codebooks": 10**9}, "n_codebooks from 1"),
    ("dac", {"downsampling_ratios": []}, "downsampling_ratios of 1 to 12"),
    ("dac", {"sampling_rate": "x"}, "sampling_rate"),
    ("mimi", {"num_hidden_layers": 10**9}, "num_hidden_layers from 1"),
    ("mimi", {"use_causal_conv": False}, "expected use_causal_conv"),
    ("mimi", {"frame_rate": 25.0}, "expected frame_rate 12.5"),
    ("mimi", {"encoder_config": None}, "expected a codec with its encoder"),
    ("mimi", {"num_attention_heads": 0}, "expected sizes of at least 1 for Mimi, found 0"),
    ("mimi", {"sampling_rate": 24_001}, "a multiple of the 960 samples"),
    ("pocket_tts_audio_tokenizer", {"latent_dim": 10**9}, "latent_dim from 1"),
    ("vibevoice_acoustic_tokenizer", {"depths": [1]}, "expected 7 depths"),
    ("vibevoice_acoustic_tokenizer", {"num_filters": 4000}, "expected a codec of at most"),
    ("xcodec", {"semantic_model_config": {"model_type": "bert"}}, "semantic_model_config of hubert or wavlm"),
    ("xcodec", {"semantic_model_config": {"model_type": "hubert", "num_hidden_layers": 10**9}}, "num_hidden_layers"),
    ("xcodec", {"strides": [2, 2]}, "frames of one length, found 320 and 1280"),
    ("xcodec", {"target_bandwidths": []}, "target_bandwidths of at least one"),
]


@pytest.mark.parametrize(("kind", "settings", "message"), IMPOSSIBLE)
def test_what_cannot_be_built_is_refused_before_it_is(kind, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        codec_adapter({"model_type": kind, **settings})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", codec_encls.FAMILIES)
def test_the_librarys_own_settings_are_within_the_limits(kind):
    family = codec_encls.FAMILIES[kind]
    adapter = codec_adapter(family(family.class_of_config()()).as_dict())
    assert adapter.unusual_settings() == {} and adapter.default_policy == "whole"
    assert codec_adapter(adapter.as_dict()).as_dict() == adapter.as_dict()


def test_no_other_room_names_a_family():
    """What EnCodec alone has may name it: its adapter, its limits, files of codes, its training, the paper's tables."""
    package = Path(hf_encls.__file__).parent
    own = {"codec", "codec_training", "reproduction", "encodec_encls.py", "limits_encls.py", "pretrain_codec.py"}
    for file in package.rglob("*.py"):
        if own & set(file.relative_to(package).parts):
            continue
        names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        assert not names & {"EncodecModel", "EncodecConfig", "DacModel", "MimiModel", "XcodecModel"}, file
