"""A checkpoint outlives what transformers is about to remove: its scores are the same to the bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_models import save_small_model

from hf_encls import EnclsFeatureExtractor

pytestmark = pytest.mark.slow  # an interpreter for each
HERE = Path(__file__).parent
CODE = """
import json, sys
import coming_transformers
import transformers
if sys.argv[1] != "today":
    coming_transformers.install(shim=sys.argv[1] == "shim")
remote = sys.argv[2] == "remote"
if remote:
    sys.modules["hf_encls"] = None  # not installed there
else:
    import hf_encls
import numpy as np
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline
found = {}
for folder in sys.argv[3:]:
    options = {"trust_remote_code": True} if remote else {}
    extractor = AutoFeatureExtractor.from_pretrained(folder, **options)
    model = AutoModelForAudioClassification.from_pretrained(folder, **options).eval()
    rate = extractor.sampling_rate
    clip = np.random.default_rng(0).normal(0, 0.1, 2 * rate).astype(np.float32)
    batch = extractor([clip, clip[: rate // 3]], sampling_rate=rate, return_tensors="pt")
    pipe = pipeline("audio-classification", model=model, feature_extractor=extractor, top_k=None)
    found[folder] = [model(**batch).logits.tolist(), [[row["label"], row["score"]] for row in pipe(clip)]]
    extractor.save_pretrained(folder + "_again")
print(json.dumps(found))
"""


def scores(version: str, code: str, folders: list[Path]) -> dict:
    """Folder -> logits of a padded batch, and what the stock pipeline says of one clip, in a process of its own."""
    command = [sys.executable, "-c", CODE, version, code, *map(str, folders)]
    path = {"PYTHONPATH": str(HERE) + (f":{HERE.parent}" if code == "installed" else "")}
    run = subprocess.run(command, capture_output=True, text=True, env=_environment(path, folders[0].parent))
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def _environment(more: dict[str, str], home: Path) -> dict[str, str]:
    keep = {"PATH": os.environ["PATH"], "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return keep | more


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """A checkpoint of each kind of features, made today."""
    place = tmp_path_factory.mktemp("made")
    return [save_small_model(place / name, name) for name in ("log_mel", "mel", "encodec_24khz")]


@pytest.fixture(scope="module")
def today(folders) -> dict:
    return scores("today", "installed", folders)


@pytest.mark.parametrize("version", ["shim", "gone"])
@pytest.mark.parametrize("code", ["installed", "remote"])
def test_a_checkpoint_of_today_gives_the_same_scores(version, code, folders, today):
    found = scores(version, code, folders)
    assert found == today and len(found) == 3
    for folder in folders:
        again = EnclsFeatureExtractor.from_pretrained(f"{folder}_again")  # saved there, read by this version
        assert again.to_dict().items() >= EnclsFeatureExtractor.from_pretrained(folder).to_dict().items()
