"""transformers' own common tests, over our classes. Run by `test_transformers_common.py` where its archive lies."""

import sys
import types
import unittest

import numpy as np
import torch
from small_models import small_codec


def left_out(name: str, **values) -> None:
    """A module that the source archive leaves out: only what the common tests take from it."""
    for package in (name.rpartition(".")[0], name):
        sys.modules.setdefault(package, types.ModuleType(package)).__path__ = []
    vars(sys.modules[name]).update(values)


settings = {"return_dict": False, "output_hidden_states": True, "dtype": "float16"}
left_out("tests.utils.test_configuration_utils", config_common_kwargs=settings)
left_out("tests.exporters.test_export", ExportTesterMixin=object)
left_out("tests.generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))

from tests.test_configuration_common import ConfigTester  # noqa: E402
from tests.test_modeling_common import ModelTesterMixin  # noqa: E402
from tests.test_sequence_feature_extraction_common import SequenceFeatureExtractionTestMixin  # noqa: E402

from hf_encls import EnclsConfig, EnclsFeatureExtractor, EnclsForAudioClassification, EnclsModel  # noqa: E402
from hf_encls.features.extraction import feature_config  # noqa: E402


class Tester:
    """What the mixins ask of a model: a small configuration, inputs, and the shape of its first map."""

    batch_size, num_hidden_layers, expected_num_hidden_layers, is_training = 3, 2, 2, True

    def __init__(self, parent, features: str, *, waveforms: bool):
        self.parent, self.features, self.waveforms = parent, features, waveforms
        config = self.get_config()
        self.seq_length, self.hidden_size = config.num_bands - 2, config.num_frames - 2

    def get_config(self) -> EnclsConfig:
        codec = small_codec(24) if self.features.startswith("encodec") else None
        settings = {} if codec else {"num_bands": 16, "sampling_rate": 16_000, "n_fft": 256}
        config = feature_config(self.features, codec=codec, window_s=0.4, step_s=0.4, num_labels=3) if codec else None
        config = config or EnclsConfig(features=self.features, window_s=0.4, step_s=0.4, num_labels=3, **settings)
        if codec:
            config.codec_config = codec.config.to_dict()
        config.conv_channels = (4, 8)
        return config

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        generator = torch.Generator().manual_seed(0)
        if self.waveforms:
            clips = torch.randn(self.batch_size, config.window_samples, generator=generator) * 0.1
            return config, {"input_values": clips, "attention_mask": torch.ones(clips.shape, dtype=torch.int32)}
        return config, {
            "input_features": torch.randn(self.batch_size, config.num_bands, config.num_frames, generator=generator)
        }


class Common(ModelTesterMixin):
    all_model_classes = (EnclsForAudioClassification,)
    has_attentions = test_resize_embeddings = test_head_masking = test_pruning = False
    test_torch_exportable = False
    features, waveforms = "", False

    def setUp(self):
        self.model_tester = Tester(self, self.features, waveforms=self.waveforms)
        self.config_tester = ConfigTester(
            self, config_class=EnclsConfig, has_text_modality=False, common_properties=["hidden_size"]
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        labels = {"labels": torch.zeros(self.model_tester.batch_size, dtype=torch.long)}
        return inputs | labels if return_labels and model_class is EnclsForAudioClassification else inputs

    def test_model_get_set_embeddings(self):
        self.skipTest("there is no embedding table")

    def test_model_weights_reload_no_missing_tied_weights(self):
        self.skipTest("a checkpoint must be whole")

    def test_config(self):
        for name in (
            *("create_and_test_config_to_json_string", "create_and_test_config_to_json_file"),
            *("create_and_test_config_from_and_save_pretrained", "create_and_test_config_with_num_labels"),
            *("check_config_can_be_init_without_params", "check_config_arguments_init"),
        ):
            with self.subTest(name):
                getattr(self.config_tester, name)()


class MelWindows(Common, unittest.TestCase):
    features = "mel"


class LogMelWaveforms(Common, unittest.TestCase):
    features, waveforms = "log_mel", True


class LatentsWindows(Common, unittest.TestCase):
    features = "encodec_24khz"


class LatentsWaveforms(Common, unittest.TestCase):
    features, waveforms = "encodec_24khz", True


class CodesWindows(Common, unittest.TestCase):
    features = "encodec_24khz_codes"


class Backbone(Common, unittest.TestCase):
    all_model_classes = (EnclsModel,)
    features = "log_mel"

    def test_training(self):
        self.skipTest("a backbone has no loss of its own")


class ExtractorTester:
    batch_size, min_seq_length, max_seq_length, feature_size = 7, 400, 2000, 1
    seq_length_diff = (max_seq_length - min_seq_length) // (batch_size - 1)

    def prepare_feat_extract_dict(self) -> dict:
        return {"feature_size": 1, "padding_value": 0.0, "sampling_rate": 16_000, "return_attention_mask": True}

    def prepare_inputs_for_common(self, equal_length: bool = False, numpify: bool = False) -> list:
        first, step = (self.max_seq_length, 0) if equal_length else (self.min_seq_length, self.seq_length_diff)
        random = np.random.default_rng(0)
        clips = [random.random(first + step * row).astype(np.float32) for row in range(self.batch_size)]
        return clips if numpify else [clip.tolist() for clip in clips]


class Extractor(SequenceFeatureExtractionTestMixin, unittest.TestCase):
    feature_extraction_class = EnclsFeatureExtractor

    def setUp(self):
        self.feat_extract_tester = ExtractorTester()
