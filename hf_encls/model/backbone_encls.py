"""EnclsModel: a checkpoint as a source of features, for AutoModel. It travels with what is saved as such."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.modeling_outputs import ModelOutput

from .export_encls import any_size
from .modeling_encls import EnclsForAudioClassification


@dataclass
class EnclsModelOutput(ModelOutput):
    """
    Output of [`EnclsModel`].

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, max_windows, hidden_size)`):
            What the classifier sees of each window; rows beyond a clip's windows are zero.
        pooler_output (`torch.FloatTensor` of shape `(batch_size, hidden_size)`):
            Their mean over each clip's windows.
        num_windows (`torch.LongTensor` of shape `(batch_size,)`):
            Windows of each clip; 1 for `input_features`.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned with `output_hidden_states=True`):
            As in [`EnclsOutput`].
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    num_windows: torch.LongTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


class EnclsModel(EnclsForAudioClassification):
    r"""
    A checkpoint without its last step, for those who want features: what the classifier sees of each window, and its mean
    over a clip. It reads and writes the same checkpoints as [`EnclsForAudioClassification`].
    """

    def forward(
        self,
        input_features: torch.Tensor | None = None,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> EnclsModelOutput | tuple:
        r"""
        Args:
            input_features (`torch.Tensor` of shape `(batch_size, num_bands, num_frames)`, *optional*):
                Windows of features, each a clip of its own.
            input_values (`torch.Tensor` of shape `(batch_size, num_samples)`, *optional*):
                Mono waveforms at `config.sampling_rate`.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_samples)`, *optional*):
                1 for samples, 0 for padding on the right. Padding never changes a feature.
            output_hidden_states (`bool`, *optional*):
                Whether to return the maps of the head's convolutions; the configuration's setting where not given.

        Raises `ValueError` as [`EnclsForAudioClassification`] does.
        """
        if (input_features is None) == (input_values is None):
            raise ValueError(
                "expected either input_features (windows) or input_values (waveforms), found both or neither"
            )
        if input_features is None and torch.compiler.is_exporting():
            with any_size(), self._maps(output_hidden_states) as maps:
                windows = self.windows_in_graph(input_values, attention_mask)
                clips = self.seen(windows.flatten(0, 1)).unflatten(0, windows.shape[:2]).clone()
                counts = torch.full_like(clips[:, 0, 0], windows.shape[1], dtype=torch.long)
                output = EnclsModelOutput(clips, clips.sum(1) / counts[:, None], counts, maps())
        else:
            windows = self.windows(input_values, attention_mask) if input_features is None else input_features.split(1)
            counts = [len(clip) for clip in windows]
            with self._maps(output_hidden_states) as maps:
                clips = self.seen(torch.cat(windows)).split(counts)
            output = EnclsModelOutput(
                last_hidden_state=nn.utils.rnn.pad_sequence(list(clips), batch_first=True),
                pooler_output=torch.stack([clip.mean(0) for clip in clips]),
                num_windows=torch.tensor(counts, device=clips[0].device),
                hidden_states=maps(),
            )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()
