"""Training one cell of the grid: `hf_encls.train` with the settings of the cell, in its folder."""

import shutil
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import datasets
from accelerate import PartialState

from hf_encls.codec.facts import with_licence
from hf_encls.codec.loading import codec_facts, load_codec, short_name
from hf_encls.data.facts import title_of
from hf_encls.data.known_files import remembering
from hf_encls.data.load import load_clips
from hf_encls.features.contents import with_digests
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.report.codec_texts import used_codec
from hf_encls.report.run_report import save_run
from hf_encls.reproduction.grid import CellSettings
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.places import occupied
from hf_encls.training.resuming import last_checkpoint
from hf_encls.training.run import Execution, train
from hf_encls.training.saving import public_command, versions


def train_cell(
    settings: CellSettings, folder: Path, cache_dir: str | None, say: Callable[[str], object] = lambda line: None
) -> None:
    """Train the cell in `folder`, or what is left of it: it goes on from its last whole checkpoint.

    Raises `ValueError` as `load_clips`, `load_codec` and `train` do.
    """
    of_trainer = {each.name for each in fields(EnclsTrainingArguments)}
    training = {name: value for name, value in settings.options.items() if name in of_trainer}
    of_features = {name: value for name, value in settings.options.items() if name not in of_trainer}
    resume = "last" if last_checkpoint(folder) else None
    args = EnclsTrainingArguments(
        str(folder), seed=settings.seed, report_to="none", resume_from_checkpoint=resume, **training
    )
    started = time.monotonic()
    with remembering(settings.data_dir, Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "hf_encls"):
        clips, scan, facts = load_clips(settings.data_dir, settings.data_name)
        clips = with_digests(clips)
    say(scan.text())
    dataset = title_of(facts, settings.data_dir)
    codec = None if settings.codec is None else load_codec(settings.codec)
    codec_id = None if codec is None else short_name(settings.codec)
    config = feature_config(settings.features, clips, codec, codec_id=codec_id, **of_features)
    windows = extract_features(clips, config, codec, cache_dir, device=PartialState().device)
    features_s = time.monotonic() - started
    division = {"protocol": settings.protocol, "fold": settings.fold}
    with occupied(folder):
        run = train(windows, config, **division, codec=codec, args=args, execution=Execution(say=say))
        command = public_command([*settings.options_of_train(), "--output_dir", str(folder)])
        run.results = run.results.with_origin(
            dataset=dataset,
            clips=scan.used,
            expected_clips=scan.expected,
            codec=used_codec(config, codec and with_licence(codec_facts(settings.codec)), dataset),
            command=["scripts/train.py", *command],
            versions=versions(),
            times_s={"features": features_s},
        )
        save_run(run, folder, scan)
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
