"""Honest probabilities: temperatures, calibration error, "none of these" - the same in every way out of a model."""

import json

import numpy as np
import pytest
import soundfile
import torch
from small_models import CLASSES, save_small_model, small_model
from small_runs import train
from transformers import AutoModelForAudioClassification, pipeline

import hf_encls
from hf_encls.commands.cli import main
from hf_encls.comparison.unheard import measure
from hf_encls.inference.live import Listener, LiveTimeline
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.inference.timeline import Cells, Times, segments_of
from hf_encls.model.calibration_encls import CALIBRATION, UNKNOWN, tempered
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.report.calibration_texts import calibration_text, limit_text
from hf_encls.report.cards import model_card
from hf_encls.training.calibration import calibrate, temperature, threshold
from hf_encls.training.metrics import calibration_error, evaluate_split
from hf_encls.training.results import Results

KINDS = {"log_mel": "mnist", "encodec_24khz": "conv", "encodec_24khz_codes": "statistics"}
HOT = {"window_temperature": 3.0, "clip_temperature": 0.4}


def sound(rate: int, seconds: float = 1.7, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.uniform(0, 0.5, round(seconds * 10) + 1), rate // 10)[: round(seconds * rate)]
    return (rng.standard_normal(len(level)) * level).astype(np.float32)


def by_label(rows: list[dict]) -> np.ndarray:
    scores = {row["label"]: row["score"] for row in rows}
    return np.array([scores[name] for name in CLASSES])


def drawn(n: int, scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are as sure as they are right, raised to the power `scale`, and labels drawn from the former."""
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet([0.4] * 5, n)
    labels = np.array([rng.choice(5, p=row) for row in honest])
    return tempered(honest, 1 / scale), labels


# ------------------------------------------------------------------------------------------------ fitting


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_that_was_left_out_is_found(scale):
    rows, labels = drawn(4000, scale)
    assert temperature(rows, labels) == pytest.approx(scale, rel=0.06)
    assert calibration_error(tempered(rows, scale), labels) < 0.03
    if scale != 1.0:
        assert calibration_error(rows, labels) > 0.08


def test_where_all_answers_are_right_nothing_is_certain():
    rows = np.full((12, 3), 0.1) + 0.7 * np.eye(3)[np.arange(12) % 3]
    found = temperature(rows, np.arange(12) % 3)
    assert 0.2 < found < 1 and tempered(rows, found).max() < 1


def test_calibration_error_by_hand():
    # Bins of 1/15: 0.60 and 0.62 share the tenth one, (0.6, 0.667] holds the second alone.
    rows = np.array([[0.60, 0.40], [0.62, 0.38], [0.95, 0.05], [0.97, 0.03]])
    labels = np.array([0, 1, 0, 1])
    expected = (abs(1 - 0.60) + abs(0 - 0.62) + abs(1 - 0.95 + 0 - 0.97)) / 4
    assert calibration_error(rows, labels) == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [0.02, 0.1, 0.3])
def test_known_sounds_are_unknown_as_often_as_was_asked(alpha):
    shares = []
    for seed in range(300):  # draws of a small validation part
        scores = np.random.default_rng(seed).beta(5, 2, 60 + 500)
        shares.append((scores[60:] < threshold(scores[:60], alpha)).mean())
    assert alpha - 1 / 61 - 0.01 < np.mean(shares) <= alpha + 0.005


def test_calibration_has_numbers_of_its_own_for_windows_and_clips():
    rows, labels = drawn(600, 3.0)
    clips = np.repeat(np.arange(200), 3)
    labels = np.repeat(labels[:200], 3)
    found = calibrate(rows, labels, clips, True, 0.1)
    assert set(found) == set(CALIBRATION) and found["window_temperature"] != found["clip_temperature"]
    assert set(calibrate(rows, labels, None, True, None)) == {"window_temperature"}  # labels in time
    scores = evaluate_split(rows, labels, clips, calibration=found)
    plain = evaluate_split(rows, labels, clips)
    assert scores.clip.accuracy == plain.clip.accuracy and scores.clip.loss == plain.clip.loss
    assert scores.clip.calibrated_loss < plain.clip.loss and plain.clip.calibrated_loss is None
    assert scores.clip.coverage >= 0.9 and scores.window.coverage >= 0.9


# ------------------------------------------------------------------------------------------------ one model, every way


@pytest.fixture(scope="module", params=KINDS)
def hot(request, tmp_path_factory):
    """A checkpoint with temperatures, and the same without them."""
    kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    settings = {"head": KINDS[kind], "window_s": 0.4, "step_s": 0.2}
    save_small_model(folder, kind, **settings, **HOT)
    return folder, small_model(kind, **settings)


def test_every_way_gives_the_same_probabilities(hot, tmp_path):
    folder, plain = hot
    rate = plain.config.sampling_rate
    pipe = EnclsPipeline.from_pretrained(folder, device="cpu", top_k=None)
    wave = sound(rate)
    with torch.no_grad():
        before = plain(input_values=torch.from_numpy(wave)[None])
        after = AutoModelForAudioClassification.from_pretrained(folder).eval()(
            input_values=torch.from_numpy(wave)[None]
        )
    clip = before.logits[0].softmax(-1).double().numpy()
    expected = clip ** (1 / 0.4) / (clip ** (1 / 0.4)).sum()
    assert np.abs(clip - expected).max() > 1e-3
    np.testing.assert_allclose(after.logits[0].softmax(-1), expected, atol=1e-5)
    np.testing.assert_allclose(by_label(pipe(wave)), expected, atol=1e-5)
    stock = pipeline("audio-classification", model=str(folder), device="cpu")
    np.testing.assert_allclose(by_label(stock(wave)), expected, atol=1e-5)
    windows = (before.window_logits[0].double() / 3.0).softmax(-1).numpy()
    analysis = pipe.analyse(wave)
    for found in (after.window_logits[0].exp(), analysis.probabilities):
        np.testing.assert_allclose(found, windows, atol=1e-5)
    with torch.no_grad():
        features = plain.frontend.windows([torch.from_numpy(wave)])[0]
        of_windows = pipe.model(input_features=features).logits.softmax(-1)
    np.testing.assert_allclose(of_windows, windows, atol=1e-5)
    heard = list(Listener(pipe)([wave]))
    np.testing.assert_allclose([each.probabilities for each in heard], windows, atol=1e-5)
    assert after.logits.argmax() == before.logits.argmax()
    pytest.importorskip("onnxruntime")
    import onnxruntime

    assert main(["export", "--onnx", str(tmp_path / "m.onnx"), "--model", str(folder)]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    exported = session.run(["probabilities", "clip"], {"waveform": wave})
    np.testing.assert_allclose(exported[0], windows, atol=1e-4)
    np.testing.assert_allclose(exported[1], expected, atol=1e-4)


def test_segments_are_those_of_the_model_without_temperatures(hot):
    folder, plain = hot
    pipe = EnclsPipeline.from_pretrained(folder, device="cpu")
    wave = sound(plain.config.sampling_rate, 6.0)
    hot_ones = pipe.analyse(wave)
    labels = [row["label"] for row in hot_ones.timeline()]
    pipe.model.config.window_temperature = pipe.model.config.clip_temperature = None
    cold = pipe.analyse(wave)
    assert [row["label"] for row in cold.timeline()] == labels
    assert np.abs(hot_ones.cells().probabilities - cold.cells().probabilities).max() > 1e-3
    assert np.array_equal(hot_ones.cells().probabilities.argmax(1), cold.cells().probabilities.argmax(1))


def test_the_most_probable_class_of_a_clip_never_changes():
    # A mean of tempered windows would change it: 0.6, 0.6, 0 against 0.3, 0.3, 0.9.
    from hf_encls.inference.pipeline import Analysis

    rows = np.array([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.0, 0.75, 0.25]])
    config = EnclsConfig(features="log_mel", num_labels=3, clip_temperature=0.2, window_temperature=0.2)
    analysis = Analysis("a", rows, np.arange(3.0), 3.0, config)
    assert analysis.probabilities.mean(0).argmax() != rows.mean(0).argmax() == analysis.scores().argmax()


# ------------------------------------------------------------------------------------------------ none of these


def of_cells(rows: list[list[float]]) -> Cells:
    return Cells(np.array(rows), ["a", "b"], Times(1.0, 1.0, float(len(rows))))


def test_what_is_not_probable_enough_is_unknown():
    cells = of_cells([[0.9, 0.1], [0.55, 0.45], [0.5, 0.5], [0.2, 0.8]])
    found = segments_of(cells, 0.6, all_scores=True)
    assert [row["label"] for row in found] == ["a", UNKNOWN, "b"]
    assert found[1]["score"] == pytest.approx(1 - 0.525) == found[1]["scores"][UNKNOWN]
    assert [row["label"] for row in segments_of(cells)] == ["a", "b"]
    joined = segments_of(cells, 0.6, min_duration_s=1.5)  # the short ones join the likelier neighbour
    assert UNKNOWN in [row["label"] for row in joined]
    assert [
        row["label"] for row in segments_of(of_cells([[0.9, 0.1], [0.55, 0.45]] * 3), 0.6, smoothing="viterbi")
    ] == ["a"]


def test_live_segments_are_those_of_the_recording():
    rows = np.random.default_rng(0).dirichlet([0.8, 0.8], 40)
    config = EnclsConfig(features="log_mel", num_labels=2, window_temperature=2.0, window_unknown_below=0.7)
    from hf_encls.inference.timeline import cell_probabilities

    times = Times(1.0, 0.5, 20.2)
    cells = Cells(tempered(cell_probabilities(rows, times), 2.0), ["a", "b"], times)
    expected = segments_of(cells, 0.7)
    timeline = LiveTimeline(["a", "b"], 1.0, 0.5, config)
    found = [each for row in rows for each in timeline.push(row)] + timeline.finish(20.2)
    assert UNKNOWN in [row["label"] for row in found]
    assert [row["label"] for row in found] == [row["label"] for row in expected]
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected])


def test_commands_answer_unknown(tmp_path, capsys):
    folder = save_small_model(
        tmp_path / "m", "log_mel", window_s=0.4, clip_unknown_below=1.0, window_unknown_below=1.0
    )
    soundfile.write(tmp_path / "a.wav", sound(16_000), 16_000)
    file, model = str(tmp_path / "a.wav"), ["--model", str(folder)]
    assert main(["classify", file, *model, "--format", "csv", "--top_k", "9"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert row.split(",")[1] == UNKNOWN and header.count(",") == row.count(",")
    assert main(["segment", file, *model, "--plot", str(tmp_path / "p.png"), "--all_scores"]) == 0
    assert [row["label"] for row in json.loads(capsys.readouterr().out)] == [UNKNOWN]
    assert (tmp_path / "p.png").stat().st_size > 5000
    assert main(["listen", file, *model, "--output", str(tmp_path / "live.json")]) == 0
    assert [row["label"] for row in json.loads((tmp_path / "live.json").read_text())] == [UNKNOWN]
    assert all(line.endswith(UNKNOWN) for line in capsys.readouterr().out.splitlines())
    (tmp_path / "a.csv").write_text("start,end,label\n0,1,bark\n")
    assert main(["evaluate-timeline", file, *model, "--reference", str(tmp_path / "a.csv"), "--format", "json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["segment_based"]["class_wise"]) == {"bark"}  # nothing was said
    answer = EnclsPipeline.from_pretrained(folder)(file, top_k=None)
    assert answer[0]["label"] == UNKNOWN and answer[0]["score"] == pytest.approx(1 - answer[1]["score"])


# ------------------------------------------------------------------------------------------------ runs


@pytest.mark.parametrize("head", ["mnist", "conv", "statistics"])
def test_a_run_says_how_honest_it_is(head, tones, tmp_path, capsys):
    results = train(tones, tmp_path / "run", "--head", head, "--unknown", "0.2")
    config = EnclsConfig.from_pretrained(tmp_path / "run")
    assert results.calibration == {name: getattr(config, name) for name in CALIBRATION}
    written = Results.of(tmp_path / "run")
    assert written.unknown == 0.2 and written.calibration == results.calibration
    for part in (written.validation, written.test):
        for scores in (part.window, part.clip):
            assert None not in (scores.ece, scores.calibrated_ece, scores.calibrated_loss, scores.coverage)
    for scores in (written.validation.window, written.validation.clip):
        assert scores.calibrated_loss <= scores.loss + 1e-9 and scores.coverage >= 0.8
    said, card = capsys.readouterr().out, (tmp_path / "run" / "README.md").read_text()
    assert "ECE as trained" in said and "expected calibration error" in card and f"answers `{UNKNOWN}`" in card
    pipe = EnclsPipeline.from_pretrained(tmp_path / "run")
    parts = json.loads((tmp_path / "run" / "clips.json").read_text())
    known = [pipe(tones / clip)[0]["label"] != UNKNOWN for clip in parts["validation"]]
    assert np.mean(known) == pytest.approx(written.validation.clip.coverage)


def test_scores_and_weights_are_those_without_calibration(tones, tmp_path):
    from small_runs import equal

    with_it, without = train(tones, tmp_path / "a"), train(tones, tmp_path / "b", "--no_calibrate")
    assert equal(tmp_path / "a", tmp_path / "b") and without.calibration is None
    for part in ("train", "validation", "test"):
        for unit in ("window", "clip"):
            one, two = (getattr(getattr(each, part), unit) for each in (with_it, without))
            assert (one.accuracy, one.loss, one.macro_f1, one.ece) == (two.accuracy, two.loss, two.macro_f1, two.ece)
            assert two.calibrated_ece is None
    assert EnclsConfig.from_pretrained(tmp_path / "b").window_temperature is None


def test_under_the_protocol_paper_nothing_is_calibrated(tones, tmp_path, capsys):
    results = train(tones, tmp_path / "run", "--protocol", "paper")
    assert results.calibration is None and results.test.clip.ece is not None
    assert "probabilities stay as trained" in capsys.readouterr().out
    assert "no temperature was fitted" in (tmp_path / "run" / "README.md").read_text()
    with pytest.raises(ValueError, match="validation clips that did not train"):
        train(tones, tmp_path / "run2", "--protocol", "paper", "--unknown", "0.1")


@pytest.mark.parametrize("alpha", ["0", "1", "-0.1", "nan", "1.5"])
def test_a_share_that_is_none_is_refused(alpha, tones, tmp_path):
    with pytest.raises(ValueError, match="`unknown` to be a share above 0 and below 1"):
        train(tones, tmp_path / "run", "--unknown", alpha)


def test_too_few_validation_clips_are_said_before_the_training(tones, tmp_path):
    with pytest.raises(ValueError, match=r"expected 99 or more validation clips for `unknown=0\.01`, found \d+"):
        train(tones, tmp_path / "run", "--unknown", "0.01")
    assert not list(tmp_path.glob("run/checkpoint-*"))


def test_what_a_configuration_cannot_be():
    for settings in ({"window_temperature": 0.0}, {"clip_unknown_below": 1.5}, {"clip_temperature": float("nan")}):
        with pytest.raises(Exception, match="expected (window|clip)_"):
            EnclsConfig(features="log_mel", **settings)
    names = {"id2label": {0: "dog", 1: UNKNOWN}, "label2id": {"dog": 0, UNKNOWN: 1}}
    with pytest.raises(Exception, match="class is called 'unknown'"):
        EnclsConfig(features="log_mel", clip_unknown_below=0.5, **names)
    EnclsConfig(features="log_mel", clip_temperature=0.5, **names)
    with pytest.raises(Exception, match="one label for each sound"):
        EnclsConfig(features="log_mel", clip_temperature=0.5, problem_type="multi_label_classification")


def test_results_of_earlier_versions_say_nothing_of_it():
    score = {"accuracy": 0.5, "loss": 1.0}
    values = {"dataset": "a", "features": "log_mel", "protocol": "clip", "seed": 1, "classes": ["a", "b"]}
    results = Results.from_dict(values | {"test": {"window": score, "clip": score}})
    assert calibration_text(results) == "" and "always answers" in limit_text(results)
    config = {"features": "log_mel", "sampling_rate": 16_000, "window_s": 1.0, "step_s": 1.0}
    assert "ECE" not in str(model_card(results, config, name="m", model="m"))


def test_evaluate_knows_the_temperatures(tmp_path):
    hf_encls.write_synthetic(tmp_path / "sounds", clips_per_class=5)
    clips, _ = hf_encls.scan_folder(tmp_path / "sounds")
    config = hf_encls.feature_config("log_mel", clips, hop_length=2048, head="statistics")
    windows = hf_encls.extract_features(clips, config, cache_dir=tmp_path)
    args = hf_encls.EnclsTrainingArguments(str(tmp_path / "run"), report_to="none", disable_tqdm=True, unknown=0.3)
    run = hf_encls.train(windows, config, args=args)
    test = windows.select(np.flatnonzero(np.isin(windows["clip_id"][:], run.parts["test"])))
    found = hf_encls.evaluate(run.model, test)
    for unit in ("window", "clip"):
        assert getattr(found, unit).as_dict() == pytest.approx(getattr(run.results.test, unit).as_dict(), abs=1e-5)
    # A configuration that was calibrated before is trained anew from its logits.
    again = hf_encls.train(windows, run.model.config, args=args)
    assert again.results.calibration == run.results.calibration


# ------------------------------------------------------------------------------------------------ unheard classes


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    hf_encls.write_synthetic(folder / "sounds", clips_per_class=12)
    clips, _ = hf_encls.scan_folder(folder / "sounds")
    config = hf_encls.feature_config("log_mel", clips, hop_length=2048, head="statistics")
    return hf_encls.extract_features(clips, config, cache_dir=folder), config


def test_classes_that_were_never_heard_are_often_unknown(synthetic, tmp_path):
    windows, config = synthetic
    names = windows.features["label"].names
    args = hf_encls.EnclsTrainingArguments(str(tmp_path), report_to="none", disable_tqdm=True, unknown=0.2)
    found = measure(windows, config, ["birdsong"], args)
    assert found["unheard_clips"] == 12 and found["known_unknown"] <= 0.3
    assert found["unheard_unknown"] > found["known_unknown"] + 0.2
    assert found["auroc"]["probability"] > 0.75
    with pytest.raises(ValueError, match="two of them left"):
        measure(windows, config, names[1:], args)
    with pytest.raises(ValueError, match="expected some of"):
        measure(windows, config, ["zebra"], args)
    args.unknown = None
    with pytest.raises(ValueError, match="expected `unknown`"):
        measure(windows, config, names[:1], args)
