"""EnclsConfig: what a checkpoint is, and how its features are made."""

import math
import re
from pathlib import Path

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import EncodecConfig, PreTrainedConfig

from .limits_encls import MOST_WEIGHTS, check_encodec, check_network, check_object

MEL_KINDS = ("mel", "log_mel")
POLICIES = ("whole", "contiguous", "codec")
PRECISIONS = ("float32", "bfloat16", "tf32")


@strict
class EnclsConfig(PreTrainedConfig):
    r"""
    Configuration of [`EnclsForAudioClassification`]: the features it classifies and the network that does it.

    Args:
        features (`str`, *optional*, defaults to `"encodec_24khz"`):
            Kind of features: `mel` (power), `log_mel` (decibels), `encodec_<N>khz` (latents before the quantizer) or
            `encodec_<N>khz_codes` (embeddings of the quantizer's codes).
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
        codec_config (`dict`, *optional*):
            The [`EncodecConfig`] of the frozen codec inside the checkpoint. `None`: the checkpoint has no codec and takes
            `input_features` only.
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
        standardization (`str`, *optional*, defaults to `"band"`):
            `band`: each band is shifted and scaled by statistics of the training windows. `none`: features as they are.
        conv_channels (`list[int]`, *optional*, defaults to `[32, 64]`):
            Channels of the two convolutions.
        kernel_size (`int`, *optional*, defaults to 3):
            Size of both convolution kernels.
        pool_size (`int`, *optional*, defaults to 2):
            Size and stride of both max-pools.
        dropout (`float`, *optional*, defaults to 0.5):
            Dropout probability before the last layer.
    """

    model_type = "encls"
    # Windows' scores are for people; Trainer, which looks here, needs the logits only.
    keys_to_ignore_at_inference = ["window_logits", "num_windows"]

    features: str = "encodec_24khz"
    sampling_rate: int = 24_000
    window_s: float = 1.0
    step_s: float = 1.0
    num_bands: int = 128
    n_fft: int = 512
    hop_length: int = 128
    codec_config: dict | None = None
    codec_id: str | None = None
    codec_revision: str | None = None
    codec_hash: str | None = None
    codebook_hash: str | None = None
    codec_policy: str | None = None
    codec_dtype: str = "float32"
    bandwidth: float | None = None
    num_codebooks: int | None = None
    frame_length: int = 320
    standardization: str = "band"
    conv_channels: list[int] | tuple[int, ...] = (32, 64)
    kernel_size: int = 3
    pool_size: int = 2
    dropout: float = 0.5

    def __post_init__(self, **kwargs):
        # The library makes a table of as many names, and looks the type up in torch, before anything is validated.
        check_network(self, kwargs.get("num_labels"))
        super().__post_init__(**kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """As [`PreTrainedConfig.from_pretrained`]. Raises `ValueError` that names the file where it is no such one."""
        kwargs.setdefault("name_or_path", pretrained_model_name_or_path)
        check_object(Path(pretrained_model_name_or_path, kwargs.get("subfolder") or "", "config.json"))
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """As [`PreTrainedConfig.from_dict`]. Raises `ValueError` for values that cannot work."""
        place = kwargs.get("name_or_path") or config_dict.get("name_or_path")
        where = f"{Path(place) / 'config.json'}: " if place else ""
        found = config_dict.get("model_type", None if place else cls.model_type)
        if found is None:  # the library makes a configuration of defaults where a folder has none
            raise ValueError(f"{where}expected the configuration of a classifier, found none: it could not be loaded")
        if found != cls.model_type:
            advice = "; a codec goes to --codec, or to load_codec" if found == EncodecConfig.model_type else ""
            raise ValueError(f"{where}expected a classifier (model_type {cls.model_type}), found {found!r}{advice}")
        try:
            return super().from_dict(config_dict, **kwargs)
        except StrictDataclassError as error:  # the library's own kind of error, of several lines; its cause is ours
            raise ValueError(where + reason_of(error)) from error
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}{error}") from error

    def validate_architecture(self):
        """Part of `@strict`-powered validation. Refuses what cannot work, with what would."""
        rate_khz = codec_khz(self.features)
        if self.features not in MEL_KINDS and rate_khz is None:
            raise ValueError(
                f"expected features to be mel, log_mel, encodec_24khz, encodec_48khz or one of the last two with _codes, "
                f"found {self.features!r}"
            )
        if rate_khz is not None and self.sampling_rate != rate_khz * 1000:
            raise ValueError(
                f"{self.features} needs sampling_rate={rate_khz * 1000}, found {self.sampling_rate}: take the kind that "
                "names the codec's own rate"
            )
        if rate_khz is not None and self.codec_policy not in (None, *POLICIES):
            raise ValueError(f"expected codec_policy to be one of {', '.join(POLICIES)}, found {self.codec_policy!r}")
        if rate_khz is None and (self.codec_policy or self.codec_config):
            raise ValueError(f"{self.features} has no codec: codec_policy and codec_config must be None")
        if self.codec_dtype not in PRECISIONS:
            raise ValueError(f"expected codec_dtype {', '.join(PRECISIONS)}, found {self.codec_dtype!r}")
        if self.standardization not in ("band", "none"):
            raise ValueError(f"expected standardization band or none, found {self.standardization!r}")
        if len(self.conv_channels) != 2:
            raise ValueError(f"expected two conv_channels, found {list(self.conv_channels)}")
        if not 0 < self.window_s < math.inf or not 0 < self.step_s < math.inf:
            raise ValueError(f"expected window_s and step_s above 0, found {self.window_s} and {self.step_s}")
        if self.window_units < 1 or self.step_units < 1:
            raise ValueError(
                f"window_s={self.window_s} and step_s={self.step_s} must each be at least one frame "
                f"({1 / self.frame_rate:.4f} s)"
            )
        height, width = pooled_size(self.num_bands, self), pooled_size(self.num_frames, self)
        if height < 1 or width < 1:
            needed = self.pool_size * (self.pool_size + self.kernel_size - 1) + self.kernel_size - 1
            needed_s = (
                needed / self.frame_rate
                if self.is_codec
                else (self.n_fft + (needed - 1) * self.hop_length) / self.sampling_rate
            )
            raise ValueError(
                f"window_s={self.window_s} is too short for the network: {self.num_frames} frames, it needs {needed} "
                f"({needed_s:.3f} s or more)"
            )
        weights = self.conv_channels[1] * height * width * self.num_labels
        if weights > MOST_WEIGHTS:
            raise ValueError(
                f"expected a last layer of at most {MOST_WEIGHTS} weights, found {weights}: window_s {self.window_s}, "
                f"num_bands {self.num_bands}, conv_channels {list(self.conv_channels)} and {self.num_labels} labels ask "
                "for too much"
            )
        if self.codec_config is not None:
            encodec_config(self)

    @property
    def is_codec(self) -> bool:
        """Whether the features come from a codec (latents or codes)."""
        return self.features not in MEL_KINDS

    @property
    def uses_codes(self) -> bool:
        """Whether the features are the embeddings of quantised codes."""
        return self.features.endswith("_codes")

    @property
    def window_shape(self) -> tuple[int, int]:
        """Shape of one window as it is stored: (num_bands, T), of codes (num_codebooks, T)."""
        return (self.num_codebooks if self.uses_codes else self.num_bands), self.num_frames

    @property
    def samples_per_unit(self) -> int:
        """Samples in one unit of the window grid: a frame for a codec, one sample for mel (windows are cut before it)."""
        return self.frame_length if self.is_codec else 1

    @property
    def frame_rate(self) -> float:
        """Frames per second of the features."""
        return self.sampling_rate / (self.samples_per_unit if self.is_codec else self.hop_length)

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
        """Frames T of one window: equation (1) of the paper for mel, whole frames for a codec."""
        if self.is_codec:
            return self.window_units
        return (self.window_samples - self.n_fft) // self.hop_length + 1 if self.window_samples >= self.n_fft else 0


