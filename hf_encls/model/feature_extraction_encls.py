"""EnclsFeatureExtractor: waveform(s) -> input_values + attention_mask. No codec inside, so it pickles."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from transformers import BatchFeature
from transformers.utils import TensorType, logging

from .limits_encls import check_object

try:
    from transformers import SequenceFeatureExtractor as Preprocessor
except ImportError:  # what the library replaces it by; only how it is saved and loaded is taken from either
    from transformers import BaseAudioProcessor as Preprocessor

logger = logging.get_logger(__name__)


class EnclsFeatureExtractor(Preprocessor):
    r"""
    Prepares mono waveforms for [`EnclsForAudioClassification`]: checks them and pads a batch on the right.

    Args:
        feature_size (`int`, *optional*, defaults to 1):
            Channels of the input.
        sampling_rate (`int`, *optional*, defaults to 24000):
            Sampling rate in hertz that the model expects.
        padding_value (`float`, *optional*, defaults to 0.0):
            Value of the padding; it never changes a score, because the model honours the mask.
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = 24_000,
        padding_value: float = 0.0,
        padding_side: str = "right",
        return_attention_mask: bool = True,
        **kwargs,
    ):
        if padding_side != "right":
            raise ValueError(
                f"expected padding_side right, found {padding_side!r}: the model hears a clip's first samples"
            )
        # Newer versions of the library call the mask so in what they hand over from an older file.
        return_attention_mask = kwargs.pop("return_padding_mask", return_attention_mask)
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        self.feature_size, self.sampling_rate, self.padding_value = feature_size, sampling_rate, padding_value
        self.padding_side, self.return_attention_mask = padding_side, return_attention_mask

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """As [`SequenceFeatureExtractor.from_pretrained`]. Raises `ValueError` for a file that is no JSON object."""
        check_object(Path(pretrained_model_name_or_path, kwargs.get("subfolder") or "", "preprocessor_config.json"))
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    def __call__(
        self,
        raw_speech: np.ndarray | Sequence[float] | Sequence[np.ndarray],
        sampling_rate: int | None = None,
        padding: bool | str = True,
        return_tensors: str | TensorType | None = None,
        return_attention_mask: bool | None = None,
        **kwargs,
    ) -> BatchFeature:
        """
        Args:
            raw_speech (`np.ndarray` of shape `(num_samples,)` or a list of them):
                One waveform or several, mono.
            sampling_rate (`int`, *optional*):
                Sampling rate of the waveforms in hertz. Another one than the model's is an error; none is a warning.
            padding (`bool` or `str`, *optional*, defaults to `True`):
                How one clip or a batch is padded, as in [`EnclsFeatureExtractor.pad`], whose `max_length`, `truncation` and
                `pad_to_multiple_of` are taken too.
            return_tensors (`str`, *optional*):
                `"pt"` or `"np"`.
            return_attention_mask (`bool`, *optional*):
                Whether to return the mask; the extractor's own setting, `True`, where not given. Without it the model
                hears padding as sound.

        Returns a [`BatchFeature`] with `input_values` of shape `(batch_size, num_samples)`, float32, and `attention_mask` of
        the same shape, int32, unless it is not asked for. Raises `ValueError` on empty, non-finite or multi-channel
        input and on a wrong rate.
        """
        if sampling_rate is None:
            logger.warning_once(
                f"sampling_rate was not given: {self.sampling_rate} Hz is taken for granted. Give it, so that a wrong "
                "rate is an error and not a wrong label."
            )
        elif sampling_rate != self.sampling_rate:
            raise ValueError(
                f"expected audio at {self.sampling_rate} Hz, found {sampling_rate} Hz: resample it first, for example with "
                f"soxr.resample(audio, {sampling_rate}, {self.sampling_rate})"
            )
        batch = raw_speech if _is_batch(raw_speech) else [raw_speech]
        waveforms = [_checked(waveform) for waveform in batch]
        return self.pad(
            BatchFeature({"input_values": waveforms}),
            padding=padding,
            return_attention_mask=return_attention_mask,
            return_tensors=return_tensors,
            **kwargs,
        )

    def pad(
        self,
        processed_features: Mapping | Sequence[Mapping],
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
    ) -> BatchFeature:
        """
        Pads a batch on the right; the library's own way of doing it is changing.

        Args:
            processed_features (`Mapping` with a list of waveforms as `input_values`, or a list of such for one clip each):
                Waveforms of shape `(num_samples,)`. What else it holds is handed on.
            padding (`bool` or `str`, *optional*, defaults to `True`):
                `True` or `"longest"`: to the longest clip. `"max_length"`: to `max_length`. `False` or `"do_not_pad"`.
            max_length (`int`, *optional*):
                Samples to pad to, or with `truncation` to cut to.
            truncation (`bool`, *optional*, defaults to `False`):
                Cut what is longer than `max_length`.
            pad_to_multiple_of (`int`, *optional*):
                The padded length, and `max_length`, are rounded up to a multiple of so many samples.
            return_attention_mask (`bool`, *optional*):
                Whether to return the mask; the extractor's own setting where not given.
            return_tensors (`str`, *optional*):
                `"pt"` or `"np"`; what the waveforms are where not given.

        Returns a [`BatchFeature`] as the call does. Raises `ValueError` without `input_values`, and for another padding.
        """
        if not isinstance(processed_features, Mapping):
            names = processed_features[0]
            processed_features = {name: [example[name] for example in processed_features] for name in names}
        batch = {name: [_array(row)[()] for row in rows] for name, rows in processed_features.items()}
        if "input_values" not in batch:
            raise ValueError(f"expected input_values to pad, found {', '.join(batch) or 'nothing'}")
        if not batch["input_values"]:
            return BatchFeature(batch | {"attention_mask": []})
        if return_tensors is None:
            return_tensors = "pt" if hasattr(processed_features["input_values"][0], "detach") else "np"
        lengths = [len(row) for row in batch["input_values"]]
        cut, filled = _lengths(lengths, padding, max_length, truncation, pad_to_multiple_of)
        if self.return_attention_mask if return_attention_mask is None else return_attention_mask:
            batch.setdefault("attention_mask", [np.ones(length, np.int32) for length in lengths])
        for name, value in (("input_values", self.padding_value), ("attention_mask", 0)):
            if name in batch:
                batch[name] = [_filled(row[:cut], filled, value) for row in batch[name]]
        return BatchFeature(batch, tensor_type=return_tensors)


