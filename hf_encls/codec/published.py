"""The two published EnCodec models: what they are called, where they are, how they are built."""

from dataclasses import dataclass

from transformers import EncodecConfig

from hf_encls.model.encodec_encls import PUBLISHED_ENCODEC


@dataclass(frozen=True)
class PublishedCodec:
    """A codec of the reference implementation.

    Args:
        name: what its features and codes are called, `encodec_24khz`.
        hub_id: where its weights are.
        config: its architecture.
    """

    name: str
    hub_id: str
    config: EncodecConfig


def _published(rate: int) -> PublishedCodec:
    name = f"encodec_{rate // 1000}khz"
    return PublishedCodec(name, f"facebook/{name}", EncodecConfig(**PUBLISHED_ENCODEC[rate]))


PUBLISHED = {codec.name: codec for codec in map(_published, PUBLISHED_ENCODEC)}
# The checkpoints that real data is classified with, by their sampling rate in hertz.
DEFAULT_CODECS = {codec.config.sampling_rate: codec.hub_id for codec in PUBLISHED.values()}
DEFAULT_HZ = 24_000  # where no rate is asked for
