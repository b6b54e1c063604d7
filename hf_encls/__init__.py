"""EnCodec latents (or mel) of audio in, a small CNN on the Hub out.

`import hf_encls` registers the classes with transformers' Auto classes, so that the stock
`pipeline("audio-classification")` runs a checkpoint without remote code.
"""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.model.modeling_encls import EnclsForAudioClassification

__version__ = "0.1.0"
__all__ = ["EnclsConfig", "EnclsFeatureExtractor", "EnclsForAudioClassification", "EnclsPipeline", "__version__"]

AutoConfig.register(EnclsConfig.model_type, EnclsConfig, exist_ok=True)
AutoFeatureExtractor.register(EnclsConfig, EnclsFeatureExtractor, exist_ok=True)
AutoModelForAudioClassification.register(EnclsConfig, EnclsForAudioClassification, exist_ok=True)
# Their files travel with every checkpoint that is saved, for interpreters where hf_encls is not installed.
EnclsConfig.register_for_auto_class()
EnclsFeatureExtractor.register_for_auto_class()
EnclsForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")


def __getattr__(name: str):
    # The pipeline brings the codec's files and the timelines with it: it is loaded when it is asked for.
    if name == "EnclsPipeline":
        from hf_encls.inference.pipeline import EnclsPipeline

        return EnclsPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
