"""Whether the weights of a checkpoint are all there and can be true: the library fills gaps with noise and goes on."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

FLOATS = ("F64", "F32", "F16", "BF16")
COUNTS = "num_batches_tracked"  # of normalisations: the only integers


def where_of(name_or_path: str | os.PathLike | None, subfolder: str | None = None) -> str:
    """What an error calls the file of weights."""
    if name_or_path is None:
        return "the given state_dict"
    return str(Path(name_or_path, subfolder or "", "model.safetensors"))


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Inside, a file that is no safetensors of floats, or not all of one, is a `ValueError` that names it.

    The library's table of what does not fit is not shown: `check_weights` says it in one line.
    """
    report = logging.getLogger("transformers.modeling_utils")
    report.addFilter(_is_no_report)
    try:
        if Path(where).is_file():
            _check_types(where)
        yield
    except SafetensorError as error:
        raise ValueError(f"{where}: damaged or cut short ({error}); copy or download it again") from error
    finally:
        report.removeFilter(_is_no_report)


def _is_no_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()


def _check_types(file: str) -> None:
    with safe_open(file, "pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118 (it is no mapping)
            kind = tensors.get_slice(name).get_dtype()
            if kind not in FLOATS and not name.endswith(f".{COUNTS}"):  # the library would convert it
                raise ValueError(
                    f"{file}: expected weights as {', '.join(FLOATS)}, found {kind} for {name}; the file is damaged"
                )


def check_weights(model: nn.Module, info: dict, where: str, remade: bool = False) -> None:
    """Raise `ValueError` where a model is not what its file holds.

    Args:
        model: the model as it was loaded.
        info: what [`PreTrainedModel.from_pretrained`] says of it (`output_loading_info`).
        where: what the file is called.
        remade: tensors of other shapes were asked to be made anew, and are no error.
    """
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(
            f"{where}: expected all tensors of the model that config.json describes, found none for {_some(missing)}; "
            "the file or config.json is of another model, or damaged"
        )
    others = sorted(info["mismatched_keys"])
    if others and not remade:
        name, actual, expected = others[0]
        more = f" ({len(others)} tensors in all)" if len(others) > 1 else ""
        raise ValueError(
            f"{where}: expected {name} of the shape {tuple(expected)} that config.json asks for, found "
            f"{tuple(actual)}{more}; the file or config.json is of another model"
        )
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not value.is_meta and not value.isfinite().all():
            count = int((~value.isfinite()).sum())
            raise ValueError(
                f"{where}: expected finite weights, found NaN or infinity in {count} of {value.numel()} numbers of "
                f"{name}; the file is damaged, or its training failed"
            )


def check_finite(values: torch.Tensor, what: str, name_or_path: str | os.PathLike | None) -> torch.Tensor:
    """`values`, what a checkpoint computes of finite sounds. Raises `ValueError`, which names its file, for NaN or infinity.

    Weights can be finite, and so large that what they give is not.
    """
    if not values.isfinite().all():
        raise ValueError(
            f"{where_of(name_or_path) if name_or_path else 'this model'}: expected finite {what}, found NaN or infinity: "
            "weights are too large to compute with; the file is damaged, or its training failed"
        )
    return values


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:3])} and {len(names) - 3} more" if len(names) > 3 else ", ".join(names)
