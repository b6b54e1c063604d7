"""Train an EnCodec (encoder, decoder, then residual codebooks) on any folder of audio.

    python scripts/pretrain_codec.py --data_dir my_sounds --num_filters 8 --output_dir runs/my_codec
    accelerate launch scripts/pretrain_codec.py --data_dir my_sounds --mixed_precision bf16 --output_dir runs/my_codec
    python scripts/pretrain_codec.py --data_dir my_sounds --init facebook/encodec_24khz --output_dir runs/my_codec

The result is a folder for `EncodecModel.from_pretrained`, and for `--codec` of every other program here. Started again
with the same arguments, an interrupted run goes on from its last checkpoint.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelerate import Accelerator, DistributedDataParallelKwargs
from transformers import EncodecConfig, EncodecModel, HfArgumentParser

from hf_encls.codec.loading import codec_config, codec_facts, load_codec
from hf_encls.codec_training.autoencoder import Autoencoder, initialise
from hf_encls.codec_training.corpus import Corpus, find_audio, generated_corpus, read_corpus
from hf_encls.codec_training.finishing import finish_codec, loudest, save_example
from hf_encls.codec_training.pretraining import Recipe, train_codec

# The architecture of facebook/encodec_48khz, where it differs from the 24 kHz one (the library's default).
STEREO_48KHZ = {
    "sampling_rate": 48_000,
    "audio_channels": 2,
    "normalize": True,
    "chunk_length_s": 1.0,
    "overlap": 0.01,
    "norm_type": "time_group_norm",
    "use_causal_conv": False,
    "target_bandwidths": [3.0, 6.0, 12.0, 24.0],
}


@dataclass
class CodecArguments:
    """Which network. Without any of these: the architecture of facebook/encodec_24khz, freshly initialised."""

    init: str | None = field(
        default=None, metadata={"help": "go on from these weights: a Hub id, a folder or a bundled short name"}
    )
    config: str | None = field(default=None, metadata={"help": "an EncodecConfig as JSON file (or a folder with one)"})
    preset: str = field(
        default="24khz", metadata={"help": "the published architecture to start from", "choices": ["24khz", "48khz"]}
    )
    num_filters: int | None = field(default=None, metadata={"help": "width (the published ones have 32)"})
    sampling_rate: int | None = field(default=None, metadata={"help": "hertz"})
    audio_channels: int | None = field(default=None, metadata={"help": "1 or 2"})
    target_bandwidths: list[float] | None = field(
        default=None, metadata={"help": "kbit/s; the largest one says how many codebooks are fitted"}
    )


@dataclass
class SoundArguments:
    """Which sounds."""

    data_dir: list[str] = field(
        default_factory=list, metadata={"help": "folders of audio, nested as they are; labels are not needed"}
    )
    max_hours: float | None = field(default=None, metadata={"help": "stop reading after so many hours of audio"})
    generated_sounds: int = field(default=0, metadata={"help": "how many 4 s generated sounds to add"})
    generated_share: float = field(default=0.2, metadata={"help": "how much of each batch is drawn from them"})
    validation_share: float = field(default=0.05, metadata={"help": "of the clips, held out"})
    measure_dir: str | None = field(
        default=None, metadata={"help": "a folder of other sounds, measured at the end and never trained on"}
    )
    max_validation_clips: int = field(default=40, metadata={"help": "at most so many clips are held out"})


@dataclass
class PretrainingArguments:
    """How it is trained."""

    output_dir: str = field(metadata={"help": "where the codec, its card and the checkpoints go"})
    max_steps: int = field(default=10_000)
    batch_size: int = field(default=12, metadata={"help": "crops a step, of each process"})
    crop_s: float | None = field(
        default=None, metadata={"help": "seconds of a crop (default: the codec's chunk, or 1)"}
    )
    learning_rate: float = field(default=5e-4)
    warmup_steps: int = field(default=200)
    decay_share: float = field(default=0.25, metadata={"help": "of the steps: the last ones, the rate falling to 0"})
    mel_weight: float = field(default=3.0)
    waveform_weight: float = field(default=3.0)
    anchor_weight: float = field(
        default=0.0, metadata={"help": "above 0: draw the first latents towards a log-mel spectrum, low bands first"}
    )
    anchor_bands: int = field(default=64, metadata={"help": "how many latents are drawn"})
    encoder_steps: int = field(
        default=0, metadata={"help": "of the steps: the first ones, in which the encoder alone follows the anchor"}
    )
    beta1: float = field(default=0.5, metadata={"help": "of Adam"})
    beta2: float = field(default=0.9, metadata={"help": "of Adam"})
    max_grad_norm: float = field(default=1.0)
    seed: int = field(default=0)
    mixed_precision: str = field(default="no", metadata={"choices": ["no", "bf16"]})
    cpu: bool = field(default=False, metadata={"help": "stay on the CPU"})
    log_steps: int = field(default=50)
    eval_steps: int = field(default=500)
    save_steps: int = field(default=500)
    resume: bool = field(default=True, metadata={"help": "go on from the newest checkpoint in output_dir"})
    float16: bool = field(default=True, metadata={"help": "store the result in half precision"})
    name: str | None = field(default=None, metadata={"help": "what the card calls it (default: the folder's name)"})
    trained_on: list[str] | None = field(
        default=None, metadata={"help": "for the card: the data sets' names (default: the folders')"}
    )
    license: str | None = field(default=None, metadata={"help": "for the card, as the Hub spells it: cc-by-4.0, mit"})
    attribution: str | None = field(default=None, metadata={"help": "for the card: whose sounds these are"})


def main(args: list[str] | None = None) -> dict:
    """Run the program with command line arguments and return what it measured."""
    parser = HfArgumentParser(
        (CodecArguments, SoundArguments, PretrainingArguments), description=__doc__.split("\n")[0]
    )
    codec_args, sound_args, training_args = parser.parse_args_into_dataclasses(args)
    command = ["scripts/pretrain_codec.py", *(sys.argv[1:] if args is None else args)]
    unheard = None
    if sound_args.measure_dir:
        find_audio(sound_args.measure_dir)  # a wrong name must not be found out at the end
    accelerator = Accelerator(
        mixed_precision=training_args.mixed_precision,
        cpu=training_args.cpu,
        # While the encoder learns alone, the decoder's weights have no gradients to wait for.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=training_args.encoder_steps > 0)],
    )

    def say(line: str) -> None:
        if accelerator.is_main_process:
            print(line, flush=True)

    codec = build_codec(codec_args, training_args.seed)
    config = codec.config
    say(
        f"codec: {config.sampling_rate} Hz, {config.audio_channels} channel(s), num_filters {config.num_filters}, "
        f"{sum(p.numel() for p in codec.parameters()):,} parameters"
        + (f", going on from {codec_args.init}" if codec_args.init else ", freshly initialised")
    )
    corpora, shares, held_out, sounds = read_sounds(sound_args, config, training_args.seed)
    say(f"sounds: {json.dumps({name: value for name, value in sounds.items() if name != 'left_out'})}")
    for row in sounds["left_out"]:
        say(f"left out: {row['file']} {row['reason']}")

    crop_s = training_args.crop_s or config.chunk_length_s or 1.0
    recipe = Recipe(
        max_steps=training_args.max_steps,
        batch_size=training_args.batch_size,
        crop_samples=round(crop_s * config.sampling_rate),
        learning_rate=training_args.learning_rate,
        warmup_steps=training_args.warmup_steps,
        decay_steps=round(training_args.decay_share * training_args.max_steps),
        mel_weight=training_args.mel_weight,
        waveform_weight=training_args.waveform_weight,
        anchor_weight=training_args.anchor_weight,
        anchor_bands=training_args.anchor_bands,
        encoder_steps=training_args.encoder_steps,
        beta1=training_args.beta1,
        beta2=training_args.beta2,
        max_grad_norm=training_args.max_grad_norm,
        seed=training_args.seed,
        num_processes=accelerator.num_processes,
        mixed_precision=training_args.mixed_precision,
    )
    output_dir = Path(training_args.output_dir)

    def show_example(step: int, model: Autoencoder) -> None:
        save_example(model, codec, loudest(held_out), output_dir / "examples", f"step-{step:08d}")

    steps, history = train_codec(
        codec,
        recipe,
        corpora,
        shares,
        held_out,
        output_dir / "checkpoints",
        accelerator,
        log_steps=training_args.log_steps,
        eval_steps=training_args.eval_steps,
        save_steps=training_args.save_steps,
        resume=training_args.resume,
        on_validation=show_example,
        say=say,
    )
    results = {"command": command, "steps": steps, "history": history, "sounds": sounds, "recipe": asdict(recipe)}
    results["trained_on"] = trained_on(codec_args, sound_args, training_args.trained_on)
    results |= {"init": codec_args.init, "license": training_args.license, "attribution": training_args.attribution}
    if steps < recipe.max_steps:
        say(f"stopped after step {steps} of {recipe.max_steps}: the same command goes on from there")
        return results
    if accelerator.is_main_process:
        if sound_args.measure_dir:
            unheard = read_corpus([sound_args.measure_dir], config.sampling_rate, config.audio_channels, max_hours=1)
            results["unheard"] = {"data_dir": Path(sound_args.measure_dir).name}
        results = finish_codec(
            codec,
            corpora,
            held_out,
            output_dir,
            results,
            float16=training_args.float16,
            name=training_args.name,
            unheard=unheard,
            say=say,
        )
    return results


def build_codec(arguments: CodecArguments, seed: int) -> EncodecModel:
    """The codec to train, in float32.

    Raises `ValueError` for settings that contradict each other, and for a sampling rate that no kind of features names.
    """
    codec = _build(arguments, seed)
    if codec.config.sampling_rate % 1000:
        raise ValueError(
            f"expected a sampling rate in whole kilohertz, found {codec.config.sampling_rate} Hz: features are called "
            "encodec_24khz, encodec_48khz and so on, and no name fits this codec; take 16000, 24000, 32000 or 48000 "
            "(sounds of any rate are resampled)"
        )
    return codec


def _build(arguments: CodecArguments, seed: int) -> EncodecModel:
    changes = {
        name: getattr(arguments, name)
        for name in ("num_filters", "sampling_rate", "audio_channels", "target_bandwidths")
        if getattr(arguments, name) is not None
    }
    if arguments.init:
        fixed = [name for name in changes if name != "target_bandwidths"]
        if fixed or arguments.config:
            raise ValueError(
                f"--init brings its own architecture: leave out "
                f"{', '.join('--' + name for name in fixed) or '--config'}"
            )
        codec = load_codec(arguments.init).requires_grad_(True)
        if codec.decoder is None or codec.quantizer is None:
            raise ValueError(
                f"expected a whole codec at --init {arguments.init}, found one without decoder or codebooks"
            )
        if "target_bandwidths" in changes and changes["target_bandwidths"] != codec.config.target_bandwidths:
            weights = {name: value for name, value in codec.state_dict().items() if not name.startswith("quantizer.")}
            codec = EncodecModel(EncodecConfig(**{**codec.config.to_dict(), **changes}))
            codec.load_state_dict(weights, strict=False)
        return codec
    if arguments.config:
        config = codec_config(arguments.config)
        config = EncodecConfig(**{**config.to_dict(), **changes})
    else:
        config = EncodecConfig(**{**(STEREO_48KHZ if arguments.preset == "48khz" else {}), **changes})
    if config.audio_channels not in (1, 2):
        raise ValueError(f"--audio_channels must be 1 or 2, got {config.audio_channels}")
    codec = EncodecModel(config)
    initialise(codec, seed)
    return codec


def trained_on(codec: CodecArguments, sounds: SoundArguments, names: list[str] | None) -> list[str]:
    """Which data sets the codec has heard, those of `--init` included: a classifier's card warns of its test clips."""
    before = codec_facts(codec.init).get("trained_on", [codec.init]) if codec.init else []
    own = names or [Path(folder).resolve().name for folder in sounds.data_dir]
    names = [*before, *own, *(["generated sounds"] if sounds.generated_sounds else [])]
    return list(dict.fromkeys(names))


