"""MTEB: its classification task runs on every kind of model and codec, and its own EnCodec wrapper has the same means."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Audio, Dataset
from small_codecs import FAMILIES
from small_models import save_small_model
from upstream import torchaudio

from hf_encls.data.synthetic import write_synthetic
from hf_encls.embeddings import MtebEncoder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CHECKPOINTS = {
    **{"log_mel": {}, "encodec_24khz": {}, "encodec_24khz_codes": {"bandwidth": 3.0}},
    **{"encodec_48khz": {}, "encodec_48khz codec": {"codec_policy": "codec"}},
}


CLASSES = ("bell", "siren")  # two: in a fold of few clips it asks which of two labels is 1


@pytest.fixture(scope="module", autouse=True)
def mteb():
    """The package; its own wrappers import torchaudio."""
    with torchaudio():
        yield pytest.importorskip("mteb")


@pytest.fixture(scope="module")
def command():
    """The program of the table, with its local task."""
    path = Path(__file__).parents[2] / "scripts" / "runs" / "mteb_padding.py"
    spec = importlib.util.spec_from_file_location("mteb_padding", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("mteb") / "sounds", clips_per_class=8)


@pytest.fixture(scope="module")
def rows(folder) -> Dataset:
    """Sixteen clips as people have them: files that nothing has decoded."""
    files = [file for file in sorted(folder.glob("*/*.wav")) if file.parent.name in CLASSES]
    columns = {"audio": [{"bytes": None, "path": str(file)} for file in files]}
    columns["label"] = [CLASSES.index(file.parent.name) for file in files]
    return Dataset.from_dict(columns).cast_column("audio", Audio(decode=False)).shuffle(seed=0)


@pytest.mark.parametrize("kind", [*CHECKPOINTS, *(f"{name} alone" for name in FAMILIES), "mini"])
def test_its_classification_task_runs(kind, mteb, command, rows, tmp_path, says):
    if kind in CHECKPOINTS:
        save_small_model(tmp_path / "model", kind.split()[0], window_s=0.4, **CHECKPOINTS[kind])
    elif kind != "mini":
        FAMILIES[kind.split()[0]].make().save_pretrained(tmp_path / "model")
    model = MtebEncoder("mini" if kind == "mini" else str(tmp_path / "model"), device="cpu")
    assert isinstance(model, mteb.EncoderProtocol)
    settings = {"batch_size": 4, "show_progress_bar": False}
    result = mteb.evaluate(model, command.local_task(rows), cache=None, encode_kwargs=settings)
    assert result.model_name == model.mteb_model_meta.name
    assert 0 <= result.task_results[0].get_score() <= 1
    says("mteb", "kinds of model and codec run in its audio classification task")


def test_results_are_filed_under_the_weights(tmp_path):
    folders = [
        save_small_model(tmp_path / name / "model", "log_mel", window_s=w) for name, w in (("a", 0.4), ("b", 0.4))
    ]
    other = save_small_model(tmp_path / "c" / "model", "log_mel", window_s=0.4, hop_length=64)
    one, same, different = (MtebEncoder(str(each)).mteb_model_meta for each in (*folders, other))
    assert one.name == same.name == different.name == "hf_encls/model"
    assert one.revision == same.revision != different.revision


def test_what_is_no_sound_is_refused(tmp_path):
    model = MtebEncoder()
    with pytest.raises(ValueError, match="expected inputs with audio, found text"):
        model.encode([{"text": ["a"]}])
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"broken\.wav"):
        model.encode([{"audio": [{"bytes": None, "path": str(tmp_path / "broken.wav")}]}])


def test_its_wrapper_has_the_same_means_and_padding_turns_them(command, folder, tmp_path, monkeypatch, says):
    rows = command.sounds(folder, 24_000, cut_silence=False)
    wrapped = command.wrappers("mini", tmp_path / "codec")["alone"]
    theirs = wrapped.get_audio_embeddings(command.loader(rows), show_progress_bar=False)
    ours = MtebEncoder().encode(command.loader(rows), show_progress_bar=False)[:, : theirs.shape[1]]
    np.testing.assert_allclose(ours / np.linalg.norm(ours, axis=1, keepdims=True), theirs, atol=1e-5)
    says("mteb", "clips whose mean of latents is that of its own `EncodecWrapper`", len(rows))
    monkeypatch.setattr(
        "sys.argv", ["mteb_padding.py", str(folder), "--codecs", "mini", "--output", str(tmp_path / "o")]
    )
    assert command.main() == 0
    found = json.loads((tmp_path / "o").read_text())["mini"]
    assert found["turned"]["mean"] > 0.01 and set(found) == {*command.POOLINGS, "turned"}
