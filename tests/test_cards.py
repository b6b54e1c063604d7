"""Cards say what the JSON says, and nothing else; the lines of code on them work."""

import json
import random
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from hub_server import USER
from huggingface_hub import DatasetCardData, HfApi, ModelCard, constants

from hf_encls import EnclsConfig, EnclsFeatureExtractor, EnclsForAudioClassification
from hf_encls.codec.facts import CodecFacts, with_licence
from hf_encls.codec.loading import ASSETS, codec_facts, load_codec
from hf_encls.data.esc50 import ESC10
from hf_encls.data.facts import copy_text
from hf_encls.files import checkpoints
from hf_encls.model.identity_encls import codec_hash
from hf_encls.report.cards import (
    TEMPLATES,
    eval_results,
    leak_text,
    model_card,
    write_model_card,
)
from hf_encls.report.codec_texts import codec_warning, has_heard
from hf_encls.report.dataset_cards import DataSource, dataset_card
from hf_encls.report.run_report import title, usage
from hf_encls.training.results import Results, over_folds

CONFIG = {
    "features": "encodec_24khz",
    "sampling_rate": 24_000,
    "window_s": 1.0,
    "step_s": 0.5,
    "standardization": "band",
    "codec_config": {"num_filters": 32},
}


def results_with(seed: int = 0, **changes) -> Results:
    draw = random.Random(seed)

    def scores() -> dict:
        return {name: round(draw.random(), 4) for name in ("accuracy", "loss", "macro_f1")}

    def split() -> dict:
        parts = {name: scores() for name in ("window", "window_without_silence", "clip")}
        counts = {
            name: draw.randrange(1000, 9999) for name in ("num_windows", "num_windows_without_silence", "num_clips")
        }
        return parts | counts

    codec = {"id": "facebook/encodec_24khz", "revision": "abc", "hash": "0123456789abcdef", "policy": "whole"}
    values = {
        "dataset": "ESC-10",
        "features": "encodec_24khz",
        "protocol": "clip",
        "fold": None,
        "seed": draw.randrange(100, 999),
        "codec": codec,
        "classes": ["dog", "rain"],
        "leak": {"test_windows": 399, "clip_leaks": 0, "group_leaks": 0},
        **{name: split() for name in ("train", "validation", "test")},
        "per_class": [
            {"class": name, "support": draw.randrange(100, 999)}
            | {key: round(draw.random(), 4) for key in ("precision", "recall", "f1")}
            for name in ("dog", "rain")
        ],
        "epochs": draw.randrange(100, 999),
        "best_epoch": draw.randrange(10, 99),
        "times_s": {"training": round(1000 * draw.random(), 1)},
        "versions": {"torch": "2.13.0"},
        "command": ["scripts/train.py", "--seed", "7"],
    } | changes
    return Results.from_dict(values)


def card_of(results: Results, **changes) -> ModelCard:
    return model_card(results, CONFIG | changes, name="a-model", model="user/a-model")


def numbers_in(value: object) -> set[str]:
    """All numbers of nested JSON as a card may write them."""
    if isinstance(value, dict):
        return set().union(*(numbers_in(item) | numbers_in(key) for key, item in value.items()))
    if isinstance(value, list):
        return set().union(*map(numbers_in, value))
    if isinstance(value, str):
        return set(re.findall(r"\d+(?:\.\d+)?", value))
    if isinstance(value, bool) or value is None:
        return set()
    return {str(value), f"{value:,}", f"{value:g}", f"{value:.3f}", f"{value:.1f}"}


@pytest.mark.parametrize("seed", [0, 1])
def test_every_number_comes_from_the_json(seed):
    results = results_with(seed)
    card = card_of(results)
    template = (TEMPLATES / "model_card.md").read_text()
    fixed = numbers_in(re.sub(r"{{.*?}}|{%.*?%}", "", template))
    known = (
        numbers_in(results.as_dict())
        | numbers_in(CONFIG)
        | fixed
        | {"1", "2", str(len(results.classes)), "2.0", "apache-2.0"}
    )
    body = card.text.split("## Citation")[0]
    unknown = {number for number in re.findall(r"\d[\d,]*(?:\.\d+)?", body) if number.rstrip(",") not in known}
    assert not unknown
    for key in ("window", "window_without_silence", "clip"):
        assert f"{getattr(results.test, key).accuracy:.3f}" in body
    assert not re.findall(r"\d\.\d{2,}", re.sub(r"{{.*?}}", "", template.split("## Citation")[0]))