def codec_khz(features: str) -> int | None:
    """The rate in kilohertz that a codec kind names (`encodec_24khz` -> 24), None for other kinds."""
    match = re.fullmatch(r"encodec_(\d+)khz(_codes)?", features)
    return int(match[1]) if match else None


def pooled_size(size: int, config: EnclsConfig) -> int:
    """What two rounds of convolution without padding and max-pool leave of `size`."""
    for _ in range(2):
        size = (size - config.kernel_size + 1) // config.pool_size
    return size


def encodec_config(config: EnclsConfig) -> EncodecConfig:
    """The codec's own configuration as an object. Raises `ValueError` where the checkpoint has no codec."""
    if config.codec_config is None:
        raise ValueError(
            f"this checkpoint was saved without its codec ({config.codec_id}): it takes input_features; give it the codec "
            "with model.attach_codec(EncodecModel.from_pretrained(...)) to classify waveforms"
        )
    kind = config.codec_config.get("model_type", EncodecConfig.model_type)
    if kind != EncodecConfig.model_type:
        raise ValueError(f"expected a codec_config of model_type {EncodecConfig.model_type}, found {kind!r}")
    try:
        return checked_encodec({key: value for key, value in config.codec_config.items() if key != "model_type"})
    except ValueError as error:
        raise ValueError(f"codec_config: {error}") from error


def checked_encodec(settings: dict) -> EncodecConfig:
    """A codec's configuration of its settings. Raises `ValueError`, one line, for one that cannot be built."""
    try:
        codec = EncodecConfig(**settings)
    except StrictDataclassError as error:
        raise ValueError(reason_of(error)) from error
    except TypeError as error:
        raise ValueError(str(error)) from error
    check_encodec(codec)
    return codec


def reason_of(error: StrictDataclassError) -> str:
    """What a configuration of the library says is wrong with it, in one line."""
    return " ".join(str(error.__cause__ or error).split())
