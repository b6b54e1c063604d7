"""What is done to batches, to the loss, to the learning rate and to the weights, so that few sounds teach more."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import get_type_hints

SCHEDULES = ("constant", "linear", "cosine")  # transformers' names
ARGUMENTS = {
    **{"num_train_epochs": "epochs", "lr_scheduler_type": "schedule", "warmup_steps": "warmup"},
    "label_smoothing_factor": "label_smoothing",
}
FOR_FITTED = ("band_shift", "refit")  # fields that mean something to heads without epochs alone


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are the paper's way: nothing of all this.

    Args:
        crop: each training window is cut anew, in every epoch, from two neighbours in its clip. A clip of one window, and
            windows with gaps between them, leave nothing to cut.
        gain_db: sounds become louder or softer by up to this many decibels. Of mel alone, where that is exact: a codec is
            not linear, and its latents stay as they are.
        time_masks: how many stretches of frames are hidden, each of up to `mask_share` of the window: the band's mean of
            the batch stands there (SpecAugment, arXiv:1904.08779).
        band_masks: how many stretches of neighbouring bands, or channels of latents, are hidden in the same way.
        mask_share: the longest mask as a share of the window's frames or bands.
        mixup: two windows of a batch and their labels are mixed in shares from Beta(mixup, mixup) (arXiv:1710.09412).
        average: decay of the exponential moving average of the weights, which is what is validated and kept (Polyak's
            average; arXiv:1803.05407 shows what averages do). Early on the decay is lower: (1 + n) / (10 + n) after n
            steps.
        class_weights: the loss of a class is weighted by the inverse of its share of the training windows (King and Zeng,
            2001). In a balanced folder all weights are 1. Of several labels at once, yes and no of each label weigh alike.
        label_smoothing: this share of each label goes to all classes alike (arXiv:1512.00567).
        schedule: of the learning rate, by transformers' name (cosine: arXiv:1608.03983).
        warmup: the share of the steps in which the learning rate rises to its value (arXiv:1706.02677).
        epochs: passes over the training windows.
        band_shift: a head that is fitted sees each training window two more times, moved by this many bands up and down,
            where bands are in an order of pitch; the three weigh as one. 0: once.
        refit: a head that is fitted is fitted once more, to training and validation windows together, of few as free
            as a cross-validation decides (`inner_folds`). What is said of validation is of the first fit, which had not
            heard them.

    Raises `ValueError` for values that cannot work.
    """

    crop: bool = False
    gain_db: float = 0.0
    time_masks: int = 0
    band_masks: int = 0
    mask_share: float = 0.2
    mixup: float = 0.0
    average: float = 0.0
    class_weights: bool = False
    label_smoothing: float = 0.0
    schedule: str = "constant"
    warmup: float = 0.0
    epochs: float = 15.0
    band_shift: int = 0
    refit: bool = False

    def __post_init__(self):
        for name, least, most in (
            *(("gain_db", 0, 60), ("time_masks", 0, 100), ("band_masks", 0, 100), ("mask_share", 0, 1)),
            *(("mixup", 0, 100), ("average", 0, 0.999999), ("label_smoothing", 0, 0.999999), ("warmup", 0, 0.999999)),
            ("band_shift", 0, 100),
        ):
            value = getattr(self, name)
            if not least <= value <= most:  # also where it is no number
                raise ValueError(f"expected {name} of a recipe from {least} to {most:g}, found {value}")
        if not 0 < self.epochs < math.inf:
            raise ValueError(f"expected epochs of a recipe above 0, found {self.epochs}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"expected schedule of a recipe to be {', '.join(SCHEDULES)}, found {self.schedule!r}")

    @classmethod
    def parse(cls, text: str) -> "Recipe":
        """The recipe of a name, with changes behind it: `recommended` or `recommended,mixup=0,crop=false`.

        Raises `ValueError` for an unknown name or field and for a value that is none.
        """
        name, *changes = (part.strip() for part in str(text).split(","))
        if name not in RECIPES:
            raise ValueError(f"expected a recipe {' or '.join(RECIPES)}, found {name!r:.80}")
        kinds, values = get_type_hints(cls), {}
        for change in changes:
            field, equals, value = (part.strip() for part in change.partition("="))
            if field not in kinds or not equals:
                raise ValueError(
                    f"expected changes to a recipe as name=value, of {', '.join(kinds)}, found {change!r:.80}"
                )
            values[field] = _value(field, value, kinds[field])
        return replace(RECIPES[name], **values)

    @property
    def text(self) -> str:
        """What `parse` makes this recipe of: the name of the nearest one and what differs from it."""
        differing = {
            name: [each.name for each in fields(self) if getattr(self, each.name) != getattr(recipe, each.name)]
            for name, recipe in RECIPES.items()
        }
        name = min(differing, key=lambda name: len(differing[name]))
        return ",".join([name, *(f"{field}={_text(getattr(self, field))}" for field in differing[name])])

    @property
    def changes_batches(self) -> bool:
        """Whether a training batch is another one than what is stored."""
        return bool(self.crop or self.gain_db or self.time_masks or self.band_masks or self.mixup)

    @property
    def arguments(self) -> dict[str, float | str]:
        """What of it are arguments of the Trainer, by their names there."""
        return {argument: getattr(self, field) for argument, field in ARGUMENTS.items()}

    def settings(self) -> dict[str, bool | int | float]:
        """The rest: what makes a run another one beside its arguments."""
        return {name: value for name, value in asdict(self).items() if name not in ARGUMENTS.values()}


RECIPES = {
    "paper": Recipe(),
    "recommended": Recipe(
        crop=True,
        gain_db=6.0,
        time_masks=1,
        band_masks=1,
        mask_share=0.2,
        mixup=0.3,
        average=0.995,
        class_weights=True,
        label_smoothing=0.0,
        schedule="cosine",
        warmup=0.1,
        epochs=40.0,
        band_shift=2,
        refit=True,
    ),
}


def with_whole_recipe(settings: Mapping) -> Mapping:
    """Settings of a run whose recipe, where they have one, has all fields: one that was not written down did nothing."""
    recipe = settings.get("recipe")
    return {**settings, "recipe": Recipe().settings() | recipe} if isinstance(recipe, dict) else settings


def _value(field: str, text: str, kind: type) -> bool | int | float | str:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"expected {field} of a recipe to be true or false, found {text!r:.80}")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(
            f"expected {field} of a recipe to be a {'whole ' * (kind is int)}number, found {text!r:.80}"
        ) from None


def _text(value: bool | int | float | str) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