def test_protocol_leak_and_codec_stand_beside_every_score():
    results = results_with(protocol="paper", leak={"test_windows": 399, "clip_leaks": 366, "group_leaks": 370})
    card = card_of(results)
    rows = [
        line for line in card.text.splitlines() if re.match(r"\| (windows|whole clips).*(accuracy|macro F1)", line)
    ]
    assert len(rows) == 6
    for row in rows:
        assert "| paper |" in row and "366 of 399 (370 by recording)" in row and "facebook/encodec_24khz" in row
    for result in card.data.eval_results:
        assert result.dataset_config == "paper"
        assert "paper" in result.metric_name and "366 of 399" in result.metric_name and "encodec" in result.metric_name
    assert "It leaks" in card.text


def test_a_partial_copy_is_named_wherever_its_scores_are():
    whole, old = results_with(clips=400, expected_clips=400), results_with()
    results = results_with(clips=200, expected_clips=400, dataset_id="somebody/esc10")
    card = card_of(results)
    assert (
        "Trained on\nESC-10 (200 of 400 clips) with" in card.text
        and "measured on ESC-10 (200 of 400 clips)" in card.text
    )
    assert {entry.dataset_name for entry in card.data.eval_results} == {"ESC-10 (200 of 400 clips)"}
    assert all("ESC-10 (200 of 400 clips)" in text for text in eval_results(results).values())
    assert title(results).startswith("ESC-10 (200 of 400 clips), ")
    assert "ESC-10 (200 of 400 clips)" in usage(replace(results, sampling_rate=24_000), Path("model"), None)
    assert over_folds({1: results, 2: results}).dataset_text == "ESC-10 (200 of 400 clips)"
    for other in (whole, old):  # results of earlier versions do not say how many clips there were
        assert str(card_of(other)) == str(card_of(old)) and title(other).startswith("ESC-10, ")
    assert copy_text("ESC-10", 401, 400) == "ESC-10 (401 clips in place of 400)"


def test_model_index_and_eval_results_hold_the_same_values():
    results = results_with(protocol="official", fold=3, dataset="ESC-50", dataset_id="somebody/esc50")
    data = yaml.safe_load(card_of(results).content.split("---")[1])
    metrics = data["model-index"][0]["results"][0]["metrics"]
    by_name = {metric["name"].split(" (")[0]: metric["value"] for metric in metrics}
    test = results.test
    assert by_name["clip accuracy"] == test.clip.accuracy
    assert by_name["window accuracy without silence"] == test.window_without_silence.accuracy
    assert by_name["window macro F1"] == test.window.macro_f1
    assert data["model-index"][0]["results"][0]["dataset"]["config"] == "official, fold 3"

    ((name, content),) = eval_results(results).items()
    assert name == "esc-50.yaml"
    entries = {entry["dataset"]["task_id"]: entry for entry in yaml.safe_load(content)}
    assert entries["official-fold-3_clip_accuracy"]["value"] == test.clip.accuracy
    assert all("official, fold 3" in entry["notes"] and "0 of 399" in entry["notes"] for entry in entries.values())


def test_a_data_set_is_called_by_its_id_on_the_hub_or_by_none():
    here = results_with(dataset="My sounds")
    assert {entry.dataset_type for entry in card_of(here).data.eval_results} == {"audiofolder"}
    assert card_of(here).data.datasets is None and eval_results(here) == {}
    there = results_with(dataset="My sounds", dataset_id="me/my-sounds")
    assert {entry.dataset_type for entry in card_of(there).data.eval_results} == {"me/my-sounds"}
    assert card_of(there).data.datasets == ["me/my-sounds"]
    (content,) = eval_results(there).values()
    assert {entry["dataset"]["id"] for entry in yaml.safe_load(content)} == {"me/my-sounds"}


