"""The arguments of a codec's training."""

from dataclasses import dataclass, field

from hf_encls.model.encodec_encls import PUBLISHED_ENCODEC

MOST_WEIGHT = 1e6  # of a part of the loss, whose others are about 3: beyond it float32 loses them
MOST_CROPS = 1 << 16  # in a batch: far more than fit into a memory
PRESETS = {f"{rate // 1000}khz": rate for rate in PUBLISHED_ENCODEC}


def _check(arguments: object, limits: dict[str, tuple[float, float]]) -> None:
    """Raise `ValueError` for a number that is not within its limits, before anything is read or made."""
    for name, (least, most) in limits.items():
        if not least <= getattr(arguments, name) <= most:
            raise ValueError(f"expected --{name} from {least:g} to {most:g}, found {getattr(arguments, name)}")


@dataclass
class CodecArguments:
    """Which network. Without any of these: the architecture of facebook/encodec_24khz, freshly initialised."""

    init: str | None = field(
        default=None, metadata={"help": "go on from these weights: a Hub id, a folder or a bundled short name"}
    )
    config: str | None = field(default=None, metadata={"help": "an EncodecConfig as JSON file (or a folder with one)"})
    preset: str = field(
        default="24khz", metadata={"help": "the published architecture to start from", "choices": list(PRESETS)}
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

    def __post_init__(self):
        _check(self, {"generated_share": (0, 1), "validation_share": (0, 1)})
        for name, folders in (("data_dir", self.data_dir), ("measure_dir", [self.measure_dir])):
            if "" in folders:  # which would be the current one
                raise ValueError(f"expected a folder at --{name}, found no name")


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
    overwrite: bool = field(
        default=False,
        metadata={"help": "replace the finished codec in output_dir; it stays until the new one is finished"},
    )
    resume: bool = field(default=True, metadata={"help": "go on from the newest checkpoint in output_dir"})
    float16: bool = field(default=True, metadata={"help": "store the result in half precision"})
    name: str | None = field(default=None, metadata={"help": "what the card calls it (default: the folder's name)"})
    trained_on: list[str] | None = field(
        default=None, metadata={"help": "for the card: the data sets' names (default: the folders')"}
    )
    license: str | None = field(default=None, metadata={"help": "for the card, as the Hub spells it: cc-by-4.0, mit"})
    attribution: str | None = field(default=None, metadata={"help": "for the card: whose sounds these are"})

    def __post_init__(self):
        for name in ("batch_size", "log_steps", "eval_steps", "save_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected --{name} of 1 or more, found {getattr(self, name)}")
        if self.batch_size > MOST_CROPS:
            raise ValueError(f"expected --batch_size of at most {MOST_CROPS} crops, found {self.batch_size}")
        if self.crop_s is not None and not 0.01 <= self.crop_s <= 3600:
            raise ValueError(f"expected --crop_s from 0.01 to 3600 seconds, found {self.crop_s}")
        weights = dict.fromkeys(("mel_weight", "waveform_weight", "anchor_weight"), (0, MOST_WEIGHT))
        # Adam moves each weight of the network by about the learning rate in a step.
        _check(self, {"decay_share": (0, 1), "learning_rate": (0, 1), **weights})
