"""transformers as it is announced (its #44394, #48110 to #48115): audio processors instead of feature extractors.

`install` has to be called before hf_encls registers its classes. What the drafts say is made here from the present
library: saving and loading by a `PreprocessingMixin`, `pad` on raw audio, other names of the outputs and of the mask's
setting, and no filter banks in `audio_utils`.
"""

import copy
import sys
import warnings

REMOVED = ("mel_filter_bank", "spectrogram", "spectrogram_batch", "power_to_db_batch", "amplitude_to_db_batch")
RENAMED = {"return_attention_mask": "return_padding_mask"}
DROPPED = ("feature_extractor_type", "audio_processor_type", "processor_class")


def install(shim: bool) -> None:
    """Change transformers, in this process, to what is coming; without `shim` SequenceFeatureExtractor is gone too."""
    from transformers import FeatureExtractionMixin, audio_utils, feature_extraction_sequence_utils, pipeline  # noqa: F401

    transformers = sys.modules["transformers"]  # another one than before: importing the pipelines makes it anew

    assert "hf_encls.model.feature_extraction_encls" not in sys.modules, "too late"
    transformers.SequenceFeatureExtractor  # noqa: B018 - loaded, so that the lazy module does not bring it back

    class BaseAudioProcessor(FeatureExtractionMixin):
        model_input_names = ["audio"]
        padding_side = "right"
        padding_value = 0.0
        return_padding_mask = True

        def __init__(self, sampling_rate: int | None = None, **kwargs):
            if sampling_rate is None:
                raise ValueError("`sampling_rate` must be set")
            self.sampling_rate = sampling_rate
            for name in DROPPED:
                kwargs.pop(name, None)
            for name in ("padding_side", "padding_value", "return_padding_mask"):  # its `valid_kwargs`
                value = kwargs.pop(name, None)
                setattr(self, name, copy.deepcopy(getattr(self, name)) if value is None else value)
            for name, value in kwargs.items():
                setattr(self, name, value)

        @classmethod
        def from_dict(cls, config_dict, **kwargs):
            renamed = {RENAMED.get(name, name): value for name, value in config_dict.items() if name not in DROPPED}
            return super().from_dict(renamed, **kwargs)

        def to_dict(self):
            output = {name: copy.deepcopy(value) for name, value in self.__dict__.items()}
            return output | {"audio_processor_type": type(self).__name__}

        def __call__(self, audio, **kwargs):
            raise AssertionError("the library's own preprocessing was asked for")

        def pad(self, audio, padding=True, max_length=None, truncation=False, pad_to_multiple_of=None):
            raise AssertionError("the library's own padding was asked for")

    class SequenceFeatureExtractor(BaseAudioProcessor):
        def __init__(self, feature_size=None, sampling_rate=None, padding_value=0.0, **kwargs):
            warnings.warn("`SequenceFeatureExtractor` is deprecated", FutureWarning, stacklevel=2)
            if "return_attention_mask" in kwargs:
                kwargs.setdefault("return_padding_mask", kwargs["return_attention_mask"])
            super().__init__(sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)

    for name in REMOVED:
        delattr(audio_utils, name)
    transformers.BaseAudioProcessor = BaseAudioProcessor
    if shim:
        transformers.SequenceFeatureExtractor = SequenceFeatureExtractor
    else:
        # Nothing may find it; the library's own extractors were derived from it before, or are not asked for.
        transformers._class_to_module.pop("SequenceFeatureExtractor", None)
        vars(transformers).pop("SequenceFeatureExtractor")
        del feature_extraction_sequence_utils.SequenceFeatureExtractor