def test_rows_are_in_words():
    card = card_of(results_with(standardization="band"), codec_dtype="float32").text
    assert "| whole clips with the right label (accuracy) |" in card
    assert "| windows of 1 s with the right label (accuracy) |" in card
    for word in ("codec policy", "codec dtype", "standardisation", "best epoch", "| window and step"):
        assert word not in card
    assert "how a clip goes through the codec" in card and "each band by the mean and deviation" in card


def test_a_codec_that_heard_the_test_clips_is_named_beside_the_scores():
    mini = CodecFacts(id="mini", hash="f" * 64, policy="whole", trained_on=["ESC-10", "synthetic sounds"])
    assert has_heard(mini, "ESC-10") and has_heard(mini, "ESC-50")
    assert has_heard(replace(mini, trained_on="esc10"), "ESC-10") and not has_heard(mini, "GTZAN")
    assert not has_heard(CodecFacts(id="mini"), "ESC-10") and not has_heard(None, "ESC-10")
    results = results_with(codec=mini.as_dict(), dataset_id="somebody/esc10")
    card = card_of(results)
    assert card.text.count("mini (heard the test clips)") == 6
    assert "itself trained on ESC-10" in card.text
    assert "heard the test clips" in card.data.eval_results[0].metric_name
    (content,) = eval_results(results).values()
    assert all("itself trained on ESC-10" in entry["notes"] for entry in yaml.safe_load(content))


def test_an_untrained_codec_is_called_untrained_and_none_is_none():
    untrained = results_with(codec={"id": "untrained", "untrained": True, "policy": "whole"})
    assert "**untrained**" in codec_warning(untrained.codec, "ESC-10") and "**untrained**" in card_of(untrained).text
    assert card_of(untrained).data.license == "apache-2.0"

    mel = card_of(results_with(codec=None, features="log_mel"), features="log_mel", hop_length=128)
    assert "No codec is involved" in mel.text and "128 samples" in mel.text
    assert mel.data.base_model is None

    real = card_of(results_with())
    assert real.data.base_model == "facebook/encodec_24khz" and real.data.license == "other"
    assert "under that codec's own licence" in real.text


@pytest.mark.parametrize(
    ("trained_on", "dataset", "heard"),
    [
        (["ESC-10", "generated sounds"], "sounds", False),
        (["ESC-10", "generated sounds"], "ESC-50-master", True),
        (["ESC-10", "generated sounds"], "звуки", False),
        (["звуки"], "Звуки", True),
        (["!!!"], "???", False),
        (["ESC-10", ""], "", False),
        (["genres"], "GTZAN genres", True),
        (["GTZAN genres"], "genres_original", True),
        (["music_speech"], "GTZAN music/speech", True),
        (["GTZAN genres"], "GTZAN music/speech", False),
        ("esc10; my sounds", "my sounds", True),
        ("synthetic sounds", "synthetic_sounds", True),
        ("ESC-50 and AudioSet", "ESC-50", True),
        ("ESC-50 folds 1-4", "ESC-10", True),
        ("ESC-10", "esc50_24k", True),
        ("AudioSet", "esc50_24k", False),
        ("esc500", "ESC-50", False),
        ("all of GTZAN, resampled", "GTZAN genres", True),
        ("GTZAN music/speech at 24 kHz", "GTZAN genres", False),
        ("many genres of music", "GTZAN genres", False),
        ("music, speech and noise", "GTZAN music/speech", False),
        (["music speech and noise"], "GTZAN music/speech", False),
    ],
)
def test_names_tell_what_a_codec_has_heard(trained_on, dataset, heard):
    assert has_heard(CodecFacts(id="c", trained_on=trained_on), dataset) is heard


def test_licences_of_the_codec_inside():
    local = {"id": "encodec_24khz", "hash": "f" * 64}
    unknown = card_of(results_with(codec=local))
    assert (unknown.data.license, unknown.data.license_name) == ("other", "apache-2.0-and-unknown")
    assert "whose licence is not stated" in unknown.text
    told = card_of(results_with(codec=local | {"license": "cc-by-4.0", "attribution": "Sounds by Somebody."}))
    assert (told.data.license, told.data.license_name) == ("other", "apache-2.0-and-cc-by-4.0")
    assert "under cc-by-4.0. Sounds by Somebody." in told.text
    assert "codec attribution" not in told.text


