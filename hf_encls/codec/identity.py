"""Whether codes fit a model: the same family, policy, bandwidth and codebooks."""

import numpy as np

from hf_encls.codec.codes import Codes, CodesError
from hf_encls.codec.published import PUBLISHED
from hf_encls.model.configuration_encls import EnclsConfig, family_of, parse_features


def codebooks_of(config: EnclsConfig) -> int:
    """Codebooks K that a model on codes uses: its bandwidth over the bits per second of one codebook."""
    if config.num_codebooks:
        return config.num_codebooks
    if config.bandwidth is None:
        raise CodesError(
            "expected a model on codes that says its bandwidth or num_codebooks, found one without: set either"
        )
    return max(1, int(config.bandwidth * 1000 // (np.log2(_codebook_size(config)) * config.frame_rate)))


def check_fits(codes: Codes, config: EnclsConfig, assume_codec: bool = False) -> None:
    """Raise `CodesError` unless codes can be shown to be what a model was trained on.

    A bitstream names its codec's family and not its weights. Codes with the identity of their codebooks fit where it
    is the model's. Codes without one fit a model whose codec is the published one, `facebook/encodec_*`.
    `assume_codec`: the caller vouches for the weights, whatever the identities say.

    More codebooks than the model uses are no hindrance: the first ones are the codes at the lower bandwidth.
    """
    if not config.representation.integers:
        raise CodesError(
            f"this model classifies {config.feature_name}, not codes: give it the audio, or train a model with "
            "`features=codes`"
        )
    if (family_of(codes.family), parse_features(codes.family)[1]) != (config.codec_family, config.sampling_rate):
        raise CodesError(f"expected {config.feature_name}, found codes of {codes.family}")
    if codes.layout.stride is not None and config.codec_policy != "codec":
        raise CodesError(
            f"expected codes made under the policy {config.codec_policy!r}, found a {codes.family} bitstream, whose "
            "chunks overlap: a model trained with codec_policy 'codec' would fit; or give this one the audio"
        )
    if codes.num_codebooks < codebooks_of(config):
        raise CodesError(
            f"expected at least {codebooks_of(config)} codebooks ({config.bandwidth} kbps), found "
            f"{codes.num_codebooks}: encode the audio again with more bandwidth"
        )
    size = _codebook_size(config)
    if max(int(chunk.max()) for chunk in codes.chunks) >= size:
        raise CodesError(f"expected codes below {size}, the size of this model's codebooks: they are of another codec")
    if assume_codec:
        return
    if codes.codebook_hash is not None:
        if codes.codebook_hash != config.codebook_hash:
            raise CodesError(
                f"expected codes of the codebooks {_short(config.codebook_hash)} ({config.codec_id}), found codes of "
                f"{_short(codes.codebook_hash)}: encode the audio again with {config.codec_id}"
            )
    # A bitstream without an identity comes from the reference implementation, whose only weights are the published ones.
    elif config.codec_id != (official := PUBLISHED[codes.family].hub_id):
        raise CodesError(
            f"does not say which weights made it, so it is taken for {official}, and this model's codec "
            f"is {config.codec_id}: encode the audio with that one (hf-encls encode), or say that the codec is the "
            "same with `assume_codec=True`"
        )


def _codebook_size(config: EnclsConfig) -> int:
    return (config.codec_config or {}).get("codebook_size", 1024)


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "of no known identity"
