"""What is written with a run's scores: the model with its code, each file whole, and what a score depends on."""

import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath, PureWindowsPath

from hf_encls import __version__
from hf_encls.files import move_into_place, work_folder, writing
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.model.modeling_encls import EnclsForAudioClassification


def save_model(model: EnclsForAudioClassification, config: EnclsConfig, folder: Path) -> None:
    """Write the checkpoint, the feature extractor and the code that runs them into `folder`."""
    model.cpu()
    with writing(folder), work_folder(folder) as work:
        model.save_pretrained(work)
        EnclsFeatureExtractor(sampling_rate=config.sampling_rate).save_pretrained(work)
        for file in sorted(work.iterdir()):
            if file.is_file():
                move_into_place(file, folder / file.name)


def versions() -> dict[str, str]:
    """Versions of what a score depends on."""
    names = ("torch", "transformers", "datasets", "accelerate", "soundfile", "soxr", "numpy")
    # Ours is what is imported: a clone on PYTHONPATH is no installed package.
    ours = {"python": platform.python_version(), "hf_encls": __version__}
    return ours | {name: version(name) for name in names}


def public_command(arguments: Sequence[str], secrets: Iterable[str | None] = ()) -> list[str]:
    """A command line as it may be published: options that name a token are left out with their values, and so is every
    argument with one of `secrets` in it; of an absolute path only the last part stays. Whether the run was resumed is
    left out too: the command is the one that makes the same results from nothing.
    """
    secrets = [secret for secret in secrets if secret]
    words: list[str] = []
    value_left_out = False
    for argument in arguments:
        is_option = argument.startswith("--")
        name, equals, value = argument.partition("=") if is_option else ("", "", argument)
        if value_left_out and not is_option:
            value_left_out = False
            continue
        is_left_out = "token" in name.lower() or name.startswith("--resu")  # it may be abbreviated
        value_left_out = is_left_out and not equals
        if is_left_out:
            continue
        if any(secret in argument for secret in secrets):  # of an option that was abbreviated
            if not is_option and words and words[-1].startswith("--"):
                words.pop()
            continue
        words.append(name + equals + _without_place(value))
    return words


def _without_place(text: str) -> str:
    """The last part of an absolute path, anything else as it is."""
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(text).is_absolute():
            return kind(text).name
    return text