def test_the_bundled_codec_brings_its_licence_and_its_attribution(tmp_path):
    facts = json.loads((ASSETS / "mini" / "codec_training.json").read_text())
    mini = {"id": "mini", "hash": facts["hash"], "trained_on": facts["trained_on"]}
    card = card_of(results_with(codec=mini))
    assert card.data.license_name == "apache-2.0-and-cc-by-3.0" and "233 CC0, 165 CC BY" in card.text
    other = card_of(results_with(codec=mini | {"hash": "f" * 64}))  # a folder that is called the same
    assert other.data.license_name == "apache-2.0-and-unknown"

    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "results.json").write_text(json.dumps(results_with(codec=mini).as_dict()))
    write_model_card(tmp_path)
    assert "freesound.org" in (tmp_path / "ATTRIBUTION.md").read_text()
    (tmp_path / "results.json").write_text(json.dumps(results_with().as_dict()))
    write_model_card(tmp_path)
    assert not (tmp_path / "ATTRIBUTION.md").exists()


def test_the_mix_of_licences_is_counted_and_the_hash_is_that_of_the_weights():
    rows = re.findall(r"\((CC[^()]*)\), http", (ASSETS / "mini" / "ATTRIBUTION.md").read_text())
    assert {name: rows.count(name) for name in rows} == {"CC0": 233, "CC-BY": 165, "CC-Sampling+": 2}
    facts = json.loads((ASSETS / "mini" / "codec_training.json").read_text())
    said = "233 CC0, 165 CC BY, 2 CC Sampling+"
    assert said in facts["attribution"] and said in (ASSETS / "mini" / "README.md").read_text()
    assert facts["license"] == "cc-by-3.0" and facts["hash"] == codec_hash(load_codec("mini"))
    script = (ASSETS.parents[2] / "scripts" / "runs" / "mini_codec.sh").read_text()
    assert facts["attribution"] in script.replace("\\\n", "")


def test_a_model_without_its_codec_does_not_claim_to_hold_it():
    card = card_of(results_with(holds_codec=False), codec_config=None)
    assert card.data.license == "apache-2.0" and "also holds" not in card.text
    assert "does **not** hold its codec" in card.text and "input_features=windows" in card.text
    assert 'pipeline("audio' not in card.text
    assert 'pipeline("audio' in card_of(results_with()).text
    assert 'pipeline("audio' in card_of(results_with(holds_codec=False)).text  # it was put in after the training
    mel = card_of(results_with(codec=None, features="log_mel"), features="log_mel", hop_length=128, codec_config=None)
    assert 'pipeline("audio' in mel.text


def test_a_data_set_says_the_family_and_the_licence_of_each_codec():
    def made(features: str, codec_id: str, **codec) -> dict:
        config = {"features": features, "sampling_rate": 16_000, "window_s": 1.0, "step_s": 1.0, "codec_id": codec_id}
        counts = {"class_counts": [], "num_windows": 9, "num_clips": 9, "leaks": [], "versions": {}, "picture": False}
        source = {"source": "sounds", "about_source": asdict(DataSource("sounds"))}
        more = {"config_name": features, "shape": [8, 50], "dtype": "float16"}
        return counts | source | more | {"config": config | {"codec_hash": "f" * 64}, "codec": codec}

    rows = [made("dac_16khz", "my_dac", license="mit"), made("mimi_16khz_codes", "my_mimi")]
    rows += [made("encodec_24khz", "mini", license="cc-by-3.0"), made("encodec_16khz", "untrained", untrained=True)]
    card = dataset_card("user/sounds", rows, DatasetCardData())
    assert "the codec's own licence (`my_dac`: mit, `my_mimi`: unknown here)" in " ".join(card.text.split())
    assert all(f"16 kHz {family} encoder" in card.text for family in ("DAC", "Mimi", "EnCodec"))


def test_strangers_are_not_sent_to_a_name_that_is_not_ours():
    assert not [path.name for path in TEMPLATES.iterdir() if "pip install hf_encls" in path.read_text()]


