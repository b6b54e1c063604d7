"""The test scores of a run as cards tell them: rows for people, `model-index` and `.eval_results` for the Hub."""

import re
from collections.abc import Iterator

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml

from hf_encls.report.codec_texts import codec_name, codec_text, plain_warning
from hf_encls.training.results import CLIP_UNIT, HEARD_WINDOWS, WINDOWS, Results, Unit

SCORE_NAMES = {WINDOWS: "window {}", HEARD_WINDOWS: "window {} without silence", CLIP_UNIT: "clip {}"}
UNIT_WORDS = {
    WINDOWS: "windows of {window_s:g} s",
    HEARD_WINDOWS: "windows that are not silent",
    CLIP_UNIT: "whole clips",
}
METRIC_WORDS = {
    "accuracy": " with the right label (accuracy)",
    "macro_f1": ", each class counting alike (macro F1)",
    "micro_f1": ", each label counting alike (micro F1)",
    "mean_average_precision": ", how well labels are ranked (mean average precision)",
    "macro_auroc": ", how well labels are told apart (macro AUROC)",
}
# What the Hub calls metrics; others, such as the loss, are not in the index of a card.
METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "micro_f1": "f1"}
METRICS |= {"mean_average_precision": "mean_average_precision", "macro_auroc": "roc_auc"}
LOCAL_SOUNDS = "audiofolder"  # the Hub's word for sounds that are no data set there


def score_rows(results: Results, window_s: float) -> list[dict]:
    """A row for each test score: what it is in `words`, its `name` in the model index, the value, of how many."""
    return [
        {
            "name": name,
            "words": UNIT_WORDS[unit].format(window_s=window_s) + METRIC_WORDS[metric],
            "value": f"{value:.3f}",
            "number": measured_on,
        }
        for unit, metric, name, value, measured_on in _test_scores(results)
    ]


def model_index(results: Results, slug: bool = False) -> list[EvalResult]:
    """The scores for a card's front matter. The data set is called by its id on the Hub; one that is not there by what
    the Hub calls folders of sounds, with `slug` by its name, as version 0.1 did.
    """
    return [
        EvalResult(
            task_type="audio-classification",
            task_name="Audio Classification",
            dataset_type=results.dataset_id or (_slug(results.dataset) if slug else LOCAL_SOUNDS),
            dataset_name=results.dataset_text,
            dataset_config=results.protocol_text,
            dataset_split="test",
            metric_type=METRICS[metric],
            metric_name=_metric_name(name, results),
            metric_value=value,
        )
        for _, metric, name, value, _ in _test_scores(results)
    ]


def eval_results(results: Results, slug: bool = False) -> dict[str, str]:
    """The `.eval_results/*.yaml` files of a run: file name -> content. None where its data set is not on the Hub: such a
    file is about one that is. With `slug` as version 0.1 wrote them, about a data set of that name.
    """
    if not results.dataset_id and not slug:
        return {}
    entries = [
        EvalResultEntry(
            dataset_id=results.dataset_id or _slug(results.dataset),
            task_id=f"{_slug(results.protocol_text)}_{unit.key}_{METRICS[metric]}",
            value=value,
            notes=_notes(results),
        )
        for unit, metric, _, value, _ in _test_scores(results)
        if metric == next(iter(results.metrics))
    ]
    content = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
    return {f"{_slug(results.dataset)}.yaml": content} if entries else {}


def leak_text(results: Results) -> str:
    """The leak count, in the words that stand beside a score."""
    leak = results.leak
    if leak is None:
        return "not measured"
    text = f"{leak.clip_leaks} of {leak.test_windows}"
    if leak.group_leaks != leak.clip_leaks:
        text += f" ({leak.group_leaks} by recording)"
    return text


def _test_scores(results: Results) -> Iterator[tuple[Unit, str, str, float, str]]:
    """(unit, metric, name, value, what it was measured on) of every test score, the same thing never twice."""
    for unit, scores, count in results.test.scored():
        things = "clips" if unit is CLIP_UNIT else "windows"
        for metric, text in results.metrics.items():
            value = getattr(scores, metric)
            if metric in METRICS and value is not None:
                yield unit, metric, SCORE_NAMES[unit].format(text), value, f"{count:,} {things}" if count else things


def _notes(results: Results) -> str:
    parts = [results.dataset_text] if results.dataset_text != results.dataset else []
    parts += [f"protocol {results.protocol_text}", f"leak: {leak_text(results)} test windows"]
    parts += [codec_text(results.codec), plain_warning(results.codec, results.dataset)]
    return "; ".join(part.rstrip(".") for part in parts if part)


def _metric_name(name: str, results: Results) -> str:
    codec = codec_name(results.codec, results.dataset)
    return f"{name} (protocol {results.protocol_text}; leak {leak_text(results)}; codec {codec})"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "dataset"
