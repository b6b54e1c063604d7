"""EnclsFeatureExtractor: waveform(s) -> input_values + attention_mask. No codec inside, so it pickles."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import TensorType, logging

from .limits_encls import check_object

logger = logging.get_logger(__name__)


class EnclsFeatureExtractor(SequenceFeatureExtractor):
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

    def __init__(self, feature_size: int = 1, sampling_rate: int = 24_000, padding_value: float = 0.0, **kwargs):
        kwargs.setdefault("return_attention_mask", True)
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)

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
                How one clip or a batch is padded, as in [`SequenceFeatureExtractor.pad`], which takes `max_length`,
                `truncation` and `pad_to_multiple_of` too.
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
