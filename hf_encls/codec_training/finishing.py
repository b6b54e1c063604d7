"""From trained weights to a codec to publish: codebooks, half precision, an example, measurements, a card."""

import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import EncodecFeatureExtractor, EncodecModel

from hf_encls.audio import open_wav
from hf_encls.codec.facts import TRAINING_FACTS
from hf_encls.codec_training.autoencoder import Autoencoder, run_clip
from hf_encls.codec_training.card import render_codec_card
from hf_encls.codec_training.codebooks import fit_codebooks
from hf_encls.codec_training.corpus import Corpus, TrainingSounds
from hf_encls.codec_training.losses import LogMel
from hf_encls.codec_training.measuring import MAX_VALIDATION_S, measure, measure_bandwidths
from hf_encls.codec_training.progress import Say, silent, with_progress
from hf_encls.files import new_file, write_bytes, write_text
from hf_encls.model.identity_encls import codec_hash

MAX_FRAMES = 100_000  # that codebooks are fitted to
EXCERPT_S = 2.0


def finish_codec(
    codec: EncodecModel,
    sounds: TrainingSounds,
    output_dir: Path,
    results: dict,
    unheard: Corpus | None = None,
    say: Say = silent,
) -> dict:
    """Fit the codebooks, measure on held-out clips and write everything a codec's folder holds, on the encoder's device.

    `results` is what is known of the training: the card calls the codec by its `name`, and `float16` asks for half
    precision. `unheard` are sounds to measure besides, which were neither trained on nor held out.

    `config.json`, `model.safetensors`, `preprocessor_config.json`, `codec_training.json` (the returned results),
    `example.png`, `example.wav` and `README.md`. Weights are rounded to half precision before anything is fitted or
    measured, so the numbers are those of the files.
    """
    codec.to(next(codec.encoder.parameters()).device).eval()
    name, float16 = results["name"], results["float16"] and round_to_half(codec, say)
    results = {key: value for key, value in results.items() if key != "name"}
    latents = collect_latents(codec, sounds.corpora, seed=0, say=say)
    say(f"fitting {len(codec.quantizer.layers)} codebooks of {codec.config.codebook_size} to {len(latents):,} frames")
    errors = fit_codebooks(codec, latents, half=float16, say=say)
    results |= {"float16": float16, "quantizer_error": errors}
    results["validation"] = measure(Autoencoder(codec), sounds.held_out, codec, say)
    results["validation_by_bandwidth"] = measure_bandwidths(codec, sounds.held_out, say)
    say(f"held out: {json.dumps(results['validation'])}")
    say(f"held out, through the codebooks: {json.dumps(results['validation_by_bandwidth'])}")
    if unheard is not None:
        results["unheard"] = {**results["unheard"], **measure(Autoencoder(codec), unheard, codec, say)}
        results["unheard"]["by_bandwidth"] = measure_bandwidths(codec, unheard, say)
        say(f"never heard: {json.dumps(results['unheard'])}")
    results |= _facts(codec)
    save_codec(codec, output_dir, float16)
    save_example(Autoencoder(codec), codec, loudest(sounds.held_out), output_dir)
    write_text(render_codec_card(results, name), output_dir / "README.md")
    # Last: it says that all of a codec is there.
    write_text(json.dumps(results, indent=1) + "\n", output_dir / TRAINING_FACTS)
    return results


def _facts(codec: EncodecModel) -> dict:
    """What the finished codec is, whatever it was trained on."""
    config = codec.config.to_dict().items()
    parts = ("encoder", "decoder")
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {
        "config": {key: value for key, value in config if key not in ("dtype", "architectures")},
        "parameters": {part: sum(p.numel() for p in getattr(codec, part).parameters()) for part in parts},
        "versions": versions | {"transformers": transformers.__version__},
        "hash": codec_hash(codec),
    }


def round_to_half(codec: EncodecModel, say: Say = silent) -> bool:
    """Round all weights to what float16 holds, in place; False (and nothing changed) where one would overflow.

    Weight norm makes the same weights from rounded parts on every load, so this is what a reader will have.
    """
    largest = max(value.abs().max().item() for value in codec.state_dict().values() if value.is_floating_point())
    if not largest < torch.finfo(torch.float16).max:
        say(f"kept in float32: the largest weight is {largest}, more than float16 holds")
        return False
    codec.load_state_dict({key: value.half().to(value.dtype) for key, value in codec.state_dict().items()})
    return True


