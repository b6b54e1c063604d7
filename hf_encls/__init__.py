"""EnCodec latents (or mel) of audio in, a small CNN on the Hub out.

`import hf_encls` loads nothing. As soon as transformers is there, before or after it, the classes are registered with its
Auto classes, so that the stock `pipeline("audio-classification")` runs a checkpoint without remote code.
"""

import importlib
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__version__ = "0.2.0.dev0"

_PLACES = {
    "EnclsConfig": "hf_encls.model.configuration_encls",
    "EnclsFeatureExtractor": "hf_encls.model.feature_extraction_encls",
    "EnclsForAudioClassification": "hf_encls.model.modeling_encls",
    "EnclsModel": "hf_encls.model.backbone_encls",
    "EnclsPipeline": "hf_encls.inference.pipeline",
    "EnclsTrainingArguments": "hf_encls.training.arguments",
    "FeatureConfig": "hf_encls.model.configuration_encls",
    "Results": "hf_encls.training.results",
    "Run": "hf_encls.training.run",
    "SoundIndex": "hf_encls.features.search",
    "TimeLabels": "hf_encls.data.labelled",
    "evaluate": "hf_encls.training.run",
    "explain": "hf_encls.inference.explanation",
    "extract_features": "hf_encls.features.extraction",
    "feature_config": "hf_encls.features.extraction",
    "load_codec": "hf_encls.codec.loading",
    "scan_folder": "hf_encls.data.folders",
    "scan_recordings": "hf_encls.data.labelled",
    "segment": "hf_encls.inference.segment",
    "train": "hf_encls.training.run",
    "write_synthetic": "hf_encls.data.synthetic",
}
__all__ = [*_PLACES, "__version__"]


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _register() -> None:
    """Make the classes known to transformers' Auto classes; a second time changes nothing."""
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

    from hf_encls.model.backbone_encls import EnclsModel
    from hf_encls.model.configuration_encls import EnclsConfig
    from hf_encls.model.feature_extraction_encls import EnclsFeatureExtractor
    from hf_encls.model.modeling_encls import EnclsForAudioClassification

    AutoConfig.register(EnclsConfig.model_type, EnclsConfig, exist_ok=True)
    AutoFeatureExtractor.register(EnclsConfig, EnclsFeatureExtractor, exist_ok=True)
    AutoModel.register(EnclsConfig, EnclsModel, exist_ok=True)
    AutoModelForAudioClassification.register(EnclsConfig, EnclsForAudioClassification, exist_ok=True)
    # Their files travel with every checkpoint that is saved, for interpreters where hf_encls is not installed.
    EnclsConfig.register_for_auto_class()
    EnclsFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
    EnclsForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")
    EnclsModel.register_for_auto_class("AutoModel")


class _AfterTransformers(MetaPathFinder):
    """Registers when transformers is imported; importing it here would cost every `--help` its seconds."""

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if fullname != "transformers":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _register()

        spec.loader.exec_module = exec_module
        return spec


if "transformers" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _AfterTransformers())