def _lengths(
    lengths: list[int], padding: bool | str, max_length: int | None, truncation: bool, multiple: int | None
) -> tuple[int | None, int]:
    """To how many samples clips are cut, None for as they are, and to how many they are filled up."""
    padding = {True: "longest", False: "do_not_pad"}.get(padding, padding)
    if padding not in ("longest", "max_length", "do_not_pad"):
        raise ValueError(f"expected padding True, False, longest, max_length or do_not_pad, found {padding!r}")
    if max_length is None and (truncation or padding == "max_length"):
        raise ValueError("padding to max_length and truncation need max_length, found None")

    def whole(length: int) -> int:
        return length if multiple is None else -(-length // multiple) * multiple

    cut = whole(max_length) if truncation else None
    if padding == "do_not_pad":
        return cut, 0
    return cut, whole(max_length if padding == "max_length" else max(min(each, cut or each) for each in lengths))


def _filled(row: np.ndarray, length: int, value: float) -> np.ndarray:
    missing = max(0, length - len(row))
    return np.pad(row, [(0, missing)] + [(0, 0)] * (row.ndim - 1), constant_values=value)


def _array(row) -> np.ndarray:
    row = np.asarray(row.detach().cpu() if hasattr(row, "detach") else row)
    return row.astype(np.float32) if row.dtype == np.float64 else row


def _is_batch(raw_speech) -> bool:
    if isinstance(raw_speech, np.ndarray) or hasattr(raw_speech, "detach"):
        return False  # one array is one clip; two dimensions are refused below
    return len(raw_speech) > 0 and np.ndim(raw_speech[0]) > 0


def _checked(waveform) -> np.ndarray:
    if hasattr(waveform, "detach"):
        waveform = waveform.detach().cpu().numpy()
    waveform = np.asarray(waveform)
    if waveform.dtype.kind not in "fiu":
        raise ValueError(f"expected samples as numbers, found dtype {waveform.dtype}")
    if waveform.dtype.kind in "iu":
        raise ValueError(
            f"expected float samples between -1 and 1, found {waveform.dtype}: divide by {np.iinfo(waveform.dtype).max}"
        )
    waveform = waveform.astype(np.float32)
    if waveform.ndim != 1:
        raise ValueError(
            f"expected a mono waveform of shape (num_samples,), found shape {waveform.shape}: average its channels first"
        )
    if len(waveform) == 0:
        raise ValueError("expected at least one sample, found an empty waveform")
    if not np.isfinite(waveform).all():
        raise ValueError(
            f"expected finite samples, found {np.count_nonzero(~np.isfinite(waveform))} NaN or infinite of {len(waveform)}"
        )
    return waveform
