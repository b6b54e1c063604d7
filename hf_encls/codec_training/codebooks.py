"""Residual codebooks fitted to the latents of a trained codec, by k-means.

EnCodec learns its codebooks while it trains (Défossez et al., 2022, section 3.2). Fitted afterwards, one after the
other to what the earlier ones leave over, they make `EncodecModel.encode` and `decode` work without a quantizer in the
training loop. Lloyd's algorithm is written out here so that it runs on an accelerator, is the same for a seed, and
says what happens to codes that nothing is assigned to.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import EncodecModel

CHUNK = 8192  # frames whose distances to all codes are held at a time


def fit_codebooks(
    codec: EncodecModel,
    latents: Tensor,
    *,
    iterations: int = 20,
    seed: int = 0,
    half: bool = True,
    say: Callable[[str], object] = lambda line: None,
) -> list[float]:
    """Fill every codebook of `codec` in place from `latents` (frames, hidden_size).

    Returns the relative squared error after 1, 2, ... codebooks: what is left over, divided by the variance of the
    latents. With `half`, codes are rounded to what float16 can hold before the next codebook is fitted to the rest.
    Raises `ValueError` for latents of the wrong shape or that are not finite.
    """
    size = codec.config.codebook_dim
    if latents.ndim != 2 or latents.shape[1] != size or len(latents) == 0:
        raise ValueError(f"expected latents of shape (frames, {size}), got {tuple(latents.shape)}")
    if not torch.isfinite(latents).all():
        raise ValueError("expected finite latents: the codec's training went wrong, try a lower `learning_rate`")
    residual = latents.float()
    variance = residual.var(dim=0, unbiased=False).sum().clamp_min(1e-12)
    errors = []
    for number, layer in enumerate(codec.quantizer.layers):
        codebook = layer.codebook
        codes, counts = kmeans(residual, codebook.codebook_size, iterations=iterations, seed=seed + number)
        if half:
            codes = codes.half().float()
        residual = residual - codes[nearest(residual, codes)[0]]
        errors.append((residual.square().sum(1).mean() / variance).item())
        # As in EnCodec's running averages, embed = embed_avg / cluster_size; here sizes are relative to the mean one.
        share = (counts / counts.sum() * len(codes)).clamp_min(1e-3)
        codebook.embed.copy_(codes)
        codebook.cluster_size.copy_(share)
        codebook.embed_avg.copy_(codes * share[:, None])
        say(f"codebook {number + 1}/{len(codec.quantizer.layers)}: {errors[-1]:.4f} of the variance is left")
    return errors


def kmeans(points: Tensor, num_codes: int, *, iterations: int = 20, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm: points (N, D) -> codes (num_codes, D) and how many points each one took.

    A code that no point is nearest to is moved to a point that is far from its own code (the farther, the likelier).
    With fewer distinct points than codes, the codes left over stay where they are, unused.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(points), generator=generator)[:num_codes]
    codes = points[order.repeat(-(-num_codes // len(order)))[:num_codes]].clone()
    before = None
    for iteration in range(iterations + 1):
        index, distance = nearest(points, codes)
        counts = torch.bincount(index, minlength=num_codes)
        if iteration == iterations or (before is not None and torch.equal(codes, before)):
            break  # what did not change once never will
        before = codes.clone()
        # One-hot products would need N x num_codes; index_add_ on the CPU adds in the order of the points.
        sums = torch.zeros_like(codes).index_add_(0, index, points)
        used = counts > 0
        codes[used] = sums[used] / counts[used, None]
        dead = (~used).nonzero()[:, 0]
        far = distance.double().cpu().clamp_min(0)
        far[far < 1e-9 * max(1e-12, float(points.square().sum(1).mean()))] = 0  # rounding, not distance
        take = min(len(dead), int((far > 0).sum()), 2**24)
        # A draw is limited to 2**24 categories; Gumbel noise on the logarithm has no such limit.
        if take:
            noise = -torch.log(
                -torch.log(torch.rand(len(far), generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12))
            )
            picked = (torch.log(far) + noise).topk(take).indices
            codes[dead[:take]] = points[picked.to(points.device)]
    return codes, counts


def nearest(points: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """The index of the nearest code to each point (N,), and the squared distance to it (N,)."""
    lengths = codes.square().sum(1)
    indices, distances = [], []
    for part in points.split(CHUNK):
        # The point's own length is the same for every code: added after the minimum.
        distance, index = torch.addmm(lengths, part, codes.T, beta=1, alpha=-2).min(dim=1)
        indices.append(index)
        distances.append((distance + part.square().sum(1)).clamp_min(0))
    return torch.cat(indices), torch.cat(distances)
