"""What every codec family answers for: the contract of `CodecAdapter`, with small random models of each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from small_codecs import FAMILIES, Family, make
from torch import nn

from hf_encls import EnclsForAudioClassification
from hf_encls.codec.loading import CodecNotFoundError, load_codec
from hf_encls.codec.published import DEFAULT_CODECS
from hf_encls.commands import cli
from hf_encls.features.extraction import checked_config, feature_config
from hf_encls.features.store import codebooks_of, embed
from hf_encls.inference.embeddings import get_timestamp_embeddings, load_model
from hf_encls.inference.onnx import compare, export_onnx, plain_copy
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.model import adapter_encls, codec_encls, encoding_encls, tiles_encls
from hf_encls.model.adapter_encls import CodecAdapter
from hf_encls.model.codec_encls import codec_adapter
from hf_encls.model.identity_encls import codebook_hash, codec_hash

RELATIVE = 1e-5
LENGTHS = (4000, 4013, 1234)


@pytest.fixture(params=FAMILIES)
def kind(request) -> str:
    return request.param


@pytest.fixture
def family(kind: str) -> Family:
    return FAMILIES[kind]


@pytest.fixture
def codec(family: Family) -> nn.Module:
    return family.make()


@pytest.fixture
def adapter(codec: nn.Module) -> CodecAdapter:
    return codec_adapter(codec)


def noise(length: int, seed: int = 0) -> torch.Tensor:
    return 0.3 * torch.randn(length, generator=torch.Generator().manual_seed(seed))


def latents(adapter: CodecAdapter, codec: nn.Module, *waves: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        return adapter.latents(codec, waves, "whole", torch.float32)


def own(family: Family, codec: nn.Module, wave: torch.Tensor, hop: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(latents (C, F), codes (K, F)) as the model's own `encode` makes them: what its quantizer is asked is overheard."""
    if family.pads:
        wave = nn.functional.pad(wave, (0, -len(wave) % hop))
    with torch.no_grad():
        if not family.has_codes:
            return family.hear(codec, wave[None, None]), None
        heard, name = [], "encode" if hasattr(codec.quantizer, "encode") else "forward"
        asked = getattr(codec.quantizer, name)
        setattr(codec.quantizer, name, lambda hidden, *rest: (heard.append(hidden[0]), asked(hidden, *rest))[1])
        try:
            codes = family.hear(codec, wave[None, None])
        finally:
            delattr(codec.quantizer, name)
    return heard[0], codes


def assert_near(found: torch.Tensor, expected: torch.Tensor, tolerance: float = RELATIVE) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def model_of(codec: nn.Module, features: str = "latents", **settings) -> EnclsForAudioClassification:
    config = feature_config(features, codec=codec, window_s=0.16, codec_id="small", num_labels=3, **settings)
    torch.manual_seed(1)
    model = EnclsForAudioClassification(config)
    model.attach_codec(codec)
    model.set_standardization(torch.zeros(config.num_bands), torch.full((config.num_bands,), 0.1))
    return model.eval()


def test_every_family_is_tested():
    assert set(FAMILIES) == set(codec_encls.FAMILIES)


def test_latents_and_codes_are_the_models_own(family, codec, adapter):
    for length in LENGTHS:
        wave = noise(length)
        expected, codes = own(family, codec, wave, adapter.hop_length)
        found = latents(adapter, codec, wave)[0]
        assert_near(found, expected)
        assert found.shape == (adapter.latent_size, adapter.num_frames(length, "whole"))
        if codes is not None:
            assert adapter.num_codebooks(codec, max(adapter.bandwidths)) == len(codes)
            for bandwidth in adapter.bandwidths:
                expected = codes[: adapter.num_codebooks(codec, bandwidth)]
                assert torch.equal(adapter.codes(codec, found, bandwidth), expected)


def test_clips_of_a_batch_are_those_alone(codec, adapter):
    waves = [noise(length, seed) for seed, length in enumerate((*LENGTHS, 4000))]
    together = latents(adapter, codec, *waves)
    for wave, found in zip(waves, together, strict=True):
        assert_near(found, latents(adapter, codec, wave)[0])


