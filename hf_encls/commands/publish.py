"""Publish the features of a folder of sounds, or a trained model, on the Hub. No audio leaves this machine.

    python scripts/publish.py --data_dir my_sounds --features encodec_24khz --push_to_hub USER/NAME
    python scripts/publish.py --data_dir my_sounds --features log_mel --output_dir my_features
    python scripts/publish.py --model_dir my_model --push_to_hub USER/NAME

Every kind of features, and every policy of a codec, is one configuration of a repository; others in it stay.
"""

import re
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hf_encls.commands.dataclass_options import parse_dataclasses
from hf_encls.commands.feature_arguments import FeatureArguments
from hf_encls.commands.inputs import Inputs, prepare
from hf_encls.commands.outputs import check_file, check_folder
from hf_encls.commands.parser import show_warnings
from hf_encls.report.dataset_cards import DataSource
from hf_encls.report.feature_pictures import example_panels


@dataclass
class PublishArguments:
    """Where to, and under which licence."""

    push_to_hub: str | None = field(
        default=None, metadata={"help": "Name of the data set or model on the Hub: USER/NAME."}
    )
    output_dir: str | None = field(
        default=None,
        metadata={"help": "Write features into this folder as they would be pushed; with --push_to_hub do both."},
    )
    model_dir: str | None = field(default=None, metadata={"help": "Publish this trained model instead of features."})
    config_name: str | None = field(
        default=None, metadata={"help": "Name of this kind of features in it. None: from the kind and the policy."}
    )
    private: bool = field(default=False, metadata={"help": "Make a new repository private."})
    replace: bool = field(default=False, metadata={"help": "Replace other features of the same name."})
    overwrite: bool = field(
        default=False,
        metadata={
            "help": "Publish into a repository that holds something else, and write anew what was changed by hand in the "
            "generated parts of its card. Text and files of others stay."
        },
    )
    license: str | None = field(
        default=None, metadata={"help": "Licence of the audio as the Hub spells it. None: that of a known data set."}
    )
    license_text: str | None = field(default=None, metadata={"help": "The licence in words, for the card."})
    examples: list[str] | None = field(
        default=None,
        metadata={"help": "Sounds to publish with the model, for its card: what you name here, and no other."},
    )
    examples_license: str | None = field(
        default=None, metadata={"help": "Licence of these sounds: cc0-1.0, my own recordings under cc-by-4.0, ..."}
    )
    save_card: str | None = field(
        default=None, metadata={"help": "Write the card of a model, as it was sent, into this file too."}
    )
    source_url: str | None = field(default=None, metadata={"help": "Where the audio comes from, for the card."})


def main(args: list[str] | None = None) -> dict:
    """Run the program. Returns the facts of the push: `repo_id`, `commit`, `url`, and `config_name` of features.

    Of a folder, `output_dir` and `config_name`. Raises `ValueError` for what a user can mend.
    """
    show_warnings()
    features, options = parse_dataclasses([FeatureArguments, PublishArguments], args, __doc__.splitlines()[0])
    _check(options)
    if options.model_dir is not None:
        return _push_model(options)
    for name in ("examples", "examples_license"):
        if getattr(options, name) is not None:
            raise ValueError(f"`{name}` is about a model: name it with `model_dir`")
    return _push_features(features, options)


def _check(options: PublishArguments) -> None:
    """Raise `ValueError` for options that do not fit each other, and for a folder that holds something else."""
    if options.push_to_hub is None and options.model_dir is not None:
        found = "none" if options.output_dir is None else "--output_dir, which is about features"
        raise ValueError(f"expected a place to publish a model at, found {found}: name it with --push_to_hub")
    if options.push_to_hub is None and options.output_dir is None:
        raise ValueError("expected a place to publish at, found none: name it with --push_to_hub or --output_dir")
    if options.output_dir is None:
        return
    if options.model_dir is not None:
        raise ValueError(f"--output_dir is about features, and {options.model_dir} is a folder already: leave it out")
    if options.private and options.push_to_hub is None:
        raise ValueError("--private is about the Hub: name a repository with --push_to_hub, or leave it out")
    from hf_encls.hub.save_features import check_folder_target

    check_folder(options.output_dir, "--output_dir")
    check_folder_target(options.output_dir, options.overwrite)


def _push_model(options: PublishArguments) -> dict:
    from hf_encls.hub.push_models import push_model

    _check_card(options)
    if options.examples is None and options.examples_license is not None:
        raise ValueError("`examples_license` is about example sounds: name them with `examples`")
    if options.examples is not None:
        from hf_encls.inference.examples import write_examples
        from hf_encls.report.cards import write_model_card

        write_examples(options.model_dir, options.examples, options.examples_license or "")
        write_model_card(options.model_dir)
    published = push_model(
        options.model_dir,
        options.push_to_hub,
        private=options.private or None,
        save_card=options.save_card,
        overwrite=options.overwrite,
    )
    print(f"the model is at {published.url}. To use it:")
    print(f'  pipeline("audio-classification", model="{published.repo_id}", trust_remote_code=True)')
    return asdict(published)


def _check_card(options: PublishArguments) -> None:
    """Raise `ValueError` where --save_card names a file that is no card of this model."""
    card = Path(options.save_card or "")
    if options.save_card is not None:
        check_file(card, "--save_card")
    own_name = rf'model="(?:[^"/]+/)?{re.escape(options.push_to_hub)}"'
    if card.is_file() and not re.search(own_name, card.read_text(encoding="utf-8", errors="replace")):
        raise ValueError(
            f"{card} would be replaced and is no card of {options.push_to_hub}: name another file with --save_card, or move "
            "this one away. Nothing was sent"
        )


def _push_features(arguments: FeatureArguments, options: PublishArguments) -> dict:
    inputs = prepare(arguments)
    from hf_encls.hub.push_features import FeatureSet, check_protocols, push_features

    for row in check_protocols(inputs.windows):
        print(
            f"protocol {row['protocol']}: {row['clip_leaks']} of {row['test_windows']} test windows share a clip with "
            f"training, {row['group_leaks']} a recording"
        )
    features = FeatureSet(
        inputs.windows,
        inputs.config,
        _source(inputs, options),
        name=options.config_name,
        codec=inputs.codec_facts,
        panels=example_panels(inputs.windows, inputs.config, inputs.clips),
    )
    settings = {"replace": options.replace, "overwrite": options.overwrite}
    result: dict = {"config_name": features.config_name}
    if options.output_dir is not None:
        from hf_encls.hub.save_features import save_features

        save_features(features, options.output_dir, repo_id=options.push_to_hub, **settings)
        _tell(features, options.output_dir, options.output_dir)
        result["output_dir"] = options.output_dir
    if options.push_to_hub is not None:
        published = push_features(features, options.push_to_hub, private=options.private or None, **settings)
        _tell(features, published.url, published.repo_id)
        result |= asdict(published)
    return result


def _tell(features, where: str, dataset: str) -> None:
    name = features.config_name
    print(f"{len(features.windows)} windows are at {where} as {name!r}. To train on them:")
    print(f"  {shlex.join(['python', 'scripts/train.py', '--dataset', dataset, '--dataset_config', name])}")


def _source(inputs: Inputs, options: PublishArguments) -> DataSource:
    known = DataSource.of(inputs.facts, inputs.dataset)
    return DataSource(
        known.name,
        licence=options.license_text or options.license or known.licence,
        licence_id=options.license or known.licence_id,
        url=options.source_url or known.url,
        citation=known.citation,
        expected_clips=known.expected_clips,
        labels=inputs.labels,
    )
