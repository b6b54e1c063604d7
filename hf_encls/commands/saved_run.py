"""From prepared windows to a folder with a model and what was measured of it: the one way in which commands train."""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from hf_encls.commands.inputs import Inputs
from hf_encls.commands.published_inputs import codec_of
from hf_encls.report.codec_texts import used_codec
from hf_encls.report.run_report import save_run
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.results import Results
from hf_encls.training.resuming import Start
from hf_encls.training.run import Execution, Run, train
from hf_encls.training.saving import public_command, versions

logger = logging.getLogger(__name__)


def origin(inputs: Inputs, command: Sequence[str], features_s: float, secrets: Sequence[str | None] = ()) -> dict:
    """What results say of where a model comes from, and `train()` cannot know.

    `command` are the options of scripts/train.py, `features_s` the seconds that the features took; `secrets` are not
    written down.
    """
    return {
        **{"dataset": inputs.dataset, "dataset_id": inputs.dataset_id, "clips": inputs.num_clips},
        **{"labels": inputs.labels, "expected_clips": inputs.expected_clips},
        "codec": used_codec(inputs.config, inputs.codec_facts, inputs.dataset),
        "times_s": {"features": features_s},
        "command": ["scripts/train.py", *public_command(command, secrets)],
        "versions": versions(),
    }


def train_and_save(
    inputs: Inputs, args: EnclsTrainingArguments, start: Start, facts: dict, memory_limit_gb: float | None = None
) -> Results:
    """Train one model as `start` and its settings say, write it and what was measured into `start.folder`.

    `facts` is the `origin` of the model. Every process of a distributed run calls this and gets the results.
    """
    execution = Execution(
        memory_limit_bytes=None if memory_limit_gb is None else int(memory_limit_gb * 1e9),
        stream=inputs.stream,
        stream_name=inputs.stream_name or inputs.dataset,
        start=start,
        say=functools.partial(print, flush=True),
    )
    division = {name: start.settings[name] for name in ("protocol", "fold")}
    run = train(inputs.windows, inputs.config, **division, codec=inputs.codec, args=args, execution=execution)
    run.results = run.results.with_origin(**facts)
    if args.process_index == 0:
        if not run.results.holds_codec:
            run.results.holds_codec = _attach(run)
        save_run(run, Path(start.folder), inputs.report)
    PartialState().wait_for_everyone()
    return run.results


def _attach(run: Run) -> bool:
    """Put the codec that made published features into the checkpoint; False where it cannot be had."""
    try:
        run.model.attach_codec(codec_of(run.model.config))
    except ValueError as error:
        logger.warning("the model is saved without its codec and takes input_features only: %s", error)
        return False
    return True
