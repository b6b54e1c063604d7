"""Say which files to label next, so that as few labels as possible teach as much as possible."""

import sys
from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from hf_encls.commands.classify import load_pipe
from hf_encls.commands.inputs import Inputs
from hf_encls.commands.outputs import output, output_file
from hf_encls.commands.parser import Parser, device
from hf_encls.commands.sound_inputs import (
    FORMATS,
    OPTIONS,
    add_feature_options,
    path_of,
    render,
    sounds_for,
    sounds_of,
)
from hf_encls.features.label_next import Choice, choose, clip_vectors, predicted
from hf_encls.files.finding import require_folder

EXAMPLES = """examples:
  hf-encls label-next recordings --features log_mel --count 20                      # no label yet
  hf-encls label-next recordings --labelled my_sounds --features log_mel
  hf-encls label-next my_sounds/unlabelled --labelled my_sounds --features log_mel  # the rest of it has labels
  hf-encls label-next recordings --model my_model --format csv --output next.csv

Without labels: typical files, each of another kind. With labels or a model: files it is unsure of,
each of another kind, the most unsure first; label and score are its guess, margin how far its two best guesses are apart.
"""


def main(args: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = Parser(prog="hf-encls label-next", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("where", metavar="FOLDER", help="of sounds without labels")
    parser.add_argument("--labelled", metavar="FOLDER", help="class-named folders: the labels that are there")
    parser.add_argument("--model", metavar="M", help="or a checkpoint that knows the classes: a folder, or a Hub name")
    parser.add_argument("--revision", metavar="R", help="revision of a model on the Hub; pin one that you trust")
    parser.add_argument("--device", type=device, metavar="D", help="of the model: cpu, cuda, ...")
    parser.add_argument("--count", type=int, default=10, metavar="N", help="files that are named (default: 10)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the clusters (default: 0)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument("--output", type=output_file, metavar="FILE", help="write here instead of to the terminal")
    add_feature_options(parser)
    options = parser.parse(list(sys.argv[1:] if args is None else args))
    if options.count < 1:
        parser.error("--count must be 1 or more")
    if not 0 <= options.seed < 2**32:
        parser.error("--seed must be from 0 to 4294967295")
    _check(options)
    inputs, rows = _of_model(options) if options.model is not None else _of_labels(options)
    table = [
        {"rank": rank, "file": path_of(inputs, options.where, file)} | row for rank, (file, row) in enumerate(rows, 1)
    ]
    with output(options.output) as out:
        out.write(render(table, options.format))
    return 0


def _check(options) -> None:
    """Raise `ValueError` for options that do not fit each other."""
    if options.model is not None:
        if options.labelled is not None:
            raise ValueError("--model and --labelled both say what is known already: leave one out")
        for name in OPTIONS:
            if getattr(options, name) is not None and name != "cache_dir":
                raise ValueError(f"--{name} was given with --model, which has features of its own: leave it out")
    for name in ("revision", "device"):
        if getattr(options, name) is not None and options.model is None:
            raise ValueError(f"--{name} is about a model: name one with --model, or leave it out")
    for folder in (options.where, options.labelled):
        if folder is not None:
            require_folder(folder, "a folder of sounds")


def _of_model(options) -> tuple[Inputs, list[tuple[str, dict]]]:
    """The sounds, and the ids of those to label next with what the model says of them."""
    import torch

    from hf_encls.features.store import ROWS_PER_READ, Windows, codebooks_of
    from hf_encls.features.vectors import Vectors

    model = load_pipe(options).model
    if model.config.problem_type == "multi_label_classification":
        raise ValueError(
            "--model tells several labels at once: what to label next is chosen by models of one label each"
        )
    inputs = sounds_for(options.where, model, options.cache_dir)
    config, books = inputs.config, None
    if config.representation.integers:
        books = codebooks_of(inputs.codec, config.num_codebooks)
    vectors = Vectors(inputs.windows, config, inputs.codec)
    store, parts = Windows(inputs.windows, codebooks=books), []
    with torch.inference_mode():
        for at in range(0, len(vectors.rows), ROWS_PER_READ):
            windows = store.take(vectors.rows[at : at + ROWS_PER_READ]).to(model.device)
            parts.append(model.classify_in_parts(windows).float().softmax(-1).cpu().numpy())
    ids, means = clip_vectors(vectors.heard, _ids(inputs.windows)[vectors.rows])
    _, probabilities = clip_vectors(np.concatenate(parts), _ids(inputs.windows)[vectors.rows])
    chosen = choose(means, options.count, probabilities, seed=options.seed)
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    return inputs, [(str(ids[each.index]), _row(each, names)) for each in chosen]


def _of_labels(options) -> tuple[Inputs, list[tuple[str, dict]]]:
    """As `_of_model`, by the labels that are there, or by none."""
    from hf_encls.features.extraction import feature_identity
    from hf_encls.features.vectors import Vectors

    if options.labelled is None:
        inputs = sounds_of(options.where, options)
        vectors = Vectors(inputs.windows, inputs.config, inputs.codec)
        ids, means = clip_vectors(vectors.heard, _ids(inputs.windows)[vectors.rows])
        return inputs, [(str(ids[each.index]), _row(each)) for each in choose(means, options.count, seed=options.seed)]
    known = sounds_of(options.labelled, options)
    inputs = sounds_of(options.where, options, sampling_rate=known.config.sampling_rate)
    if feature_identity(inputs.config) != feature_identity(known.config):
        raise ValueError(f"expected the same features in {options.where} and {options.labelled}, found other ones")
    vectors = Vectors([inputs.windows, known.windows], inputs.config, inputs.codec)
    number = np.searchsorted(vectors.rows, len(inputs.windows))  # of the windows without labels that are heard
    ids, means = clip_vectors(vectors.heard[:number], _ids(inputs.windows)[vectors.rows[:number]])
    names, rows = known.windows.features["label"].names, vectors.rows[number:] - len(inputs.windows)
    there, labelled = clip_vectors(vectors.heard[number:], _ids(known.windows)[rows])
    label = dict(zip(known.windows["clip_id"][:], known.windows["label"][:]))
    # What is asked about may lie in the folder of labels; there its folder is no class.
    candidates = set(_paths(inputs).values())
    shared = [clip for clip, path in _paths(known).items() if path in candidates]
    kept = np.array([clip not in shared and label[clip] >= 0 for clip in there.tolist()])
    labels = np.array([label[clip] for clip in there[kept].tolist()], int)
    if len(set(labels.tolist())) < 2:
        count = len(set(labels.tolist()))
        raise ValueError(f"expected labels of two classes or more in {options.labelled}, found those of {count}")
    probabilities = predicted(labelled[kept], labels, means, len(names))
    chosen = choose(means, options.count, probabilities, seed=options.seed)
    return inputs, [(str(ids[each.index]), _row(each, names)) for each in chosen]


def _paths(inputs: Inputs) -> dict[str, str]:
    """The files of clips by their ids; none of published features."""
    clips = inputs.clips
    return (
        {} if clips is None else dict(zip(clips["clip_id"], [audio["path"] for audio in clips["audio"]], strict=True))
    )


def _ids(windows: Dataset) -> np.ndarray:
    return np.asarray(windows["clip_id"][:])


def _row(choice: Choice, names: Sequence[str] = ()) -> dict:
    if choice.label is None:
        return {}
    score, margin = round(choice.score, 4), round(choice.margin, 4)
    return {"label": names[choice.label], "score": score, "margin": margin}
