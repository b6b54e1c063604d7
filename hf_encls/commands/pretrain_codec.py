"""Train an EnCodec (encoder, decoder, then residual codebooks) on any folder of audio.

    python scripts/pretrain_codec.py --data_dir my_sounds --num_filters 8 --output_dir runs/my_codec
    accelerate launch scripts/pretrain_codec.py --data_dir my_sounds --mixed_precision bf16 --output_dir runs/my_codec
    python scripts/pretrain_codec.py --data_dir my_sounds --init facebook/encodec_24khz --output_dir runs/my_codec

The result is a folder for `EncodecModel.from_pretrained`, and for `--codec` of every other program here. Started again
with the same arguments, an interrupted run goes on from its last checkpoint.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from transformers import EncodecConfig, EncodecModel, HfArgumentParser

from hf_encls.codec.loading import codec_config, codec_facts, load_codec
from hf_encls.codec_training.autoencoder import Autoencoder, initialise
from hf_encls.codec_training.checkpoints import STATE, STATE_SHAPE, list_checkpoints
from hf_encls.codec_training.corpus import Corpus, generated_corpus, read_corpus, sounds_below
from hf_encls.codec_training.finishing import finish_codec, loudest, save_example
from hf_encls.codec_training.pretraining import Recipe, check_same, train_codec
from hf_encls.commands.door import run
from hf_encls.commands.outputs import writing
from hf_encls.commands.pretrain_arguments import PRESETS, CodecArguments, PretrainingArguments, SoundArguments
from hf_encls.files import write_json
from hf_encls.model.encodec_encls import PUBLISHED_ENCODEC
from hf_encls.model.limits_encls import check_encodec
from hf_encls.records import read_record
from hf_encls.training.places import occupied, put_in_place, workplace

SOUNDS = "sounds.json"  # beside the checkpoints: what they were trained on


def main(args: list[str] | None = None) -> dict:
    """Run the program with command line arguments and return what it measured."""
    parser = HfArgumentParser(
        (CodecArguments, SoundArguments, PretrainingArguments), description=__doc__.split("\n")[0]
    )
    codec_args, sound_args, training_args = parser.parse_args_into_dataclasses(args)
    command = ["scripts/pretrain_codec.py", *(sys.argv[1:] if args is None else args)]
    if sound_args.measure_dir:
        sounds_below(sound_args.measure_dir)  # a wrong name must not be found out at the end
    accelerator = Accelerator(
        mixed_precision=training_args.mixed_precision,
        cpu=training_args.cpu,
        # While the encoder learns alone, the decoder's weights have no gradients to wait for.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=training_args.encoder_steps > 0)],
    )

    with writing(training_args.output_dir), occupied(Path(training_args.output_dir)):
        return _pretrain(codec_args, sound_args, training_args, accelerator, command)


def _pretrain(
    codec_args: CodecArguments,
    sound_args: SoundArguments,
    training_args: PretrainingArguments,
    accelerator: Accelerator,
    command: list[str],
) -> dict:
    def say(line: str) -> None:
        if accelerator.is_main_process:
            print(line, flush=True)

    unheard = None
    say("making the codec")
    codec = build_codec(codec_args, training_args.seed)
    config = codec.config
    say(
        f"codec: {config.sampling_rate} Hz, {config.audio_channels} channel(s), num_filters {config.num_filters}, "
        f"{sum(p.numel() for p in codec.parameters()):,} parameters"
        + (f", going on from {codec_args.init}" if codec_args.init else ", freshly initialised")
    )
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
    # Before the sounds are read, and again with them: what was begun with others is not gone on with.
    output_dir = _workplace(training_args, recipe)
    say("reading sounds")
    corpora, shares, held_out, sounds = read_sounds(sound_args, config, training_args.seed)
    say(f"sounds: {json.dumps({name: value for name, value in sounds.items() if name != 'left_out'})}")
    for row in sounds["left_out"]:
        say(f"left out: {row['file']} {row['reason']}")
    _check_sounds(output_dir / "checkpoints", sounds, training_args.resume, accelerator.is_main_process)

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
            name=training_args.name or Path(training_args.output_dir).resolve().name,
            unheard=unheard,
            say=say,
        )
        put_in_place(output_dir)
    return results


def _workplace(arguments: PretrainingArguments, recipe: Recipe) -> Path:
    """The folder to train in. Raises `ValueError` where a finished codec would be replaced unasked, or where a checkpoint
    is to be gone on from that was made with another recipe.

    A finished codec may be trained for more steps.
    """
    folder = Path(arguments.output_dir)
    found = list_checkpoints(folder / "checkpoints")
    longer = False
    if found and arguments.resume and not arguments.overwrite:
        state = read_record(found[-1] / STATE, STATE_SHAPE)
        check_same(recipe, state, found[-1])
        longer = state["step"] < recipe.max_steps
    place = folder if longer else workplace(folder, None, arguments.overwrite)
    found = list_checkpoints(place / "checkpoints")
    if found and arguments.resume:
        check_same(recipe, read_record(found[-1] / STATE, STATE_SHAPE), found[-1])
    return place


def _check_sounds(checkpoints: Path, sounds: dict, resume: bool, is_main: bool) -> None:
    """Raise `ValueError` where the checkpoints were trained on other sounds; note which they are."""
    file = checkpoints / SOUNDS
    told = {name: sounds[name] for name in ("clips", "duration_s", "shares", "held_out_clips")}
    there = read_record(file) if resume and file.is_file() else told
    if there != told and list_checkpoints(checkpoints):
        changed = ", ".join(
            f"{name} were {there.get(name)}, are {told[name]}" for name in told if there.get(name) != told[name]
        )
        raise ValueError(
            f"{checkpoints} was begun with other sounds ({changed}): use those, another --output_dir, or --resume false"
        )
    PartialState().wait_for_everyone()  # nobody looks any more
    if is_main:
        write_json(told, file)


def build_codec(arguments: CodecArguments, seed: int) -> EncodecModel:
    """The codec to train, in float32. Raises `ValueError` for settings that contradict each other."""
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
        if not isinstance(codec, EncodecModel):
            raise ValueError(
                f"expected an EnCodec at --init {arguments.init}, found one of {codec.config.model_type!r}"
            )
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
        config = EncodecConfig(**{**PUBLISHED_ENCODEC[PRESETS[arguments.preset]], **changes})
    if config.audio_channels not in (1, 2):
        raise ValueError(f"--audio_channels must be 1 or 2, got {config.audio_channels}")
    check_encodec(config)
    codec = EncodecModel(config)
    initialise(codec, seed)
    return codec


def trained_on(codec: CodecArguments, sounds: SoundArguments, names: list[str] | None) -> list[str]:
    """Which data sets the codec has heard, those of `--init` included: a classifier's card warns of its test clips."""
    before = codec_facts(codec.init).trained_on or [codec.init] if codec.init else []
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
    run(main)