def test_the_cards_in_the_repository_are_as_the_template_makes_them():
    cards = set((Path(__file__).parents[1] / "model_cards").glob("*.md"))
    cards = {path for path in cards if path.name != "README.md"}
    assert cards
    template = (TEMPLATES / "model_card.md").read_text()
    for path in cards:
        text = path.read_text()
        assert ModelCard(text).data.eval_results and not re.search(r"/(home|tmp|root|work|Users)/", text)
        assert all(head in text for head in re.findall(r"^## .*", template, re.MULTILINE) if head != "## Examples"), (
            path
        )


def test_scores_of_an_earlier_run_do_not_stay(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    for dataset in ("ESC-10", "Other sounds"):
        (tmp_path / "results.json").write_text(json.dumps(results_with(dataset=dataset, dataset_id="me/x").as_dict()))
        write_model_card(tmp_path)
    assert [path.name for path in (tmp_path / ".eval_results").iterdir()] == ["other-sounds.yaml"]


def test_what_was_not_measured_is_not_invented():
    results = results_with(leak=None, per_class=[], command=[], versions={}, times_s={})
    results.test.window_without_silence = results.test.num_windows_without_silence = None
    results.test.clip.macro_f1 = None
    card = card_of(results)
    assert leak_text(results) == "not measured"
    assert "without silence" not in card.text.split("All parts")[0]
    assert "clip macro F1" not in card.text
    results.test.window_without_silence = results.test.window
    results.test.num_windows_without_silence = results.test.num_windows
    assert "without silence" not in card_of(results).text.split("All parts")[0]  # nothing is silent: said once


def test_dataset_card_says_what_its_facts_say():
    config = {"features": "encodec_24khz", "sampling_rate": 24_000, "window_s": 1.0, "step_s": 1.0, "codec_id": "mini"}
    facts = {
        "config_name": "encodec_24khz",
        "config": config | {"codec_hash": "f" * 64, "codec_policy": "whole", "codec_dtype": "float32"},
        "codec": {"trained_on": ["ESC-10"]},
        "shape": [128, 75],
        "dtype": "float16",
        "class_counts": [{"class": "dog", "windows": 1234, "clips": 56}],
        "num_windows": 1234,
        "num_clips": 56,
        "leaks": [{"protocol": "paper", "test_windows": 246, "clip_leaks": 199, "group_leaks": 201}],
        "source": "ESC-10",
        "about_source": asdict(DataSource.of(ESC10, "unused")),
        "picture": True,
        "versions": {"torch": "2.13.0"},
    }
    other = facts | {
        "config_name": "log_mel",
        "codec": {},
        "config": config | {"features": "log_mel", "codec_id": None},
    }
    card = dataset_card("user/sounds", [facts, other], DatasetCardData())
    assert "mini (heard these clips)" in card.text and "| 56 | none |" in card.text
    for words in (
        "| dog | 1234 | 56 |",
        "`encodec_24khz` | paper | 246 | 199 | 201",
        "CC BY 3.0",
        "128 x 75 float16",
        "Piczak",
    ):
        assert words in card.text, words
    # 56 clips are not all of ESC-10.
    assert card.data.pretty_name == "Audio features of ESC-10 (56 of 400 clips)"
    assert "features of ESC-10 (56 of 400 clips), ready" in card.text
    told = facts | {
        "about_source": asdict(DataSource.of(ESC10, "unused")) | {"expected_clips": None},
        "config_name": "old",
    }
    told["about_source"].pop("expected_clips")
    assert "of 400" not in dataset_card("user/sounds", [told], DatasetCardData()).text
    both = dataset_card("user/sounds", [facts, told], DatasetCardData()).text
    assert both.count("CC BY 3.0") == card.text.count("CC BY 3.0")  # one source
    assert card.data.license == ESC10.licence_id and card.data.size_categories == ["1K<n<10K"]
    assert DataSource.of(None, "my sounds").licence_id == "unknown"


def test_missing_results_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"results\.json"):
        write_model_card(tmp_path)


