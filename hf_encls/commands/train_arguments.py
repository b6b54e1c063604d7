"""The arguments of training: ours beside transformers' own, from the command line or from one JSON or YAML file."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

import yaml

from hf_encls.commands.dataclass_options import dataclass_parser, given_options, of_options
from hf_encls.commands.feature_arguments import FeatureArguments
from hf_encls.commands.parser import near
from hf_encls.files.records import read_record

if TYPE_CHECKING:
    from hf_encls.training.arguments import EnclsTrainingArguments

MOST_GB = 1e6  # of memory: more than a machine has

# Nothing here brings PyTorch before a value is there to look at: `--help` is there at once.


@dataclass
class DataArguments(FeatureArguments):
    """Which windows, and how they are divided."""

    dataset: str | None = field(
        default=None, metadata={"help": "Published features: Hub id or folder. Needs neither audio nor codec."}
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Configuration of the published features. None: the value of --features."}
    )
    dataset_revision: str | None = field(default=None, metadata={"help": "Revision of the published features."})
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read the published features anew in each epoch instead of keeping them: for very large ones."
        },
    )
    protocol: str = field(
        default="clip",
        metadata={
            "help": "How windows are divided. clip: 60/20/20 of the clips. paper: 60/20/20 of the windows (leaks). "
            "official: the data set's own folds or lists."
        },
    )
    fold: int | None = field(default=None, metadata={"help": "Test fold of the protocol official."})
    memory_limit_gb: float | None = field(
        default=None, metadata={"help": "Features larger than this stay on disk. None: everything in memory."}
    )

    def __post_init__(self):
        from hf_encls.data.splits import PROTOCOLS

        if self.streaming and self.dataset is None:
            raise ValueError("--streaming reads published features: name them with --dataset")
        for name in ("dataset_config", "dataset_revision"):
            if getattr(self, name) is not None and self.dataset is None:
                raise ValueError(f"--{name} is about published features: name them with --dataset")
        if self.memory_limit_gb is not None and not 0 <= self.memory_limit_gb <= MOST_GB:
            raise ValueError(f"expected --memory_limit_gb from 0 to {MOST_GB:g}, found {self.memory_limit_gb}")
        if self.streaming and self.memory_limit_gb is not None:
            raise ValueError(
                "--memory_limit_gb is about features that are kept, --streaming keeps none: give one of them"
            )
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"expected --protocol to be one of {', '.join(PROTOCOLS)}, found {self.protocol!r}")
        if self.fold is not None and self.protocol != "official":
            raise ValueError(
                f"fold {self.fold} was given, but only the protocol official has folds, not {self.protocol}: leave one out"
            )


@dataclass
class ModelArguments:
    """Which network."""

    standardization: str = field(
        default="band",
        metadata={"help": "band: each band by the statistics of the training windows. none: as in the paper."},
    )
    head: str = field(
        default="mnist",
        metadata={
            "help": "What classifies a window. mnist: the paper's network. conv: a deeper one with fewer weights. "
            "statistics: a linear classifier of means, deviations and covariance, fitted in seconds, without epochs. "
            "modulation: the same, and how fast each band changes; what a folder of your own gets where no option says "
            "how to learn, with the recipe recommended, log-mel cut off at -50 dB, and windows as long as most clips."
        },
    )
    dropout: float | None = field(
        default=None, metadata={"help": "Dropout before the last layer. None: the head's own: mnist 0.5, conv 0.2."}
    )

    def __post_init__(self):
        from hf_encls.model.configuration_encls import HEADS, check_head_options

        if self.head not in HEADS:
            raise ValueError(f"expected --head to be one of {', '.join(HEADS)}, found {self.head!r}")
        check_head_options(self.head, {"dropout": self.dropout})
        if self.dropout is None:
            self.dropout = HEADS[self.head].options.get("dropout")

    def network(self) -> dict[str, object]:
        """What goes into the configuration beside the features."""
        return {"head": self.head, "standardization": self.standardization, "dropout": self.dropout}


# Settings of transformers that are objects or lists.
STRUCTURED = (
    *("lr_scheduler_kwargs", "optim_args", "optim_target_modules", "accelerator_config", "fsdp_config", "deepspeed"),
    *("gradient_checkpointing_kwargs", "liger_kernel_config", "parallelism_config", "report_to", "debug", "fsdp"),
)


def _settings(path: Path, kinds: tuple[type, ...]) -> dict:
    """The settings in a file, each of the type that its option has; null stays what it is. Raises `ValueError`."""
    if path.suffix == ".json":
        values = read_record(path)
    else:
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise ValueError(
                f"{path} is damaged: expected YAML, found {' '.join(str(error).split())[:200]}"
            ) from error
        if not isinstance(values, dict):
            raise ValueError(f"{path} is damaged: expected settings, a name and a value each, found {values!r:.60}")
    actions = {action.dest: action for action in dataclass_parser(kinds, "")._actions}
    hints = {name: kind for each in kinds for name, kind in get_type_hints(each).items()}
    needed = {name for name, kind in hints.items() if kind in (int, float, str)} - set(STRUCTURED)  # and not None
    for name, value in values.items():
        if name not in actions:
            raise ValueError(
                f"{path}: expected names of options, found {name!r:.80}, which is not known{near(str(name), actions)}"
            )
        if isinstance(value, str) and "\0" in value:  # no name of a file may hold one
            raise ValueError(f"{path}: expected {name} to be text without null characters, found {value!r:.60}")
        several = actions[name].nargs not in (None, "?")
        is_switch = isinstance(value, bool) and (name == "resume_from_checkpoint" or bool in get_args(hints.get(name)))
        if isinstance(value, bool) and hints.get(name) in (str, str | None) and not is_switch:
            raise ValueError(f"{path}: expected {name} to be text, found {value!r}")
        if value is None and name in needed:
            raise ValueError(f"{path}: expected {name} to have a value, found null: leave it out, or give one")
        if value is None or several or is_switch or (name in STRUCTURED and isinstance(value, dict | list)):
            continue
        if isinstance(value, dict | list):
            raise ValueError(f"{path}: expected {name} to be one value, found {value!r:.60}")
        try:
            values[name] = (actions[name].type or str)(str(value))
        except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
            raise ValueError(f"{path}: expected another value of {name}, found {value!r:.60} ({error})") from error
    return values


def parse(args: list[str]) -> tuple[ModelArguments, DataArguments, "EnclsTrainingArguments"]:
    """Arguments from a command line, or from one .json, .yaml or .yml file named as the only argument.

    What is not said of how a folder of one's own is learned is as `own_folder` has it, which is printed. Raises
    `ValueError` for a settings file that is not there or names an unknown setting.
    """
    # They bring PyTorch, for which --help does not wait.
    from hf_encls.commands import own_folder
    from hf_encls.training.arguments import EnclsTrainingArguments

    kinds = (ModelArguments, DataArguments, EnclsTrainingArguments)
    if len(args) == 1 and args[0].endswith((".json", ".yaml", ".yml")):
        path = Path(args[0])
        if not path.is_file():
            raise ValueError(f"expected a settings file at {args[0]!r}, found none")
        options = _settings(path, kinds)
    else:
        options = given_options(kinds, args, "Train a classifier.")
    added = own_folder.defaults(options)
    model_args, data_args, training_args = of_options(kinds, options | added)
    data_args.window_of_clips = bool(added) and not {"window_s", "step_s"} & options.keys()
    if added and training_args.process_index == 0:
        print(own_folder.text(added, data_args.window_of_clips), flush=True)
    return model_args, data_args, training_args
