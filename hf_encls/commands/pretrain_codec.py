"""Train an EnCodec (encoder, decoder, then residual codebooks) on any folder of audio.

    python scripts/pretrain_codec.py --data_dir my_sounds --num_filters 8 --output_dir runs/my_codec
    accelerate launch scripts/pretrain_codec.py --data_dir my_sounds --mixed_precision bf16 --output_dir runs/my_codec
    python scripts/pretrain_codec.py --data_dir my_sounds --init facebook/encodec_24khz --output_dir runs/my_codec

The result is a folder for `EncodecModel.from_pretrained`, and for `--codec` of every other program here. Started again
with the same arguments, an interrupted run goes on from its last checkpoint.
"""

import json
import sys
from dataclasses import asdict, fields
from pathlib import Path

from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from transformers import EncodecConfig, EncodecModel

from hf_encls.codec.loading import codec_config, codec_facts, load_codec
from hf_encls.codec_training.autoencoder import Autoencoder, initialise
from hf_encls.codec_training.checkpoints import STATE, STATE_SHAPE, list_checkpoints
from hf_encls.codec_training.corpus import TrainingSounds, generated_corpus, read_corpus, sounds_below
from hf_encls.codec_training.finishing import finish_codec, loudest, save_example
from hf_encls.codec_training.pretraining import Recipe, Schedule, check_same, train_codec
from hf_encls.codec_training.progress import Say, never_silent, silent
from hf_encls.commands.dataclass_options import parse_dataclasses
from hf_encls.commands.errors import run_program
from hf_encls.commands.pretrain_arguments import PRESETS, CodecArguments, PretrainingArguments, SoundArguments
from hf_encls.files import write_json, writing
from hf_encls.files.records import read_record
from hf_encls.model.encodec_encls import PUBLISHED_ENCODEC
from hf_encls.model.limits_encls import check_encodec
from hf_encls.training.places import occupied, put_in_place, workplace

SOUNDS = "sounds.json"  # beside the checkpoints: what they were trained on


def main(args: list[str] | None = None) -> dict:
    """Run the program with command line arguments and return what it measured."""
    kinds = (CodecArguments, SoundArguments, PretrainingArguments)
    codec_args, sound_args, training_args = parse_dataclasses(kinds, args, __doc__.split("\n")[0])
    command = ["scripts/pretrain_codec.py", *(sys.argv[1:] if args is None else args)]
    if sound_args.measure_dir:
        sounds_below(sound_args.measure_dir)  # a wrong name must not be found out at the end
    accelerator = Accelerator(
        mixed_precision=training_args.mixed_precision,
        cpu=training_args.cpu,
        # While the encoder learns alone, the decoder's weights have no gradients to wait for.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=training_args.encoder_steps > 0)],
    )

    def tell(line: str) -> None:
        if accelerator.is_main_process:
            print(line, flush=True)

    where = training_args.output_dir
    with writing(where), occupied(Path(where)), never_silent(tell) as say:
        say("making the codec")
        codec = build_codec(codec_args, training_args.seed)
        say(_description(codec, codec_args.init))
        recipe = _recipe(training_args, codec.config, accelerator.num_processes)
        # Before the sounds are read, and again with them: what was begun with others is not gone on with.
        output_dir = _workplace(training_args, recipe)
        say("reading sounds")
        sounds, facts = read_sounds(sound_args, codec.config, training_args.seed, say)
        say(f"sounds: {json.dumps({name: value for name, value in facts.items() if name != 'left_out'})}")
        for row in facts["left_out"]:
            say(f"left out: {row['file']} {row['reason']}")
        schedule = _schedule(training_args, output_dir, codec, sounds)
        _check_sounds(schedule.checkpoints, facts, training_args.resume, accelerator.is_main_process)
        steps, history = train_codec(codec, recipe, sounds, schedule, accelerator, say)
        results = {"command": command, "steps": steps, "history": history, "sounds": facts, "recipe": asdict(recipe)}
        results["trained_on"] = trained_on(codec_args, sound_args, training_args.trained_on)
        results |= {"init": codec_args.init, "license": training_args.license}
        results["attribution"] = training_args.attribution
        if accelerator.is_main_process:
            unheard = None
            if sound_args.measure_dir:
                rate, channels = codec.config.sampling_rate, codec.config.audio_channels
                unheard = read_corpus([sound_args.measure_dir], rate, channels, max_hours=1)
                results["unheard"] = {"data_dir": Path(sound_args.measure_dir).name}
            results["name"] = training_args.name or Path(training_args.output_dir).resolve().name
            results["float16"] = training_args.float16
            results = finish_codec(codec, sounds, output_dir, results, unheard, say)
            put_in_place(output_dir)
    return results


