"""Features of kind codes: stored as codes, trained on as embeddings, the same as the model's own."""

import numpy as np
import pytest
import soundfile
import torch
from small_models import small_codec, small_model

from hf_encls.data.folders import scan_folder
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.features.store import FeatureStore, Windows, codebooks_of


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("sounds")
    for index, name in enumerate(["a/1.wav", "a/2.wav", "b/1.wav"]):
        (root / name).parent.mkdir(exist_ok=True)
        wave = 0.1 * np.random.default_rng(index).normal(size=24_000 + 5000 * index)
        soundfile.write(root / name, wave.astype(np.float32), 24_000, subtype="FLOAT")
    return scan_folder(root)[0]


@pytest.mark.parametrize("bandwidth", [1.5, 3.0])
def test_codes_are_stored_and_taken_as_embeddings(clips, bandwidth, tmp_path):
    codec = small_codec(24)
    config = feature_config("encodec_24khz_codes", clips, codec, window_s=0.4, bandwidth=bandwidth)
    rows = extract_features(clips, config, codec, tmp_path, device="cpu")
    books = {1.5: 2, 3.0: 4}[bandwidth]
    feature = rows.features["input_features"]
    assert (feature.dtype, tuple(feature.shape)) == ("uint16", (books, 30))
    model = small_model("encodec_24khz_codes", codec, window_s=0.4, bandwidth=bandwidth)
    waves = [torch.from_numpy(soundfile.read(audio["path"], dtype="float32")[0]) for audio in clips["audio"]]
    with torch.no_grad():
        expected = torch.cat(model.frontend.windows(waves))
    for limit in (None, 0):  # in memory, and read from disk
        store = FeatureStore(
            Windows(rows, memory_limit_bytes=limit, codebooks=codebooks_of(codec, books)), np.arange(len(rows))
        )
        batch = store.__getitems__(list(range(len(rows))))["input_features"]
        torch.testing.assert_close(batch, expected, atol=1e-5, rtol=1e-5)
        mean, std = store.statistics()
        torch.testing.assert_close(mean, expected.mean(dim=(0, 2)), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(std, expected.std(dim=(0, 2), correction=0), atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        by_codes = model(input_features=torch.tensor(np.asarray(rows["input_features"][:]).astype(np.int64))).logits
        torch.testing.assert_close(by_codes, model(input_features=expected).logits, atol=1e-5, rtol=1e-4)


def test_bandwidth_that_the_codec_has_not(clips):
    with pytest.raises(ValueError, match=r"expected a bandwidth of 1\.5, 3, 6 kbit/s"):
        feature_config("encodec_24khz_codes", clips, small_codec(24), bandwidth=5.0)


def test_codes_without_codebooks_are_refused():
    model = small_model("encodec_24khz_codes", window_s=0.4, bandwidth=3.0)
    model.frontend = None
    with pytest.raises(ValueError, match="without its codebooks"):
        model(input_features=torch.zeros(1, 4, 30, dtype=torch.long))
