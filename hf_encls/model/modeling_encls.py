"""EnclsForAudioClassification: frozen frontend -> windows -> a head -> labels."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from .calibration_encls import calibrated
from .codec_encls import codec_adapter
from .codec_features_encls import check_codec
from .configuration_encls import EnclsConfig
from .export_encls import ExportError, any_size
from .head_encls import Head
from .identity_encls import check_identity
from .loading_encls import check_finite, check_weights, readable, where_of
from .problem_encls import clip_score, loss_of, probabilities, window_scores
from .representation_encls import Representation

LAYERS_0_1 = ("conv1", "conv2", "classifier")  # of version 0.1's checkpoints, where the one head was the model itself
WINDOWS_PER_PASS = 64  # in inference, so that memory does not grow with the clip
PART_BYTES = 32 << 20  # of a layer's output on a CPU: no gigabyte has to be found for 64 windows


@dataclass
class EnclsOutput(ModelOutput):
    """
    Output of [`EnclsForAudioClassification`].

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is given):
            Cross entropy of windows (`input_features`) or of clips (`input_values`); binary, of several labels at once.
        logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`):
            Scores of windows, or of clips: the logarithm of the mean of the windows' probabilities (of several labels at
            once its log-odds), under the temperature of the configuration where there is one.
        window_logits (`torch.FloatTensor` of shape `(batch_size, max_windows, num_labels)`, *optional*):
            Log-probabilities (log-odds) of each clip's windows; only for `input_values`. Rows beyond a clip's windows are
            zero.
        num_windows (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            Windows of each clip; only for `input_values`.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned with `output_hidden_states=True`):
            One map of shape `(num_windows, channels, height, width)` for each convolution of the head, in their order, of
            all clips' windows one after the other.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    window_logits: torch.FloatTensor | None = None
    num_windows: torch.LongTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


class EnclsPreTrainedModel(PreTrainedModel):
    """Weights and their initialisation."""

    config_class = EnclsConfig
    base_model_prefix = "encls"
    main_input_name = "input_features"  # what is trained on, and the first argument
    input_modalities = "audio"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        # PyTorch's own initialisation, as in the paper; the library's N(0, 0.02) trains differently.
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, Head | Representation):
            module.reset()
        elif isinstance(module, EnclsForAudioClassification):
            nn.init.zeros_(module.feature_mean)
            nn.init.ones_(module.feature_scale)


class EnclsForAudioClassification(EnclsPreTrainedModel):
    r"""
    A head on windows of features: the paper's MNIST convnet, or another one that the configuration names.

    It takes windows of features (training), or waveforms, from which the frozen frontend inside makes the windows.
    """

    # Latents and mel spectra need the precision that their statistics were taken in; the network does not.
    _keep_in_fp32_modules_strict = ["frontend", "feature_mean", "feature_scale"]
    # The loss is a batch's mean, whatever `**kwargs` say: Trainer has to divide it itself.
    accepts_loss_kwargs = False

    def __init__(self, config: EnclsConfig):
        super().__init__(config)
        # A codec that is not in the configuration is not in the checkpoint: then features are the only input.
        lacks_codec = config.representation.needs_codec and config.codec_config is None
        self.frontend = None if lacks_codec else config.representation(config)
        self.head = config.head_class(config)
        # Persistent, and set by set_standardization: part of the checkpoint.
        self.feature_mean = nn.Buffer(torch.zeros(config.num_bands))
        self.feature_scale = nn.Buffer(torch.ones(config.num_bands))
        self.post_init()
        self.register_load_state_dict_pre_hook(_renamed)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, output_loading_info: bool = False, **kwargs):
        """As [`PreTrainedModel.from_pretrained`], except that a checkpoint must be whole.

        Raises `ValueError` that names the file where weights are missing, damaged, not finite, or of other shapes than
        the configuration's; with `ignore_mismatched_sizes=True` those of other shapes are made anew.
        """
        where = where_of(pretrained_model_name_or_path, kwargs.get("subfolder"))
        remade = kwargs.pop("ignore_mismatched_sizes", False)
        names = {rf"^{layer}\.": f"head.{layer}." for layer in LAYERS_0_1} | (kwargs.pop("key_mapping", None) or {})
        with readable(where):
            model, info = super().from_pretrained(
                pretrained_model_name_or_path,
                *model_args,
                ignore_mismatched_sizes=True,  # the library's error names no tensor
                output_loading_info=True,
                key_mapping=names,
                **kwargs,
            )
        model._weight_conversions = None  # it is saved with the names of today
        check_weights(model, info, where, remade)
        return (model, info) if output_loading_info else model

    def forward(
        self,
        input_features: torch.Tensor | None = None,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> EnclsOutput | tuple:
        r"""
        Args:
            input_features (`torch.Tensor` of shape `(batch_size, num_bands, num_frames)`, *optional*):
                Windows of features; for a model on codes also `(batch_size, num_codebooks, num_frames)` integers.
            input_values (`torch.Tensor` of shape `(batch_size, num_samples)`, *optional*):
                Mono waveforms at `config.sampling_rate`.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_samples)`, *optional*):
                1 for samples, 0 for padding on the right. Padding never changes a score.
            labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                Labels of the windows or clips; of several labels at once a `torch.FloatTensor` of shape
                `(batch_size, num_labels)`, from 0 to 1.
            output_hidden_states (`bool`, *optional*):
                Whether to return the maps of the head's convolutions; the configuration's setting where not given.

        Raises `ValueError` when neither or both inputs are given, on shapes that do not fit, and on waveforms given to a
        checkpoint that was saved without its codec; without gradients also where the scores of waveforms are not finite.
        """
        if (input_features is None) == (input_values is None):
            raise ValueError(
                "expected either input_features (windows) or input_values (waveforms), found both or neither"
            )
        window_logits = num_windows = None
        if input_features is not None:
            with self._maps(output_hidden_states) as maps:
                logits = calibrated(self.classify(input_features), self.config.window_temperature)
        elif torch.compiler.is_exporting():
            with any_size(), self._maps(output_hidden_states) as maps:
                windows = self.windows_in_graph(input_values, attention_mask)
                scores = self.classify(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
                window_logits = window_scores(scores.float(), self.config)
                num_windows = torch.full_like(window_logits[:, 0, 0], windows.shape[1], dtype=torch.long)
                logits = clip_score(window_logits, self.config, num_windows[:, None])
                logits = calibrated(logits, self.config.clip_temperature)
                window_logits = calibrated(window_logits, self.config.window_temperature)
        else:
            windows = self.windows(input_values, attention_mask)
            counts = [len(clip) for clip in windows]
            with self._maps(output_hidden_states) as maps:
                scores = self.classify_in_parts(torch.cat(windows))
            scores = window_scores(scores.float(), self.config).split(counts)
            logits = torch.stack([clip_score(clip, self.config) for clip in scores])
            logits = calibrated(logits, self.config.clip_temperature)
            scores = [calibrated(clip, self.config.window_temperature) for clip in scores]
            window_logits = nn.utils.rnn.pad_sequence(scores, batch_first=True)
            num_windows = torch.tensor(counts, device=logits.device)
        loss = None if labels is None else loss_of(logits, labels, self.config)
        output = EnclsOutput(loss, logits, window_logits, num_windows, maps())
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    @contextmanager
    def _maps(self, wanted: bool | None) -> Iterator[Callable[[], tuple[torch.Tensor, ...] | None]]:
        """While it is open, what the head's convolutions give is kept where it is wanted, and can then be asked for."""
        if not (self.config.output_hidden_states if wanted is None else wanted):
            yield lambda: None
            return
        maps = {layer: [] for layer in self.head.modules() if isinstance(layer, nn.Conv2d)}

        def kept(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            maps[layer].append(output)

        def asked() -> tuple[torch.Tensor, ...]:
            if not all(maps.values()):
                raise ValueError(
                    "expected float32 for hidden states: this processor's reduced precision is wrong for the head"
                )
            return tuple(parts[0] if len(parts) == 1 else torch.cat(parts) for parts in maps.values())

        hooks = [layer.register_forward_hook(kept) for layer in maps]
        try:
            yield asked
        finally:
            for hook in hooks:
                hook.remove()

    def windows(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Waveforms (B, N) -> each clip's windows of features (W, C, T), before standardisation."""
        self._check_waveforms(input_values)
        lengths = [input_values.shape[1]] * len(input_values)
        if attention_mask is not None:
            lengths = attention_mask.sum(-1).tolist()
            if min(lengths) == 0:
                raise ValueError("expected at least one sample in each clip, found an attention_mask of zeros")
        clips = [clip[: int(length)].float() for clip, length in zip(input_values, lengths, strict=True)]
        with torch.no_grad():
            return self.frontend.windows(clips)

    def _check_waveforms(self, input_values: torch.Tensor) -> None:
        if self.frontend is None:
            raise ValueError(
                f"this checkpoint was saved without its codec ({self.config.codec_id}): give it windows as input_features, "
                "or the codec itself with model.attach_codec(codec)"
            )
        if input_values.ndim != 2 or input_values.shape[-1] == 0:
            raise ValueError(
                f"expected input_values of shape (batch_size, num_samples), found {tuple(input_values.shape)}"
            )

    def windows_in_graph(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Waveforms (B, N) -> windows of features (B, W, C, T), as `windows` makes them, where a graph is drawn.

        Raises `ExportError` for an attention mask: clips of a graph have one length.
        """
        self._check_waveforms(input_values)
        if attention_mask is not None:
            raise ExportError("expected input_values alone to export, all of one length; found an attention_mask too")
        with torch.no_grad():
            return self.frontend.windows_in_graph(input_values.float())

    def classify(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows of features (W, C, T), or of codes (W, K, T) as integers -> logits as trained (W, num_labels)."""
        return self.head(self.seen(windows))

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Scores (..., num_labels) -> probabilities: softmax, of several labels at once sigmoid."""
        return probabilities(logits, self.config)

    def seen(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows of features (W, C, T), or of codes (W, K, T) as integers -> what the classifier sees (W, hidden_size)."""
        if self.config.representation.integers and not windows.is_floating_point():
            if self.frontend is None:
                raise ValueError("expected windows of embeddings: this checkpoint was saved without its codebooks")
            windows = self.frontend.embed(windows)
        expected = (self.config.num_bands, self.config.num_frames)
        if windows.ndim != 3 or tuple(windows.shape[1:]) != expected:
            raise ValueError(
                f"expected windows of shape (batch_size, {expected[0]}, {expected[1]}), found {tuple(windows.shape)}: they "
                "were made with another window length or kind of features than this model's"
            )
        seen = [self.head.features(self.standardized(part)) for part in self._parts(windows)]
        return seen[0] if len(seen) == 1 else torch.cat(seen)

    def standardized(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows of features (W, C, T) -> the same by the statistics of the training windows, float32."""
        return (windows.float() - self.feature_mean.float()[:, None]) * self.feature_scale.float()[:, None]

    def _parts(self, windows: torch.Tensor) -> Sequence[torch.Tensor]:
        """Windows that go through the head together. Each is computed by itself, so the result is the same."""
        graph = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
        if graph or windows.device.type != "cpu":
            return [windows]
        window_bytes = 4 * self.head.num_values(self.config)
        return windows.split(max(1, PART_BYTES // window_bytes))

    def set_standardization(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Keep statistics (C,) of the training windows. A band that never changes (std 0) is shifted, not scaled."""
        self.feature_mean.copy_(mean)
        self.feature_scale.copy_(torch.where(std > 0, 1 / std.clamp_min(torch.finfo(torch.float32).tiny), 1.0))

    def attach_codec(self, codec: PreTrainedModel) -> None:
        """Put a frozen copy of a codec into the checkpoint, so that the model takes waveforms.

        Raises `ValueError` when the codec does not fit the configuration, or is not the one that it names by its hash.
        """
        if not self.config.representation.needs_codec:
            raise ValueError(f"{self.config.features} needs no codec")
        check_codec(codec, self.config)
        check_identity(codec, self.config)
        config = copy.deepcopy(self.config)
        config.codec_config = codec_adapter(codec).as_dict()
        config.representation.resolve(config)
        frontend = config.representation(config)
        frontend.copy_codec(codec)
        self.config, self.frontend = config, frontend.to(self.device)

    def classify_in_parts(self, windows: torch.Tensor) -> torch.Tensor:
        """As `classify`; without gradients in parts, and raising `ValueError`, which names the file, for NaN or infinity."""
        if torch.is_grad_enabled():
            return self.classify(windows)
        scores = torch.cat([self.classify(part) for part in windows.split(WINDOWS_PER_PASS)])
        return check_finite(scores, "scores", self.name_or_path)

    def train(self, mode: bool = True):
        """Training mode for the network; the frontend stays in evaluation mode, and frozen."""
        super().train(mode)
        if self.frontend is not None:
            # Loading makes new parameters, which train, and ends with eval(); a training begins with train().
            self.frontend.eval().requires_grad_(False)
        return self


def _renamed(model: nn.Module, state_dict: dict, *args) -> None:
    """Before `load_state_dict`: weights that version 0.1 named are the head's."""
    for name in [name for name in state_dict if name.split(".")[0] in LAYERS_0_1]:
        state_dict[f"head.{name}"] = state_dict.pop(name)