def read_sounds(
    arguments: SoundArguments, config: EncodecConfig, seed: int
) -> tuple[list[Corpus], list[float], Corpus, dict]:
    """(corpora to draw from, their shares, held-out clips, what was read). Raises `ValueError` for no sounds."""
    rate, channels = config.sampling_rate, config.audio_channels
    corpora, shares, left_out = [], [], []
    if arguments.data_dir:
        real = read_corpus(arguments.data_dir, rate, channels, arguments.max_hours)
        corpora.append(real)
        shares.append(1 - arguments.generated_share if arguments.generated_sounds else 1.0)
        left_out = real.left_out
    if arguments.generated_sounds:
        corpora.append(generated_corpus(arguments.generated_sounds, rate, channels))
        shares.append(arguments.generated_share if arguments.data_dir else 1.0)
    if not corpora:
        raise ValueError(
            "expected sounds to train on, found none: give --data_dir FOLDER, --generated_sounds N, or both"
        )
    if len(corpora[0].clips) < 2:
        raise ValueError("expected at least two clips, found one: validation holds one out")
    share = min(arguments.validation_share, arguments.max_validation_clips / len(corpora[0].clips))
    corpora[0], held_out = corpora[0].split(share, seed)
    sounds = {
        "data_dir": [Path(folder).resolve().name for folder in arguments.data_dir],
        "clips": [len(corpus.clips) for corpus in corpora],
        "duration_s": [round(corpus.duration_s(rate), 1) for corpus in corpora],
        "shares": shares,
        "held_out_clips": len(held_out.clips),
        "left_out": left_out,
    }
    return corpora, shares, held_out, sounds


if __name__ == "__main__":
    main()