def _description(codec: EncodecModel, init: str | None) -> str:
    config = codec.config
    return (
        f"codec: {config.sampling_rate} Hz, {config.audio_channels} channel(s), num_filters {config.num_filters}, "
        f"{sum(p.numel() for p in codec.parameters()):,} parameters"
        + (f", going on from {init}" if init else ", freshly initialised")
    )


def _recipe(arguments: PretrainingArguments, config: EncodecConfig, num_processes: int) -> Recipe:
    names = {field.name for field in fields(Recipe)} & {field.name for field in fields(arguments)}
    crop_s = arguments.crop_s or config.chunk_length_s or 1.0
    return Recipe(
        crop_samples=round(crop_s * config.sampling_rate),
        decay_steps=round(arguments.decay_share * arguments.max_steps),
        num_processes=num_processes,
        **{name: getattr(arguments, name) for name in names},
    )


def _schedule(
    arguments: PretrainingArguments, output_dir: Path, codec: EncodecModel, sounds: TrainingSounds
) -> Schedule:
    def save_step(step: int, model: Autoencoder) -> None:
        save_example(model, codec, loudest(sounds.held_out), output_dir / "examples", f"step-{step:08d}")

    return Schedule(
        output_dir / "checkpoints",
        log_steps=arguments.log_steps,
        eval_steps=arguments.eval_steps,
        save_steps=arguments.save_steps,
        resume=arguments.resume,
        on_validation=save_step,
    )


def _workplace(arguments: PretrainingArguments, recipe: Recipe) -> Path:
    """The folder to train in. Raises `ValueError` where a finished codec would be replaced without `--overwrite`, or a
    checkpoint that is to be gone on from was made with another recipe.

    A finished codec may be trained for more steps.
    """
    folder = Path(arguments.output_dir)
    steps_done = 0 if arguments.overwrite else _steps_done(folder, arguments, recipe)
    place = folder if 0 < steps_done < recipe.max_steps else workplace(folder, None, arguments.overwrite)
    _steps_done(place, arguments, recipe)
    return place


def _steps_done(folder: Path, arguments: PretrainingArguments, recipe: Recipe) -> int:
    """The step to go on from in `folder`, 0 for none. Raises `ValueError` where its recipe is another one."""
    checkpoints = list_checkpoints(folder / "checkpoints")
    if not checkpoints or not arguments.resume:
        return 0
    state = read_record(checkpoints[-1] / STATE, STATE_SHAPE)
    check_same(recipe, state, checkpoints[-1])
    return state["step"]


def _check_sounds(checkpoints: Path, sounds: dict, resume: bool, is_main: bool) -> None:
    """Raise `ValueError` where the checkpoints were trained on other sounds; note which they are."""
    file = checkpoints / SOUNDS
    now = {name: sounds[name] for name in ("clips", "duration_s", "shares", "held_out_clips")}
    before = read_record(file) if resume and file.is_file() else now
    if before != now and list_checkpoints(checkpoints):
        changed = ", ".join(
            f"{name} were {before.get(name)}, are {now[name]}" for name in now if before.get(name) != now[name]
        )
        raise ValueError(
            f"{checkpoints} was begun with other sounds ({changed}): use those, another --output_dir, or --resume false"
        )
    PartialState().wait_for_everyone()  # nobody looks any more
    if is_main:
        write_json(now, file)


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
    names = names or [Path(folder).resolve().name for folder in sounds.data_dir]
    names = [*before, *names, *(["generated sounds"] if sounds.generated_sounds else [])]
    return list(dict.fromkeys(names))


def read_sounds(
    arguments: SoundArguments, config: EncodecConfig, seed: int, say: Say = silent
) -> tuple[TrainingSounds, dict]:
    """The sounds, and what is known of them for the card. Raises `ValueError` for no sounds."""
    rate, channels = config.sampling_rate, config.audio_channels
    corpora, shares, left_out = [], [], []
    if arguments.data_dir:
        real = read_corpus(arguments.data_dir, rate, channels, arguments.max_hours, say)
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
        within = "" if arguments.max_hours is None else f" within --max_hours {arguments.max_hours}"
        place = f" in {', '.join(map(str, arguments.data_dir))}" if arguments.data_dir else ""
        raise ValueError(f"expected at least two clips{place}{within}, found one: validation holds one out")
    share = min(arguments.validation_share, arguments.max_validation_clips / len(corpora[0].clips))
    corpora[0], held_out = corpora[0].split(share, seed)
    facts = {
        "data_dir": [Path(folder).resolve().name for folder in arguments.data_dir],
        "clips": [len(corpus.clips) for corpus in corpora],
        "duration_s": [round(corpus.duration_s(rate), 1) for corpus in corpora],
        "shares": shares,
        "held_out_clips": len(held_out.clips),
        "left_out": left_out,
    }
    return TrainingSounds(corpora, shares, held_out), facts


if __name__ == "__main__":
    run_program(main)
