"""Other audio-classification models, of the Hub or of a folder, on the very test clips of our own cells."""

from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset

from hf_encls.data.load import load_clips
from hf_encls.reproduction.cells import FinishedCell
from hf_encls.reproduction.data_sets import DataSet


def compare_rows(runs: Sequence[FinishedCell], datasets: Sequence[DataSet], models: Sequence[str]) -> list[dict]:
    """Clip accuracy of other models on the test clips of one split without a leak, and our own on the same clips.

    The split is that of the first such cell of each data set: every row says its protocol, fold and seed. Rows with
    `model` are other models, rows with `input` our own cells. A model that cannot be measured, for whatever reason, has
    the accuracy None and its `reason`: the report is not lost for it.
    """
    rows = []
    for dataset in datasets if models else ():
        cells_of_it = [run for run in runs if run.dataset.key == dataset.key and run.protocol in ("clip", "official")]
        if not cells_of_it:
            missing = {"accuracy": None, "reason": "no cell without a leak is finished"}
            rows += [{"dataset": dataset.key, "model": _name(model), **missing} for model in models]
            continue
        first, clips = cells_of_it[0], cells_of_it[0].test_clips
        split = {"dataset": dataset.key, "protocol": first.protocol, "fold": first.fold, "seed": first.seed}
        for run in cells_of_it:
            if run.place | {"input": first.input.key} == first.place and run.test_clips == clips:
                score = run.results.test.clip.accuracy
                rows.append(split | {"input": run.input.key, "cell": run.id, "accuracy": score})
        everything = load_clips(dataset.data_dir, dataset.data_name)[0]
        rows += [split | {"model": _name(model)} | _measured(model, everything, clips) for model in models]
    return rows


def _measured(model: str, clips: Dataset, test_clips: Sequence[str]) -> dict:
    from transformers import pipeline

    from hf_encls.comparison.models import check_unheard, compare, run_of

    ids = clips["clip_id"][:]
    test = clips.select([ids.index(clip) for clip in test_clips])
    try:
        run = run_of(model)
        if run is not None:
            check_unheard(run, clips, test)
        pipe = pipeline("audio-classification", model=model)
        scores = compare({_name(model): pipe}, test)[0]
    except Exception as error:  # a stranger's model can fail in any way: it is a row of the report, not its end
        lines = filter(None, map(str.strip, str(error).splitlines()))
        return {"accuracy": None, "reason": next(lines, type(error).__name__)}
    note = getattr(run, "codec_warning", "")  # such as that its codec has heard the test clips
    scores |= {"model": _name(model), "revision": getattr(pipe.model.config, "_commit_hash", None)}
    return scores | ({"note": note} if note else {})


def _name(model: str) -> str:
    return Path(model).resolve().name if Path(model).is_dir() else model