def test_padding_never_changes_a_score(codec):
    model = model_of(codec)
    waves = [noise(4000, 1), noise(2777, 2)]
    batch = nn.utils.rnn.pad_sequence(waves, batch_first=True, padding_value=9.0)
    mask = torch.tensor([[i < len(wave) for i in range(4000)] for wave in waves])
    with torch.no_grad():
        scores = model(input_values=batch, attention_mask=mask).logits
        for wave, found in zip(waves, scores, strict=True):
            assert_near(found, model(input_values=wave[None]).logits[0], 1e-4)


def test_a_stream_is_the_whole(family, codec, adapter, monkeypatch):
    monkeypatch.setattr(encoding_encls, "SEGMENT_S", 0.05)
    wave = noise(24_013)
    whole = latents(adapter, codec, wave)[0]
    with torch.no_grad():
        pieces = list(adapter.stream(codec, iter(wave.split(777)), "whole", torch.float32))
    assert_near(torch.cat(pieces, dim=-1), whole)
    if adapter.lookback is not None:
        assert family.bounded and len(pieces) > 3
    monkeypatch.setattr(adapter_encls, "LONG_S", 0.5)  # a long clip's memory does not grow with it either
    short = noise(4000, 1)
    for found, expected in zip(latents(adapter, codec, short, wave), [*latents(adapter, codec, short), whole]):
        assert_near(found, expected)


def test_causal_convolutions_in_tiles_are_the_whole(family, codec, adapter, monkeypatch):
    monkeypatch.setattr(tiles_encls, "TILE_S", 0.03)
    waves = [noise(length, length) for length in (4000, 4013, 4000, 719)]
    with torch.no_grad():
        for wave, found in zip(waves, latents(adapter, codec, *waves), strict=True):
            assert_near(found, adapter.encode(codec, wave[None])[0])
    if family.lookahead == 0:  # the others are not causal
        convolved = []
        through = encoding_encls.through
        monkeypatch.setattr(encoding_encls, "through", lambda layers, x: (convolved.append(x), through(layers, x))[1])
        latents(adapter, codec, waves[0])
        assert len([each for each in convolved if each.shape[1] == 1]) > 3