@torch.no_grad()
def collect_latents(codec: EncodecModel, corpora: Sequence[Corpus], seed: int, say: Say = silent) -> torch.Tensor:
    """At most `MAX_FRAMES` latent frames (frames, hidden_size), of excerpts of clips in random order.

    Many clips give little each, down to `EXCERPT_S`; no more are encoded than the frames need.
    """
    model, rng = Autoencoder(codec).eval(), np.random.default_rng(seed)
    config, device = codec.config, next(codec.encoder.parameters()).device
    clips = [clip for corpus in corpora for clip in corpus.clips]
    share_s = MAX_FRAMES * math.prod(config.upsampling_ratios) / config.sampling_rate / len(clips)
    longest_s = min(MAX_VALIDATION_S, max(EXCERPT_S, config.chunk_length_s or 0.0, share_s))
    longest = round(longest_s * config.sampling_rate)
    kept, count = [], 0
    for index in with_progress(rng.permutation(len(clips)), "encoding clips for the codebooks", say):
        start = int(rng.integers(0, max(1, clips[index].shape[-1] - longest + 1)))
        excerpt = torch.from_numpy(clips[index][:, start : start + longest]).to(device)
        latents, _ = run_clip(model, excerpt, config.chunk_length)
        kept.append(latents.T)
        count += latents.shape[1]
        if count >= MAX_FRAMES:
            break
    return torch.cat(kept)[:MAX_FRAMES]


def save_codec(codec: EncodecModel, output_dir: Path, float16: bool) -> None:
    """Write weights, config and the library's own feature extractor settings; each file in one move."""
    from safetensors.torch import save

    config = codec.config
    config.architectures, config.dtype = ["EncodecModel"], "float16" if float16 else "float32"
    tensors = {
        key: (value.half() if float16 and value.is_floating_point() else value).cpu().contiguous()
        for key, value in codec.state_dict().items()
    }
    extractor = EncodecFeatureExtractor(
        feature_size=config.audio_channels,
        sampling_rate=config.sampling_rate,
        chunk_length_s=config.chunk_length_s,
        overlap=config.overlap,
    )
    # Not save_file: killed, it leaves a temporary file of its own there.
    write_bytes(save(tensors, {"format": "pt"}), output_dir / "model.safetensors")
    with new_file(output_dir / "config.json") as path:
        config.to_json_file(path)
    with new_file(output_dir / "preprocessor_config.json") as path:
        extractor.to_json_file(path)


def loudest(corpus: Corpus) -> np.ndarray:
    """The clip (channels, N) of the highest mean power."""
    return max(corpus.clips, key=lambda clip: float(np.mean(np.square(clip))))


def save_example(
    model: Autoencoder, codec: EncodecModel, clip: np.ndarray, output_dir: Path, stem: str = "example"
) -> None:
    """One clip as WAV (the original, half a second of silence, the reconstruction) and as a picture of both."""
    from matplotlib.figure import Figure

    rate = codec.config.sampling_rate
    was_training, device = model.training, next(model.parameters()).device
    x = torch.from_numpy(clip[:, : 5 * rate])
    latents, y = run_clip(model.eval(), x.to(device), codec.config.chunk_length)
    model.train(was_training)
    latents, y = latents.float().cpu(), y.float().cpu()
    sound = torch.cat([x, torch.zeros(len(x), rate // 2), y], dim=-1).clamp(-1, 1).T.numpy()
    with new_file(output_dir / f"{stem}.wav") as path, open_wav(path, rate, sound.shape[1]) as file:
        file.write(sound)

    mel = LogMel(rate, 1024, 96, 256)
    seconds = x.shape[-1] / rate
    figure = Figure(figsize=(9, 7), layout="constrained")
    images = (
        ("Original: log-mel (96 bands)", mel(x.mean(0, keepdim=True))[0]),
        ("Reconstruction: log-mel (96 bands)", mel(y.mean(0, keepdim=True))[0]),
        (f"Latents ({latents.shape[0]})", latents),
    )
    for axes, (title, image) in zip(figure.subplots(len(images), 1, sharex=True), images, strict=True):
        picture = axes.imshow(
            image.numpy(), origin="lower", aspect="auto", interpolation="nearest", extent=(0, seconds, 0, len(image))
        )
        figure.colorbar(picture, ax=axes)
        axes.set_title(title, fontsize=10)
    axes.set_xlabel("Time (s)")
    with new_file(output_dir / f"{stem}.png") as path:
        figure.savefig(path, dpi=100)
