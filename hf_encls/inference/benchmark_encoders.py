"""Our models, and codecs alone, as encoders in other people's benchmarks: MTEB and X-ARES.

import mteb
from hf_encls.embeddings import MtebEncoder

mteb.evaluate(MtebEncoder("my_model"), mteb.get_tasks(["ESC50"]))
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from hf_encls.inference.embeddings import EmbeddingModel, load_embeddings, load_model
from hf_encls.inference.sources import name_of, open_source

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta
    from torch.utils.data import DataLoader


class MtebEncoder:
    """What `mteb.evaluate` takes: each sound alone, at its own length, as the mean and the standard deviation of its frames.

    It asks for neither torchaudio nor torchcodec: rows are decoded as everywhere here, also where a column of audio is
    `Audio(decode=False)`.

    Args:
        model: folder or name on the Hub of a checkpoint or of a codec, or a bundled codec.
        device: where it computes; the first accelerator where None.

    Raises `ValueError` where there is no such model.
    """

    def __init__(self, model: str = "mini", device: str | None = None):
        self.name = str(model)
        self.model = load_embeddings(self.name, device)

    def encode(self, inputs: "DataLoader", *, show_progress_bar: bool = True, **_: object) -> np.ndarray:
        """Batches with a column `audio` -> (n, 2 C). mteb says more about its task, which changes nothing here.

        Raises `ValueError` for inputs without sounds, and for a sound that cannot be used, with its name.
        """
        scenes = []
        for batch in tqdm(inputs, disable=not show_progress_bar):
            if "audio" not in batch:
                raise ValueError(
                    f"expected inputs with audio, found {', '.join(batch)}: {self.name} hears, and reads not"
                )
            scenes += [self.scene(sound) for sound in batch["audio"]]
        return np.stack(scenes)

    def scene(self, sound: object) -> np.ndarray:
        """One sound, in any form that the pipeline takes -> (2 C,)."""
        try:
            clip = open_source(sound, self.model.grid.sampling_rate)
            if clip.blocks is None:
                raise ValueError("expected audio, found codes")
            return self.model.scene(torch.tensor(block) for block in clip.blocks).cpu().numpy()
        except ValueError as error:
            raise ValueError(f"{name_of(sound)}: {error}") from error

    def similarity(self, embeddings1, embeddings2) -> torch.Tensor:
        """(n, D), (m, D) -> cosines (n, m)."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1, embeddings2) -> torch.Tensor:
        """(n, D), (n, D) -> cosines (n,)."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)

    @cached_property
    def mteb_model_meta(self) -> "ModelMeta":
        """What mteb files results under. The revision is a hash of the weights: another training has results of its own."""
        from mteb.models.model_meta import ModelMeta, ScoringFunction

        return ModelMeta.create_empty(
            overwrites={
                "name": self.name if self.name.count("/") == 1 else f"hf_encls/{Path(self.name).name}",
                "revision": weights_hash(self.model),
                "framework": ["PyTorch"],
                "modalities": ["audio"],
                "embed_dim": self.model.scene_embedding_size,
                "n_parameters": sum(each.numel() for each in self.model.parameters()),
                "similarity_fn_name": ScoringFunction.COSINE,
                "use_instructions": False,
            }
        )


class XaresEncoder(nn.Module):
    """What X-ARES takes: sounds (B, N) -> frames (B, T, C). It wants a file with one class without arguments:

        from hf_encls import embeddings

        class MyEncoder(embeddings.XaresEncoder):
            def __init__(self):
                super().__init__("my_model")

    X-ARES files results under the name of the class: give each model its own.

    Args:
        model: as `MtebEncoder` takes it.
        device: where it computes; the first accelerator where None.

    Attributes:
        sampling_rate: hertz at which sounds are taken, the model's own.
        output_dim: C.
        hop_size_in_ms: milliseconds from frame to frame.

    Raises `ValueError` as `load_model` does.
    """

    def __init__(self, model: str = "mini", device: str | None = None):
        super().__init__()
        self.model = load_model(model, device)
        self.sampling_rate = self.model.grid.sampling_rate
        self.output_dim = self.model.timestamp_embedding_size
        self.hop_size_in_ms = 1000 / self.model.grid.frame_rate

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Sounds (B, N) or one (N,), at `sampling_rate` -> frames (B, T, C)."""
        return torch.stack([torch.cat(list(self._frames(sound))) for sound in torch.atleast_2d(audio)])

    def _frames(self, sound: torch.Tensor) -> Iterator[torch.Tensor]:
        return self.model.frames_of_blocks(iter((sound.float(),)))


def weights_hash(model: EmbeddingModel) -> str:
    """16 hexadecimal digits of the weights and of how features are made."""
    digest = hashlib.sha256(json.dumps(model.grid.identity(), sort_keys=True, default=str).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()[:16]
