"""HEAR's validator: `hf_encls.embeddings` passes for every kind and codec family, or refuses with the reason."""

import pytest
from small_codecs import FAMILIES
from small_models import save_small_model
from upstream import stand_in

from hf_encls.inference.embeddings import load_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CHECKPOINTS = {
    "mel": {},
    "log_mel": {},
    "log_mel 16 kHz": {"sampling_rate": 16_000},
    "log_mel 8 kHz": {"sampling_rate": 8000},
    "encodec_24khz": {},
    "encodec_24khz statistics": {"head": "statistics"},
    "encodec_48khz": {},
    "encodec_24khz_codes": {"bandwidth": 3.0},
    "encodec_48khz_codes": {"bandwidth": 3.0},
}
CODECS = [f"{name} alone" for name in FAMILIES]


@pytest.fixture(scope="module")
def validate():
    """The validator; of TensorFlow it asks only whether a model is one of its."""
    with stand_in("tensorflow", Module=type("Module", (), {})):
        return pytest.importorskip("hearvalidator.validate")


@pytest.mark.parametrize("kind", [*CHECKPOINTS, *CODECS, "mini"])
def test_the_validator_passes(kind, validate, tmp_path, says):
    if kind in CHECKPOINTS:
        save_small_model(tmp_path / "model", kind.split()[0], window_s=0.4, **CHECKPOINTS[kind])
    elif kind in CODECS:
        FAMILIES[kind.split()[0]].make().save_pretrained(tmp_path / "model")
    validate.ValidateModel("hf_encls.embeddings", "" if kind == "mini" else str(tmp_path / "model"))()
    says("hearvalidator", "kinds of model and codec pass its validator")


def test_uneven_frames_are_refused_with_the_reason(tmp_path):
    save_small_model(tmp_path / "model", "encodec_48khz", window_s=0.4, codec_policy="codec")
    with pytest.raises(ValueError, match="frames at even distances, as HEAR does, found codec_policy 'codec'"):
        load_model(str(tmp_path / "model"))
