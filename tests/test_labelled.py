"""Recordings with time-aligned labels: which label a window gets, what is refused, and training on them."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hub_server import USER
from small_models import save_small_model

from hf_encls.commands.cli import main as cli
from hf_encls.commands.extract_features import main as extract
from hf_encls.commands.publish import main as publish
from hf_encls.commands.train import main as train
from hf_encls.data.labelled import TimeLabels, scan_recordings, window_labels
from hf_encls.data.splits import leak_check, make_splits
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.timelines.formats import EXTENSIONS, FORMATS, render

RATE = 8_000
PITCHES = {"low": 200, "mid": 700, "high": 2500}


def write_recordings(folder: Path, count: int = 9, turns: int = 8, seed: int = 0) -> dict[str, list[dict]]:
    """Recordings of tones in turn, with gaps of noise: what sounds when in each, by its path below `folder`."""
    rng = np.random.default_rng(seed)
    truth = {}
    for number in range(count):
        pieces, segments, at = [], [], 0.0
        for turn in range(turns):
            label = [*PITCHES, None][(turn + number) % 4]
            seconds = round(float(rng.uniform(0.5, 1.2)), 3)
            time = np.arange(round(seconds * RATE)) / RATE
            tone = 0.3 * np.sin(2 * np.pi * PITCHES[label] * rng.uniform(0.95, 1.05) * time) if label else 0 * time
            pieces.append(tone + rng.standard_normal(len(time)) * 0.02)
            if label:
                segments.append({"start": at, "end": round(at + seconds, 3), "label": label, "score": 1.0})
            at = round(at + seconds, 3)
        name = f"day{number % 2}/{number}.wav"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.concatenate(pieces), RATE)
        truth[name] = segments
    return truth


def write_labels(folder: Path, truth: dict[str, list[dict]], format: str = "audacity") -> Path:
    for name, segments in truth.items():
        path = (folder / name).with_suffix(EXTENSIONS[format])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(segments, format, name=Path(name).name), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> tuple[Path, Path, dict]:
    folder = tmp_path_factory.mktemp("recordings")
    truth = write_recordings(folder / "audio")
    return folder / "audio", write_labels(folder / "labels", truth), truth


def row(segments, duration_s=4.0, min_overlap=0.5, label=-1) -> dict:
    named = [dict(zip(("start", "end", "label"), each, strict=True)) for each in segments]
    return {"segments": named, "duration_s": duration_s, "min_overlap": min_overlap, "label": label}


def test_the_rule_by_hand():
    starts = np.arange(4.0)
    cases = [
        ([(0, 1, 1), (1, 1.5, 0), (2, 2.49, 0)], {}, [1, 0, -1, -1]),
        ([(0, 1, 1), (1, 1.5, 0), (2, 2.49, 0)], {"label": 2}, [1, 0, 2, 2]),
        ([(0, 0.5, 1), (0.5, 1, 0), (1, 1.6, 1), (1.0, 1.7, 0)], {}, [0, 0, -1, -1]),
        ([(0, 0.3, 1), (0.2, 0.4, 1), (0.25, 0.35, 1)], {}, [-1] * 4),  # what overlaps itself counts once
        ([(0, 0.3, 1), (0.3, 0.5, 1)], {}, [1, -1, -1, -1]),
        ([(0, 1, 1)], {"min_overlap": 1.0}, [1, -1, -1, -1]),
        ([(3, 3.2, 1)], {"duration_s": 3.3}, [-1, -1, -1, 1]),  # of the last window 0.3 s are there
        ([], {}, [-1] * 4),
    ]
    for segments, settings, expected in cases:
        assert window_labels(row(segments, **settings), starts, 1.0, 3).tolist() == expected, segments


def test_windows_have_the_label_that_sounds(recordings):
    audio, labels, truth = recordings
    clips, report = scan_recordings(audio, labels)
    assert report.used == 9 and not report.left_out and not report.warnings
    assert clips.features["label"].names == sorted(PITCHES)
    config = feature_config("log_mel", clips, window_s=0.25, n_fft=512)
    windows = extract_features(clips, config, cache_dir=audio.parent / "cache")
    found, durations = set(), dict(zip(clips["clip_id"][:], clips["duration_s"][:]))
    for clip, start, label in zip(windows["clip_id"], windows["start"], windows["label"]):
        name = clips.features["label"].int2str(label)
        inside = [min(s["end"], start + 0.25) - max(s["start"], start) for s in truth[clip] if s["label"] == name]
        length = min(0.25, durations[clip] - start)  # the last window is completed by its mirror image
        assert max(inside) >= length / 2 - 1e-4
        found.add(name)
    assert found == set(PITCHES)
    total = sum(s["end"] - s["start"] for each in truth.values() for s in each)
    assert abs(len(windows) * 0.25 - total) < 0.15 * total
    # Without a label they may be a class; and another rule is another set of features, not a cached one.
    everything, _ = scan_recordings(audio, TimeLabels(str(labels), unlabelled="nothing"))
    assert everything.features["label"].names == ["high", "low", "mid", "nothing"]
    more = extract_features(everything, config, cache_dir=audio.parent / "cache")
    assert len(more) > len(windows)
    strict, _ = scan_recordings(audio, TimeLabels(str(labels), min_overlap=1.0))
    assert len(extract_features(strict, config, cache_dir=audio.parent / "cache")) < len(windows)


@pytest.mark.parametrize("format", FORMATS)
def test_what_segment_says_reads_back_as_the_same_windows(format, tmp_path):
    """Every window of a recording gets the label that the model gave it, by way of a file of each format."""
    rng = np.random.default_rng(3)
    (tmp_path / "audio").mkdir()
    for name, seconds in (("one", 5.13), ("two", 3.0)):
        sound = np.concatenate(
            [rng.standard_normal(800) * level for level in rng.uniform(0, 0.4, round(seconds * 10))]
        )
        soundfile.write(tmp_path / "audio" / f"{name}.wav", sound[: round(seconds * RATE)], RATE)
    from hf_encls.inference.pipeline import EnclsPipeline
    from hf_encls.model.configuration_encls import FeatureConfig

    save_small_model(tmp_path / "model", "log_mel", window_s=0.25)
    pipe, said = EnclsPipeline.from_pretrained(tmp_path / "model"), {}
    for path in sorted((tmp_path / "audio").glob("*.wav")):
        analysis = pipe.analyse(path)
        # One window after the other changes its label, so that nothing is the same by accident.
        analysis.as_trained = rng.dirichlet(np.ones(3), len(analysis.as_trained)).astype(np.float32)
        said[path.name] = [analysis.labels[i] for i in analysis.probabilities.argmax(axis=1)]
        text = render(analysis.timeline(), format, name=path.name, duration_s=analysis.duration_s)
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / path.with_suffix(EXTENSIONS[format]).name).write_text(text, encoding="utf-8")
    clips, report = scan_recordings(tmp_path / "audio", tmp_path / "labels")
    assert not report.warnings
    windows = extract_features(clips, FeatureConfig.of(pipe.model.config), cache_dir=tmp_path / "cache")
    names = np.array(windows.features["label"].names)[windows["label"][:]]
    for clip, labels in said.items():
        assert names[np.asarray(windows["clip_id"][:]) == clip].tolist() == labels


def test_labels_are_found_by_name_by_column_and_by_pattern(recordings, tmp_path):
    audio, labels, truth = recordings
    wanted = scan_recordings(audio, labels)[0]["segments"][:]
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in truth:
        text = (labels / name).with_suffix(".txt").read_text()
        (flat / f"{Path(name).stem}.wav.labels.txt").write_text(text)
    assert scan_recordings(audio, flat)[0]["segments"][:] == wanted
    assert scan_recordings(audio, f"{flat}/*.txt")[0]["segments"][:] == wanted
    rows = [f"{name},{s['start']},{s['end']},{s['label']}" for name, each in truth.items() for s in each]
    (tmp_path / "all.csv").write_text("\n".join(["recording,start,end,label", *rows]))
    assert scan_recordings(audio, tmp_path / "all.csv")[0]["segments"][:] == wanted
    rttm = "".join(render(each, "rttm", name=Path(name).name) for name, each in truth.items())
    (tmp_path / "all.rttm").write_text(rttm)
    assert scan_recordings(audio, tmp_path / "all.rttm")[0]["segments"][:] == wanted


def test_what_has_no_labels_is_left_out_and_strays_are_named(recordings, tmp_path):
    audio, _, truth = recordings
    some = dict(list(truth.items())[:4])
    labels = write_labels(tmp_path / "labels", some)
    (labels / "elsewhere.txt").write_text("0\t1\tlow\n")
    (labels / "day0/0.txt").write_text("0\t1\tlow\n500\t501\tlow\n0.5\t0.5\tmid\n")
    clips, report = scan_recordings(audio, labels)
    assert len(clips) == 4 and len(report.left_out) == 5
    assert {each["kind"] for each in report.left_out} == {"unlabelled"}
    assert any("elsewhere.txt" in each for each in report.warnings)
    assert any("begin after the end" in each and "day0/0.wav (1)" in each for each in report.warnings)
    assert any("1 labels are points" in each for each in report.warnings)
    with pytest.raises(ValueError, match="strict.*and 5 files"):
        scan_recordings(audio, labels, strict=True)


def test_splits_keep_a_recording_on_one_side(recordings):
    audio, labels, _ = recordings
    clips, _ = scan_recordings(audio, labels)
    config = feature_config("log_mel", clips, window_s=0.25, n_fft=512)
    windows = extract_features(clips, config, cache_dir=audio.parent / "cache")
    for seed in range(5):
        splits = make_splits(windows, "clip", seed=seed)
        assert leak_check(windows, splits).clip_leaks == 0
        clip_ids, names = np.asarray(windows["clip_id"][:]), np.asarray(windows["label"][:])
        parts = [set(clip_ids[rows]) for rows in splits.values()]
        assert sum(map(len, parts)) == 9 and len(set.union(*parts)) == 9
        assert all(set(names[rows]) == {0, 1, 2} for rows in splits.values())
        assert 0.4 < len(splits["train"]) / len(windows) < 0.75


REPO = f"{USER}/recordings"
SMALL = ["--features", "log_mel", "--window_s", "0.25", "--hop_length", "64", "--report_to", "none"]


def test_published_windows_say_how_they_got_their_labels(recordings, hub, tmp_path):
    audio, labels, _ = recordings
    data = ["--data_dir", str(audio), "--labels", str(labels), "--cache_dir", str(tmp_path / "cache"), *SMALL[:6]]
    publish([*data, "--push_to_hub", REPO])
    place = ["--output_dir", str(tmp_path / "model"), "--num_train_epochs", "1", *SMALL]
    results = train(["--dataset", REPO, *place])
    assert results.labels == {"min_overlap": 0.5, "unlabelled": "drop"} and results.test.clip is None
    facts = json.loads(hub.files(REPO, "dataset")["log_mel/encls_features.json"])
    assert all(row["clips"] == 9 for row in facts["class_counts"])  # each class is in every recording


def test_a_run_on_recordings(recordings, tmp_path, capsys):
    audio, labels, _ = recordings
    data = ["--data_dir", str(audio), "--labels", str(labels), "--unlabelled", "nothing"]
    place = ["--cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path / "model")]
    results = train([*data, *place, *SMALL, "--num_train_epochs", "15", "--learning_rate", "0.003"])
    assert results.classes == ["high", "low", "mid", "nothing"]
    assert results.labels == {"min_overlap": 0.5, "unlabelled": "nothing"}
    assert results.clip_votes is False and results.test.clip is None
    assert results.test.window.accuracy > 0.7
    assert all("validation_clip_accuracy" not in epoch for epoch in results.history)
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "fills at least 50% of it" in card and "clip accuracy" not in card
    assert json.loads((tmp_path / "model" / "results.json").read_text())["labels"]["unlabelled"] == "nothing"
    # The same windows are extracted once, and what segment says of a recording can be trained on.
    assert extract([*data, *SMALL[:6], "--cache_dir", str(tmp_path / "cache")])["clips"] == 9
    for file in sorted(audio.rglob("*.wav")):
        out = tmp_path / "said" / file.relative_to(audio).with_suffix(".TextGrid")
        out.parent.mkdir(parents=True, exist_ok=True)
        assert cli(["segment", str(file), "--model", str(tmp_path / "model"), "--output", str(out)]) == 0
    assert scan_recordings(audio, tmp_path / "said")[1].used == 9


MISTAKES = {
    ("--min_overlap", "0.5"): "--min_overlap is about labels in time: name them with --labels",
    ("--labels", "{labels}", "--min_overlap", "0"): "expected --min_overlap above 0 and up to 1, found 0.0",
    ("--labels", "{labels}/nowhere"): "expected a folder, a file or a pattern of labels at",
    ("--labels", "{labels}", "--data_name", "esc50"): "--labels are of the recordings in --data_dir",
    ("--labels", "{labels}", "--protocol", "official"): "needs a data set with folds",
    ("--labels", "{audio}/day0/0.wav"): "expected text in UTF-8 or UTF-16",
    ("--labels", "{audio}"): "expected files of labels below",
    ("--labels", "{labels}", "--window_s", "5", "--min_overlap", "1"): "expected windows with a label, found none",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_mistakes_are_one_line(options, recordings, tmp_path, capsys):
    audio, labels, _ = recordings
    given = [each.format(labels=labels, audio=audio) for each in options]
    command = ["train", "--data_dir", str(audio), "--output_dir", str(tmp_path / "model"), "--features", "log_mel"]
    assert cli([*command, "--cache_dir", str(tmp_path / "cache"), "--report_to", "none", *given]) == 2
    last = capsys.readouterr().err.strip().split("\n")[-1]
    assert last.startswith("error: ") and MISTAKES[options] in last
    assert not (tmp_path / "model" / "results.json").exists()


@pytest.mark.parametrize("more", [[], ["--multi_label"]])
def test_a_class_of_two_recordings_is_called_by_its_name(more, recordings, tmp_path, capsys):
    audio, _, truth = recordings
    called = {name: [dict(each) for each in segments] for name, segments in truth.items()}
    for name in list(called)[:2]:
        called[name][1]["label"] = "rare"
    labels = write_labels(tmp_path / "labels", called)
    command = ["train", "--data_dir", str(audio), "--labels", str(labels), "--output_dir", str(tmp_path / "model")]
    assert cli([*command, *SMALL, *more]) == 2
    assert "error: class 'rare' has 2 clips; it needs at least 3" in capsys.readouterr().err
