"""A model as one ONNX graph: waveform (samples,) at the model's rate -> probabilities of its windows (windows, classes), and
of the whole clip (classes,).

transformers' exporter draws it, for any length. It is compared with the model at several lengths before it is kept.
"""

import copy
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

import numpy as np
import torch
from torch.nn.utils import parametrize

from hf_encls.files import new_file
from hf_encls.model.calibration_encls import calibrated
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.export_encls import ExportError
from hf_encls.model.modeling_encls import EnclsForAudioClassification, EnclsPreTrainedModel
from hf_encls.model.problem_encls import has_several_labels, thresholds_of

TOLERANCE = 1e-5
OPSET = 18


def export_onnx(model: EnclsForAudioClassification, path: str | os.PathLike) -> float:
    """Write `model` as an ONNX file and return the largest difference of a probability from PyTorch's.

    Metadata: `encls`, JSON with features, labels, sampling_rate, window_s, step_s, the thresholds of `unknown` (null: none)
    and the extractor's settings. Raises
    `ExportError` where the checkpoint has no codec or the graph differs by more than 1e-5, `ValueError` for one whose
    probabilities are no numbers.
    """
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    from transformers.exporters import OnnxConfig, OnnxExporter

    if model.frontend is None:
        raise ExportError(f"this checkpoint was saved without its codec ({model.config.codec_id}): attach it first")
    model = plain_copy(model)
    config = model.config
    example = {"waveform": 0.1 * torch.randn(trial_length(model))}
    settings = OnnxConfig(dynamic_shapes={"waveform": {0: torch.export.Dim.AUTO}}, opset_version=OPSET)
    with new_file(path) as partial, _quiet(), torch.inference_mode(False), torch.no_grad():
        exported = OnnxExporter().export(Graph(model).eval(), example, settings)
        # transformers 5.21 and 5.22 give PyTorch's own program of the graph.
        program = exported.program if hasattr(exported, "components") else exported.model
        # Of each node PyTorch notes the files and addresses of this process: no two files would be equal, or anybody's.
        ClearMetadataAndDocStringPass()(program)
        program.metadata_props["encls"] = json.dumps(_about(config))
        program.producer_name = "hf_encls"
        onnx_ir.save(program, partial)
        difference = compare(model, partial)
        if not difference <= TOLERANCE:
            raise ExportError(f"expected the graph's probabilities within {TOLERANCE}, found {difference:.2g} beside")
    return difference


def trial_length(model: EnclsForAudioClassification) -> int:
    """Samples that a graph is drawn with: several windows, and no chunk of a codec that is one frame long.

    A size of 1 in the trial would be one for ever.
    """
    config = model.config
    length = 3 * config.window_samples + config.step_samples + 1234
    if config.codec_policy not in ("contiguous", "codec"):
        return length
    codec = model.frontend.codec.config
    stride = codec.chunk_stride if config.codec_policy == "codec" else codec.chunk_length
    return codec.chunk_length + -(-length // stride) * stride


class Graph(EnclsPreTrainedModel):
    """What the file computes."""

    def __init__(self, model: EnclsForAudioClassification):
        super().__init__(model.config)
        self.model = model

    def forward(self, waveform: torch.Tensor) -> dict[str, torch.Tensor]:
        """(samples,) -> (windows, classes) and (classes,)."""
        model, config = self.model, self.config
        scores = model.classify(model.windows_in_graph(waveform[None])[0])
        windows = model.probabilities(calibrated(scores, config.window_temperature))
        if has_several_labels(config):
            return {"probabilities": windows, "clip": windows.mean(0)}
        clip = calibrated(scores.softmax(-1).mean(0).log(), config.clip_temperature)
        return {"probabilities": windows, "clip": clip.softmax(-1)}


def compare(
    model: EnclsForAudioClassification, path: str | os.PathLike, lengths: Sequence[int] | None = None
) -> float:
    """The largest difference between probabilities of the graph and of the model, over clips of several lengths."""
    import onnxruntime

    config = model.config
    window, step = config.window_samples, config.step_samples
    lengths = lengths or [window // 3, window, window + step // 2, 2 * window + 3 * step + 77, 5 * window + 4321]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    largest = 0.0
    generator = torch.Generator().manual_seed(0)
    for length in lengths:
        wave = 0.1 * torch.randn(length, generator=generator)
        with torch.no_grad():
            answer = model(input_values=wave[None])
            expected, of_clip = (
                model.probabilities(each[0]).numpy() for each in (answer.window_logits, answer.logits)
            )
        actual, clip = session.run(["probabilities", "clip"], {"waveform": wave.numpy()})
        if actual.shape != expected.shape:
            raise ExportError(f"expected {len(expected)} windows for {length} samples, found {len(actual)}")
        for difference in (actual - expected, clip - of_clip):
            largest = float(np.maximum(largest, np.abs(difference).max()))  # max() would forget a NaN
    return largest


def plain_copy(model: EnclsForAudioClassification) -> EnclsForAudioClassification:
    """A copy in float32 on the CPU whose weights are plain tensors (no weight norm to compute in the graph)."""
    config = copy.deepcopy(model.config)
    if config.representation.needs_codec:
        config.codec_dtype = "float32"
    # Built anew: a deep copy would share its parametrised classes with the model, and removing there would break both.
    out = type(model)(config)
    out.load_state_dict(model.state_dict())
    out = out.cpu().float().eval()
    if config.representation.needs_codec:
        for module in out.frontend.codec.modules():
            if parametrize.is_parametrized(module):
                for name in list(module.parametrizations):
                    parametrize.remove_parametrizations(module, name)
    return out


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporters say of versions and steps is not for those who only want the file."""
    loggers = [logging.getLogger(name) for name in ("transformers", "torch.onnx", "torch.export", "onnxscript")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _about(config: EnclsConfig) -> dict:
    several = has_several_labels(config)
    return {
        "features": config.feature_name,
        "labels": [config.id2label[i] for i in range(config.num_labels)],
        **({"problem_type": config.problem_type, "thresholds": list(thresholds_of(config))} if several else {}),
        "sampling_rate": config.sampling_rate,
        "window_s": config.window_units * config.samples_per_unit / config.sampling_rate,
        "step_s": config.step_units * config.samples_per_unit / config.sampling_rate,
        "codec_id": config.codec_id,
        "codec_hash": config.codec_hash,
        "codec_policy": config.codec_policy,
        "window_unknown_below": config.window_unknown_below,
        "clip_unknown_below": config.clip_unknown_below,
        "extractor": {
            "feature_extractor_type": "EnclsFeatureExtractor",
            "feature_size": 1,
            "padding_value": 0.0,
            "sampling_rate": config.sampling_rate,
        },
    }