def test_it_says_how_far_it_sees(kind, family, codec, adapter):
    hop, frame = adapter.hop_length, 3000 // adapter.hop_length
    clip = noise(6000 // hop * hop).requires_grad_()
    made = adapter.encode(codec, clip[None])
    made[0, :, frame].sum().backward()
    seen = clip.grad.nonzero()[:, 0]
    own_first, own_last = frame * hop, (frame + 1) * hop - 1
    assert adapter.lookahead == family.lookahead
    if family.lookahead is None:  # a part of it hands no gradients on
        changed = clip.detach().clone()
        changed[-1] += 100
        assert not torch.equal(latents(adapter, codec, changed)[0][:, frame], made[0, :, frame])
    else:
        assert seen.max() == own_last + family.lookahead
    assert family.bounded == ((adapter.lookback is not None and adapter.lookahead is not None) or kind == "encodec")
    if adapter.lookback is not None:
        assert seen.min() == own_first - adapter.lookback


def test_it_says_the_same_twice(codec, adapter):
    torch.manual_seed(3)
    first = latents(adapter, codec, noise(4000))[0]
    torch.manual_seed(4)
    assert torch.equal(first, latents(adapter, codec, noise(4000))[0])


def test_stored_codes_are_embedded_as_the_quantizer_does(family, codec, adapter):
    if not family.has_codes:
        with pytest.raises(ValueError, match="no quantizer, and so no codes: take latents"):
            feature_config("codes", codec=codec)
        return
    model = model_of(codec, "codes")
    with torch.no_grad():
        stored = model.frontend.stored_windows([noise(4000)])[0]
        expected = model.frontend.windows([noise(4000)])[0]
    assert stored.shape[1] == model.config.num_codebooks
    assert_near(embed(stored, codebooks_of(codec, model.config.num_codebooks)), expected)
    with pytest.raises(ValueError, match=r"expected a bandwidth of [\d., ]+ kbit/s"):
        feature_config("codes", codec=codec, bandwidth=0.123)


def test_features_are_called_after_the_family(kind, family, codec):
    config = feature_config("latents", codec=codec, window_s=0.16)
    assert (config.feature_name, config.codec_family) == (family.feature_name, kind)
    named = feature_config(family.feature_name, codec=codec, window_s=0.16)
    assert named.identity() == config.identity() and named.features == "latents"
    assert ("codec_family" in config.identity()) == (kind != "encodec")
    published = checked_config(**config.identity())  # what a data set of features says of itself; it holds no codec
    assert published.identity() == config.identity() and published.codec_config is None
    other = family.feature_name.replace(kind, "dac" if kind != "dac" else "encodec")
    with pytest.raises(ValueError, match=f"{other} needs a codec of the family"):
        feature_config(other, codec=codec, window_s=0.16)


ELSEWHERE = """
import sys, torch
sys.modules["hf_encls"] = None  # whoever asks for it fails
from transformers import AutoModelForAudioClassification
wave = 0.3 * torch.randn(4000, generator=torch.Generator().manual_seed(5))
for folder in sys.argv[1:]:
    model = AutoModelForAudioClassification.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        print(*model(input_values=wave[None]).logits[0].tolist())
"""


def test_a_checkpoint_is_read_here_and_elsewhere(kind, family, codec, tmp_path):
    wave, expected = noise(4000, 5), {}
    for features in ("latents", "codes") if family.has_codes else ("latents",):
        model = model_of(codec, features)
        folder = tmp_path / features
        model.save_pretrained(folder)
        with torch.no_grad():
            expected[str(folder)] = model(input_values=wave[None]).logits[0]
            again = EnclsForAudioClassification.from_pretrained(folder)
            assert torch.equal(again(input_values=wave[None]).logits[0], expected[str(folder)])
        assert again.config.codec_family == kind and again.config.identity() == model.config.identity()
        assert not any(parameter.requires_grad for parameter in again.frontend.parameters())
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", ELSEWHERE, *expected]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr
    for line, logits in zip(run.stdout.splitlines(), expected.values(), strict=True):
        assert_near(torch.tensor([float(each) for each in line.split()]), logits, 1e-4)


def test_its_identity_is_that_of_its_weights(family, codec, adapter, tmp_path):
    codec.save_pretrained(tmp_path)
    loaded = load_codec(tmp_path)
    assert codec_hash(loaded) == codec_hash(codec) == codec_hash(model_of(codec).frontend.codec)
    assert codebook_hash(loaded) == codebook_hash(codec)
    assert (codebook_hash(codec) is None) == (not family.has_codes)
    assert_near(latents(adapter, loaded, noise(4000))[0], latents(adapter, codec, noise(4000))[0])
    before = codec_hash(codec)
    with torch.no_grad():
        next(getattr(codec, family.weight).parameters()).view(-1)[0] += 1
    assert codec_hash(codec) != before


def test_its_encoder_alone_will_do(family, codec, adapter, tmp_path):
    for part in adapter.droppable_parts():
        setattr(codec, part, None)
    codec.save_pretrained(tmp_path)
    assert_near(latents(adapter, load_codec(tmp_path), noise(4000))[0], latents(adapter, codec, noise(4000))[0])
    kept = load_file(tmp_path / "model.safetensors")
    kept.popitem()
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CodecNotFoundError, match="expected all tensors"):
        load_codec(tmp_path)


def test_what_it_cannot_do_is_refused(kind, codec):
    if kind != "encodec":
        with pytest.raises(ValueError, match="expected codec_policy to be one of whole"):
            feature_config("latents", codec=codec, window_s=0.16, codec_policy="contiguous")
        with pytest.raises(ValueError, match="codec_dtype float32 or tf32"):
            model_of(codec, codec_dtype="bfloat16")


def test_the_published_ones_need_these_windows():
    """The shortest windows in seconds that the paper's network takes: ten frames."""
    hops = {"encodec_24khz": 320, "dac_16khz": 320, "dac_44100hz": 512, "mimi_24khz": 1920, "xcodec_16khz": 320}
    hops |= {"pocket_tts_audio_tokenizer_24khz": 1920, "vibevoice_acoustic_tokenizer_24khz": 3200}
    for name, hop in hops.items():
        family, rate = name.rsplit("_", 1)
        rate = int(rate.removesuffix("khz")) * 1000 if "khz" in rate else int(rate.removesuffix("hz"))
        settings = {"codec_family": family, "sampling_rate": rate, "frame_length": hop, "num_bands": 64}
        with pytest.raises(ValueError, match="too short for the network: 9 frames, it needs 10"):
            checked_config(features=name, window_s=9 * hop / rate, **settings)
        assert checked_config(features=name, window_s=10 * hop / rate, **settings).feature_name == name
    assert set(DEFAULT_CODECS) == {24_000, 48_000}


