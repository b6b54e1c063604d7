"""Embeddings with the interface of HEAR (https://hearbenchmark.com/hear-api.html).

A timestamp embedding is one frame of the frontend: EnCodec's latents before the quantizer (or the embeddings of their
codes, or mel bands), standardised by the statistics of the model's training windows. A scene embedding is the mean and
the standard deviation of a sound's frames.

    model = load_model("my_model")
    scenes = get_scene_embeddings(audio, model)                  # (n, 2 C)
    frames, milliseconds = get_timestamp_embeddings(audio, model)    # (n, t, C), (n, t)
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig

from hf_encls.audio import resample
from hf_encls.codec.loading import bundled_codecs, load_codec
from hf_encls.features.extraction import feature_config
from hf_encls.files.checkpoints import find_checkpoint
from hf_encls.model.codec_encls import FAMILIES, codec_adapter
from hf_encls.model.codec_features_encls import Latents
from hf_encls.model.configuration_encls import EnclsConfig, FeatureConfig
from hf_encls.model.loading_encls import check_finite
from hf_encls.model.modeling_encls import EnclsForAudioClassification

HEAR_RATES = (16_000, 22_050, 32_000, 44_100, 48_000)
GROUP = 10  # frames that are cut together; the end of a sound is lost to less than one frame
BLOCK_S = 10.0


class EmbeddingModel(nn.Module):
    """A frontend that gives frames instead of windows.

    Attributes:
        sample_rate: hertz at which audio is taken. 48,000 where the model's own rate is none of HEAR's: 24 kHz is not.
        timestamp_embedding_size: C, the size of a frame.
        scene_embedding_size: 2 C.
    """

    def __init__(self, model: EnclsForAudioClassification):
        super().__init__()
        if model.frontend is None:
            name = model.config.name_or_path or "this checkpoint"
            raise ValueError(f"{name} was saved without its codec ({model.config.codec_id}): attach it first")
        own_rate = model.config.sampling_rate
        self.sample_rate = own_rate if own_rate in HEAR_RATES else 48_000
        self.timestamp_embedding_size = model.config.num_bands
        self.scene_embedding_size = 2 * model.config.num_bands
        self.grid = frame_grid(model.config)
        self.frontend = copy.copy(model.frontend)  # the same weights under another grid
        self.frontend.config = self.grid
        self.name = model.name_or_path
        self.mean = nn.Buffer(model.feature_mean.float().cpu().clone())
        self.scale = nn.Buffer(model.feature_scale.float().cpu().clone())
        self.eval()

    def frames(self, sound: torch.Tensor) -> Iterator[torch.Tensor]:
        """One sound (N,) at `sample_rate` -> its frames (f, C) piece by piece, standardised."""
        wave = resample(sound.detach().float().cpu().numpy(), self.sample_rate, self.grid.sampling_rate)
        return self.frames_of_blocks(iter(torch.from_numpy(wave).split(round(BLOCK_S * self.grid.sampling_rate))))

    @torch.inference_mode()
    def frames_of_blocks(self, blocks: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Blocks (n,) of one sound at the frontend's own rate -> its frames (f, C) piece by piece, standardised."""
        length = sent = 0

        def counted() -> Iterator[torch.Tensor]:
            nonlocal length
            for block in blocks:
                length += len(block)
                yield block.to(self.mean.device)

        for windows in self.frontend.stream(counted()):
            # Only the last group reaches beyond the sound, and by then its whole length is known.
            piece = windows.transpose(1, 2).flatten(0, 1)[: self.num_frames(length) - sent]
            sent += len(piece)
            yield check_finite((piece - self.mean) * self.scale, "embeddings", self.name)

    def scene(self, blocks: Iterator[torch.Tensor]) -> torch.Tensor:
        """Blocks (n,) of one sound at the frontend's own rate -> (2 C,), in memory that does not grow with the sound."""
        return _scene(self.frames_of_blocks(blocks))

    def num_frames(self, length: int) -> int:
        """Frames of `length` samples at the frontend's rate that are not mirror images beyond the end."""
        return self.grid.representation.frames_of_clip(self.grid, length)

    def times_ms(self, count: int) -> np.ndarray:
        """Milliseconds (count,) of the centres of the first `count` frames."""
        groups = self.grid.window_starts_s(-(-count // GROUP))
        inside = np.arange(GROUP) / self.grid.frame_rate
        centre = self.grid.representation.frame_centre(self.grid) / self.grid.sampling_rate
        return 1000 * ((groups[:, None] + inside).reshape(-1)[:count] + centre)


def frame_grid(config: FeatureConfig) -> FeatureConfig:
    """The same features in windows that are groups of frames side by side, so that all frames are one even series."""
    representation, rate = config.representation, config.sampling_rate
    step_s = GROUP * representation.frame_length(config) / rate
    return FeatureConfig.of(config, window_s=representation.num_samples(config, GROUP) / rate, step_s=step_s)


def load_model(model_file_path: str = "", device: str | torch.device | None = None) -> EmbeddingModel:
    """As `load_embeddings`, for HEAR: the bundled codec `mini` where `model_file_path` is empty.

    Raises `ValueError` as that does, and for a model whose frames are not evenly spaced in time, as HEAR asks
    (`codec_policy` `codec`).
    """
    model = load_embeddings(str(model_file_path) or "mini", device)
    if model.grid.codec_policy == "codec":
        raise ValueError(
            f"{model_file_path}: expected frames at even distances, as HEAR does, found codec_policy 'codec', whose chunks "
            "overlap and repeat frames: use a model with codec_policy 'contiguous' or 'whole'; hf-encls embed "
            "takes this one"
        )
    return model


def load_embeddings(name: str, device: str | torch.device | None = None) -> EmbeddingModel:
    """Embeddings by a checkpoint of ours or by a codec alone, on the first accelerator where there is one.

    `name` is a folder, a name on the Hub, or a bundled codec. A codec alone gives its latents as they are: no statistics
    are known. Raises `ValueError` where there is no such thing.
    """
    if name in bundled_codecs():
        model = _of_codec(name)
    else:
        instead = f"give the folder of one, or a bundled codec ({', '.join(bundled_codecs())})"
        local = find_checkpoint(name, None, "a checkpoint or a codec", instead)
        try:
            values, _ = PreTrainedConfig.get_config_dict(name, local_files_only=local)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"expected a checkpoint or a codec at {name!r}, and it could not be read: {error}"
            ) from error
        kind = values.get("model_type")
        if kind not in (*FAMILIES, EnclsConfig.model_type):
            raise ValueError(
                f"expected a checkpoint or a codec at {name!r}, found model_type {kind!r} in its config.json"
            )
        if kind in FAMILIES:
            model = _of_codec(name)
        else:
            model = EnclsForAudioClassification.from_pretrained(name, use_safetensors=True, local_files_only=local)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return EmbeddingModel(model).to(device)


def _of_codec(name: str) -> EnclsForAudioClassification:
    codec = load_codec(name)
    adapter = codec_adapter(codec)
    # Windows are for the network, which is not asked here, but must be possible: of a slow codec a second is too short.
    window_s = max(1.0, 16 * adapter.hop_length / adapter.sampling_rate)
    config = feature_config(Latents.kind, codec=codec, codec_id=name, num_labels=2, window_s=window_s)
    model = EnclsForAudioClassification(config)
    model.attach_codec(codec)
    return model.eval()


def get_timestamp_embeddings(audio: torch.Tensor, model: EmbeddingModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Sounds (n, samples) at `model.sample_rate` -> frames (n, t, C) and the milliseconds (n, t) of their centres.

    A codec's last frame is left out where its centre lies beyond the sound, unless it is the only one.
    """
    frames = torch.stack([torch.cat(list(model.frames(sound))) for sound in _checked(audio)])
    end_ms = 1000 * audio.shape[1] / model.sample_rate
    times = model.times_ms(frames.shape[1])
    inside = max(1, int((times <= end_ms + 1e-6).sum()))
    times = torch.from_numpy(times[:inside].clip(max=end_ms)).float().to(frames.device)
    return frames[:, :inside], times.expand(len(frames), -1).clone()


def get_scene_embeddings(audio: torch.Tensor, model: EmbeddingModel) -> torch.Tensor:
    """Sounds (n, samples) at `model.sample_rate` -> (n, 2 C): mean and standard deviation of each sound's frames.

    Frames are summed as they come, so memory does not grow with the sound.
    """
    return torch.stack([_scene(model.frames(sound)) for sound in _checked(audio)])


def _scene(pieces: Iterator[torch.Tensor]) -> torch.Tensor:
    count, mean, square = 0, 0.0, 0.0
    for piece in pieces:  # Chan's update: no difference of large sums
        values = piece.double()
        n, piece_mean = len(values), values.mean(dim=0)
        delta = piece_mean - mean
        square = square + (values - piece_mean).square().sum(dim=0) + delta.square() * (count * n / (count + n))
        mean = mean + delta * (n / (count + n))
        count += n
    return torch.cat([mean, (square / count).sqrt()]).float()


def _checked(audio: torch.Tensor) -> torch.Tensor:
    if not isinstance(audio, torch.Tensor) or audio.ndim != 2 or not audio.numel() or not audio.is_floating_point():
        kind = tuple(audio.shape) if hasattr(audio, "shape") else type(audio).__name__
        raise ValueError(f"expected a float tensor of sounds, (n_sounds, n_samples), found {kind}")
    if not audio.isfinite().all():
        raise ValueError("expected finite samples, found NaN or infinity")
    return audio