@pytest.mark.slow
def test_the_lines_of_the_card_work(tmp_path):
    folder = tmp_path / "model"
    config = EnclsConfig(features="log_mel", sampling_rate=8000, window_s=0.5, num_bands=32, n_fft=256)
    EnclsForAudioClassification(config).save_pretrained(folder)
    EnclsFeatureExtractor(sampling_rate=8000).save_pretrained(folder)
    (folder / "results.json").write_text(json.dumps(results_with(codec=None, features="log_mel").as_dict()))
    blocks = re.findall(r"```python\n(.*?)```", write_model_card(folder).read_text(), flags=re.DOTALL)
    soundfile.write(tmp_path / "sound.wav", 0.1 * np.random.default_rng(0).standard_normal((9000, 2)), 11_025)
    assert len(blocks) == 2
    assert len(blocks[1].strip().splitlines()) == 3
    root = str(Path(__file__).parents[1])
    for block, path in ((blocks[0], []), (blocks[1], [root])):  # without the package, and with it
        code = f"import sys; sys.path[:0] = {path!r}\n{block}"
        run = subprocess.run(
            [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": ""},
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert "LABEL_0" in run.stdout


def test_a_licence_is_what_the_codecs_own_card_states(tmp_path):
    def stated(page: str | None) -> str | None:
        (tmp_path / "README.md").unlink(missing_ok=True)
        if page is not None:
            (tmp_path / "README.md").write_text(page)
        return codec_facts(tmp_path).license

    assert stated("---\nlicense: cc-by-nc-4.0\ntags: [x]\n---\n# A codec\n") == "cc-by-nc-4.0"
    assert stated("---\nlicense: other\nlicense_name: my-terms\n---\n") == "my-terms"
    for page in (
        None,
        "# license: mit\n",
        "---\ntags: [x]\n---\n",
        "---\nlicense: [\n---\n",
        "---\nlicense: unknown\n---\n",
    ):
        assert stated(page) is None
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "codec_training.json").write_text(json.dumps({"license": "cc-by-3.0"}))
    assert codec_facts(tmp_path).license == "cc-by-3.0"  # of those who trained it
    card = card_of(results_with(codec={"id": "codec", "hash": "f" * 64, "license": "My Terms, 2\n# x"}))
    assert card.data.license_name == "apache-2.0-and-my-terms-2-x" and "\n# x" not in card.text


def test_the_hub_is_asked_for_a_licence_at_run_time(hub, monkeypatch):
    monkeypatch.setattr(checkpoints, "ANSWER_S", 30.0)  # of a busy machine
    api, page = HfApi(), b"---\nlicense: cc-by-nc-4.0\n---\n# EnCodec\n"
    for name, files in (("codec", {"README.md": page, "config.json": b"{}"}), ("silent", {"config.json": b"{}"})):
        api.create_repo(f"{USER}/{name}")
        for file, content in files.items():
            api.upload_file(path_or_fileobj=content, path_in_repo=file, repo_id=f"{USER}/{name}")
    facts = with_licence(CodecFacts(id=f"{USER}/codec"))
    assert facts.license == "cc-by-nc-4.0"
    assert with_licence(CodecFacts(id=f"{USER}/silent")).license is None  # it has no card
    assert with_licence(CodecFacts(id=f"{USER}/nobody")).license is None
    real = card_of(results_with(codec=facts.as_dict()))
    assert real.data.license_name == "apache-2.0-and-cc-by-nc-4.0" and "under cc-by-nc-4.0" in real.text
    assert real.data.license_link == f"https://huggingface.co/{USER}/codec"
    asked = len(hub.requests)
    for known in ({"license": "mit"}, {"untrained": True}):
        assert with_licence(CodecFacts(id=f"{USER}/codec", **known)) == CodecFacts(id=f"{USER}/codec", **known)
    assert with_licence(CodecFacts(id="a_folder")).license is None
    assert len(hub.requests) == asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert with_licence(CodecFacts(id=f"{USER}/codec")).license == "cc-by-nc-4.0"  # of the copy in the cache
    assert with_licence(CodecFacts(id=f"{USER}/silent")).license is None


def test_a_card_says_which_latents_were_drawn_to_a_spectrum():
    facts = codec_facts("mini")
    assert facts.anchored_latents == 64 and facts.of_training()["anchored_latents"] == 64
    card = card_of(results_with(codec={"id": "mini", "anchored_latents": 64}))
    assert "64 of its latents drawn to a log-mel spectrum while it trained" in card.text