def test_the_how_to_says_what_each_family_gives():
    text = (Path(__file__).parents[1] / "docs" / "howto" / "codecs.md").read_text()
    rows = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            rows[cells[0].split("`")[1]] = cells[1:]
    settings = {"dac": {"downsampling_ratios": [2, 4, 8, 8], "sampling_rate": 44_100}}  # as the page says
    for kind, known in codec_encls.FAMILIES.items():
        one = known(known.class_of_config()(**settings.get(kind, {})))
        second, _, codes, window = rows[known.model_class]
        assert second == f"{one.latent_size} x {round(one.sampling_rate / one.hop_length, 1):g}"
        assert codes == ("yes" if one.bandwidths else "no")
        least = 10 * one.hop_length / one.sampling_rate
        assert least <= float(window) <= least + 0.0011


@pytest.mark.parametrize(("kind", "features"), [("dac", "latents"), ("mimi", "codes")])
def test_a_folder_of_sounds_is_trained_on(kind, features, tmp_path, monkeypatch, no_network):
    FAMILIES[kind].make().save_pretrained(tmp_path / "codec")
    licence = "mit" if kind == "dac" else "unknown"
    (tmp_path / "codec" / "README.md").write_text(f"---\nlicense: {licence}\n---\n# A codec\n")
    monkeypatch.chdir(tmp_path)
    for label in ("low", "high"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for i in range(6):
            wave = torch.sin(torch.arange(8000) * (0.05 if label == "low" else 0.5) + i) * 0.3
            soundfile.write(tmp_path / "sounds" / label / f"{i}.wav", wave.numpy(), 16_000)
    options = ["--data_dir", "sounds", "--codec", "codec", "--features", features, "--window_s", "0.2"]
    options += ["--output_dir", "run", "--num_train_epochs", "2", "--cache_dir", "cache"]
    assert cli.main(["train", *options]) == 0
    pipe = EnclsPipeline.from_pretrained(tmp_path / "run", device="cpu")
    name = FAMILIES[kind].feature_name + ("_codes" if features == "codes" else "")
    assert pipe.model.config.feature_name == name
    assert {row["label"] for row in pipe(tmp_path / "sounds" / "low" / "0.wav")} == {"low", "high"}
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert card.data.license_name == f"apache-2.0-and-{licence}" and codec_encls.FAMILIES[kind].name in card.text
    told = "also holds the encoder of `codec`, " + ("under mit." if kind == "dac" else "whose licence is not stated")
    assert told in card.text and "Codec: `codec`, policy whole" in card.text


@pytest.mark.parametrize("features", ["latents", pytest.param("codes", marks=pytest.mark.slow)])
def test_its_graph_says_the_same(family, codec, features, tmp_path):
    pytest.importorskip("onnxruntime")
    if features == "codes" and not family.has_codes:
        pytest.skip("no quantizer")
    model = model_of(codec, features)
    assert export_onnx(model, tmp_path / "model.onnx") <= 1e-5  # over clips of several lengths
    assert compare(plain_copy(model), tmp_path / "model.onnx", [20, 41, 1500, 24_013]) <= 1e-5


def test_a_slow_codec_alone_gives_embeddings(tmp_path):
    settings = {"hidden_size": 16, "num_filters": 2, "downsampling_ratios": [8, 8, 50], "depths": [1, 1, 1, 1]}
    make("VibeVoiceAcousticTokenizer", settings)().save_pretrained(tmp_path)
    model = load_model(str(tmp_path), device="cpu")
    frames, times = get_timestamp_embeddings(noise(24_000)[None], model)
    assert frames.shape == (1, 4, 16) and times.shape == (1, 4)  # half a second at its 48 kHz


def test_files_of_codes_are_encodecs_own(tmp_path, capsys):
    FAMILIES["dac"].make().save_pretrained(tmp_path / "codec")
    soundfile.write(tmp_path / "a.wav", noise(4000).numpy(), 16_000)
    assert cli.main(["encode", str(tmp_path / "a.wav"), "--codec", str(tmp_path / "codec")]) == 2
    assert "expected an EnCodec, whose codes these files hold, found a codec of 'dac'" in capsys.readouterr().err
