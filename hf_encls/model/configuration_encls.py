"""FeatureConfig: how features are made. EnclsConfig: that, and the head that classifies them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from .calibration_encls import check_calibration
from .codec_encls import FAMILIES, codec_adapter, reason_of
from .conv_encls import ConvHead
from .head_encls import Head
from .limits_encls import check_last_layer, check_numbers, check_object, check_seconds
from .mnist_encls import MnistHead
from .modulation_encls import ModulationHead
from .names_encls import REPRESENTATIONS, family_of, parse_features
from .problem_encls import check_problem
from .representation_encls import Representation
from .statistics_encls import StatisticsHead

HEADS: dict[str, type[Head]] = {each.kind: each for each in (MnistHead, StatisticsHead, ModulationHead, ConvHead)}
HEAD_OPTIONS = tuple(dict.fromkeys(name for head in HEADS.values() for name in head.options))
PRECISIONS = ("float32", "bfloat16", "tf32")
# Fields that say where a codec came from or follow from others: two features may differ in these and be the same.
ORIGIN = ("codec_config", "codec_id", "codec_revision", "num_codebooks")


@strict
class FeatureConfig(PreTrainedConfig):
    r"""
    How the features of a sound are made: the representation, its settings, the windows.

    Its fields are what makes features what they are: `identity()`. What is computed from them is answered by the class
    of the representation, [`Representation`].

    Args:
        features (`str`, *optional*, defaults to `"latents"`):
            Kind of features: `mel` (power), `log_mel` (decibels), `latents` (of a codec, before the quantizer) or `codes`
            (embeddings of the quantizer's codes). `encodec_<N>khz` and `encodec_<N>khz_codes` are names for the last two
            at a sampling rate of N kHz; `dac_44100hz`, `mimi_24khz` those of other families.
        sampling_rate (`int`, *optional*, defaults to 24000):
            Sampling rate in hertz of the waveforms that the features are made of.
        window_s (`float`, *optional*, defaults to 1.0):
            Length in seconds of a window, what the network sees at once. A whole number of frames.
        step_s (`float`, *optional*, defaults to 1.0):
            Distance in seconds between the starts of neighbouring windows. A whole number of frames.
        num_bands (`int`, *optional*, defaults to 128):
            Mel bands, or the size of the codec's latents.
        n_fft (`int`, *optional*, defaults to 512):
            Samples of the Hamming window and the FFT of mel features.
        hop_length (`int`, *optional*, defaults to 128):
            Samples between the frames of mel features.
        floor_db (`float`, *optional*):
            Level in decibels of `log_mel` that stands for everything softer. `None`: -100.
        codec_config (`dict`, *optional*):
            The configuration of the frozen codec inside the checkpoint. `None`: the checkpoint has no codec and takes
            `input_features` only.
        codec_family (`str`, *optional*, defaults to `"encodec"`):
            The `model_type` of that codec; follows from `codec_config` where there is one.
        codec_id (`str`, *optional*):
            Where the codec came from: Hub id or folder name.
        codec_revision (`str`, *optional*):
            The codec's revision on the Hub.
        codec_hash (`str`, *optional*):
            SHA-256 of the encoder's weights and unusual settings: features of another codec do not fit this checkpoint.
        codebook_hash (`str`, *optional*):
            SHA-256 of the codebooks, for codes.
        codec_policy (`str`, *optional*):
            How a clip goes through the codec: `whole` (one pass), `contiguous` (chunks of `chunk_length_s` side by side)
            or `codec` (overlapping chunks, as [`EncodecModel.encode`]). `None`: `contiguous` where the codec has chunks,
            else `whole`.
        codec_dtype (`str`, *optional*, defaults to `"float32"`):
            Precision the codec computes in: `float32`, `bfloat16`, or `tf32` (float32 of which a GPU's convolutions use
            10 bits of the mantissa; on a CPU it is float32).
        bandwidth (`float`, *optional*):
            Bandwidth in kilobits per second of the codes, one of the codec's `target_bandwidths`.
        num_codebooks (`int`, *optional*):
            Codebooks that the bandwidth comes to, for codes: the rows of a window of codes.
        frame_length (`int`, *optional*, defaults to 320):
            Samples per frame of the codec, its `hop_length`.
    """

    model_type = "encls_features"

    features: str = "latents"
    sampling_rate: int = 24_000
    window_s: float = 1.0
    step_s: float = 1.0
    num_bands: int = 128
    n_fft: int = 512
    hop_length: int = 128
    floor_db: float | None = None
    codec_config: dict | None = None
    codec_family: str = "encodec"
    codec_id: str | None = None
    codec_revision: str | None = None
    codec_hash: str | None = None
    codebook_hash: str | None = None
    codec_policy: str | None = None
    codec_dtype: str = "float32"
    bandwidth: float | None = None
    num_codebooks: int | None = None
    frame_length: int = 320

    def __post_init__(self, **kwargs):
        # The library makes a table of as many names, and looks the type up in torch, before anything is validated.
        check_numbers(self, kwargs.get("num_labels"))
        super().__post_init__(**kwargs)
        try:
            representation, rate = parse_features(self.features)
            self._take_family()
            if rate in (None, self.sampling_rate):
                self.features = representation.kind
                representation.resolve(self)
        except (TypeError, ValueError):
            pass  # refused, in its turn, by the validation that follows

    def validate_architecture(self):
        """Part of `@strict`-powered validation. Refuses what cannot work, with what would."""
        representation, rate = parse_features(self.features)
        if rate not in (None, self.sampling_rate):
            raise ValueError(
                f"{self.features} needs sampling_rate={rate}, found {self.sampling_rate}: take the kind that names the "
                f"codec's own rate, or {representation.kind}"
            )
        self._take_family()
        self.representation.validate(self)
        if self.floor_db is not None and "floor_db" not in self.representation.options:
            raise ValueError(f"floor_db is about log_mel and was given with {self.features}: leave it out")
        if self.codec_dtype not in PRECISIONS:
            raise ValueError(f"expected codec_dtype {', '.join(PRECISIONS)}, found {self.codec_dtype!r}")
        check_seconds("window_s", self.window_s)
        check_seconds("step_s", self.step_s)
        if self.window_units < 1 or self.step_units < 1:
            raise ValueError(
                f"window_s={self.window_s} and step_s={self.step_s} must each be at least one frame "
                f"({1 / self.frame_rate:.4f} s)"
            )

    def _take_family(self) -> None:
        """The codec's family, of the name of the features where there is no codec. Raises `ValueError` where they differ."""
        named = family_of(self.features)
        if named is None:
            return
        family = named if self.codec_config is None else codec_adapter(self.codec_config).model_type
        if family != named:
            raise ValueError(f"{self.features} needs a codec of the family {named}, found one of {family}")
        self.codec_family = named

    @classmethod
    def of(cls, config: "FeatureConfig", **changes) -> "FeatureConfig":
        """The features of a configuration without its network, with other settings where `changes` say so."""
        return cls(**{name: getattr(config, name) for name in FeatureConfig.__annotations__} | changes)

    def identity(self) -> dict:
        """What makes features what they are: two with equal identities can be mixed."""
        later = {"codec_family": "encodec", "floor_db": None}  # features that were made before have these values
        names = [name for name in FeatureConfig.__annotations__ if name not in (*ORIGIN, *later)]
        changed = {name: getattr(self, name) for name, value in later.items() if getattr(self, name) != value}
        return {name: getattr(self, name) for name in names} | {"features": self.feature_name} | changed

    @property
    def representation(self) -> type[Representation]:
        """The class of the representation."""
        return REPRESENTATIONS[self.features]

    @property
    def feature_name(self) -> str:
        """What features are called in caches, repositories and tables: the kind, of a codec with its family and rate."""
        if not self.representation.needs_codec:
            return self.features
        rate = f"{self.sampling_rate // 1000}khz" if self.sampling_rate % 1000 == 0 else f"{self.sampling_rate}hz"
        return f"{self.codec_family}_{rate}" + ("_codes" if self.representation.integers else "")

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of one window as it is stored: (num_bands, T), of codes (num_codebooks, T)."""
        return self.representation.stored_bands(self), self.num_frames

    @property
    def samples_per_unit(self) -> int:
        """Samples in one unit of the window grid: a frame for a codec, one sample for mel (windows are cut before it)."""
        return self.representation.samples_per_unit(self)

    @property
    def frame_rate(self) -> float:
        """Frames per second of the features."""
        return self.sampling_rate / self.representation.frame_length(self)

    @property
    def window_units(self) -> int:
        """Units of the window grid in one window."""
        return round(self.window_s * self.sampling_rate / self.samples_per_unit)

    @property
    def step_units(self) -> int:
        """Units of the window grid between the starts of two windows."""
        return round(self.step_s * self.sampling_rate / self.samples_per_unit)

    @property
    def window_samples(self) -> int:
        """Samples in one window."""
        return self.window_units * self.samples_per_unit

    @property
    def step_samples(self) -> int:
        """Samples between the starts of two windows."""
        return self.step_units * self.samples_per_unit

    @property
    def num_frames(self) -> int:
        """Frames T of one window."""
        return self.representation.num_frames(self, self.window_samples)

    def window_starts_s(self, count: int) -> np.ndarray:
        """Seconds (count,) at which a clip's first `count` windows start."""
        return self.representation.window_starts(self, count) / self.sampling_rate


@strict
class EnclsConfig(FeatureConfig):
    r"""
    Configuration of [`EnclsForAudioClassification`]: the features it classifies, and the head that does it.

    It has the arguments of [`FeatureConfig`], and these:

    Args:
        standardization (`str`, *optional*, defaults to `"band"`):
            `band`: each band is shifted and scaled by statistics of the training windows. `none`: features as they are.
        head (`str`, *optional*, defaults to `"mnist"`):
            What classifies a window: `mnist` (the paper's network), `statistics` (a linear classifier of means, deviations
            and covariance, fitted without epochs), `modulation` (the same, of each band's changes by their rate too) or
            `conv` (a deeper network with fewer weights). The settings below are those of heads; what is `None` becomes the
            head's own value, and stays `None` where it has no such setting.
        conv_channels (`list[int]`, *optional*):
            Channels of the convolutions: of `mnist` two, `[32, 64]`; of `conv` two or more, `[32, 64, 128, 256]`.
        kernel_size (`int`, *optional*):
            Size of the convolution kernels: 3; of `conv` an odd number.
        pool_size (`int`, *optional*):
            Size and stride of the max-pools: of `mnist` 2.
        dropout (`float`, *optional*):
            Dropout probability before the last layer: of `mnist` 0.5, of `conv` 0.2.
        num_directions (`int`, *optional*):
            Directions in which `statistics` and `modulation` take the covariance: 32; 0: none is taken.
        thresholds (`list[float]`, *optional*):
            With `problem_type="multi_label_classification"`: from which probability on each class counts as there.
        window_temperature (`float`, *optional*):
            What the logits of windows are divided by, so that probabilities are as high as the answers are often right.
            Fitted after training; `None`: as trained.
        clip_temperature (`float`, *optional*):
            The same for clips: it divides the logarithm of the mean of the windows' probabilities as trained.
        window_unknown_below (`float`, *optional*):
            A window whose most probable class has less is answered `unknown` by pipelines and timelines. `None`: none is.
        clip_unknown_below (`float`, *optional*):
            The same for clips.
    """

    model_type = "encls"
    # Windows' scores are for people; Trainer, which looks here, needs the logits only.
    keys_to_ignore_at_inference = ["window_logits", "num_windows", "hidden_states"]

    standardization: str = "band"
    head: str = "mnist"
    conv_channels: list[int] | tuple[int, ...] | None = None
    kernel_size: int | None = None
    pool_size: int | None = None
    dropout: float | None = None
    num_directions: int | None = None
    thresholds: list[float] | tuple[float, ...] | None = None
    window_temperature: float | None = None
    clip_temperature: float | None = None
    window_unknown_below: float | None = None
    clip_unknown_below: float | None = None

    def __post_init__(self, **kwargs):
        if isinstance(self.head, str) and self.head in HEADS:
            for name, value in self.head_class.options.items():
                if getattr(self, name) is None:
                    setattr(self, name, value)
        super().__post_init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Numbers of a window that the classifier sees."""
        return self.head_class.num_features(self)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """As [`PreTrainedConfig.from_pretrained`]. Raises `ValueError` that names the file where it is no such one."""
        named = "name_or_path" in kwargs
        kwargs.setdefault("name_or_path", pretrained_model_name_or_path)  # for errors
        check_object(Path(pretrained_model_name_or_path, kwargs.get("subfolder") or "", "config.json"))
        loaded = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if not named:
            (loaded[0] if isinstance(loaded, tuple) else loaded).name_or_path = ""
        return loaded

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """As [`PreTrainedConfig.from_dict`]. Raises `ValueError` for values that cannot work."""
        place = kwargs.get("name_or_path") or config_dict.get("name_or_path")
        where = f"{Path(place) / 'config.json'}: " if place else ""
        model_type = config_dict.get("model_type", None if place else cls.model_type)
        if model_type is None:  # the library makes a configuration of defaults where a folder has none
            raise ValueError(f"{where}expected the configuration of a classifier, found none: it could not be loaded")
        if model_type != cls.model_type:
            advice = "; a codec is no classifier: give it as `codec`" if str(model_type) in FAMILIES else ""
            raise ValueError(
                f"{where}expected a classifier (model_type {cls.model_type}), found {model_type!r}{advice}"
            )
        try:
            return super().from_dict(config_dict, **kwargs)
        except StrictDataclassError as error:  # the library's own kind of error, of several lines; its cause is ours
            raise ValueError(where + reason_of(error)) from error
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}{error}") from error

    def validate_architecture(self):
        """Part of `@strict`-powered validation. Refuses what cannot work, with what would."""
        super().validate_architecture()
        if self.standardization not in ("band", "none"):
            raise ValueError(f"expected standardization band or none, found {self.standardization!r}")
        if self.head not in HEADS:
            raise ValueError(f"expected head to be one of {', '.join(HEADS)}, found {self.head!r}")
        check_head_options(self.head, {name: getattr(self, name) for name in HEAD_OPTIONS})
        self.head_class.validate(self)
        check_last_layer(self)
        check_problem(self)
        check_calibration(self)

    @property
    def head_class(self) -> type[Head]:
        """The class of the head."""
        return HEADS[self.head]


def check_head_options(head: str, settings: Mapping[str, object]) -> None:
    """Raise `ValueError` for a setting of other heads that is not None."""
    for name, value in settings.items():
        if value is not None and name not in HEADS[head].options:
            where = [each.kind for each in HEADS.values() if name in each.options]
            raise ValueError(f"{name} is about the head {' and '.join(where)} and was given with {head}: leave it out")
