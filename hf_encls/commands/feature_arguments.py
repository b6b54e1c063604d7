"""The arguments of every program that makes features. They bring no PyTorch, so that `--help` is there at once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_encls.data.labelled import TimeLabels


@dataclass
class FeatureArguments:
    """Which audio, and which features of it."""

    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder of class-named folders of audio, or of a known data set. None: synthetic sounds."},
    )
    data_name: str | None = field(
        default=None,
        metadata={
            "help": "What data_dir is: esc50, esc10, gtzan_genres, gtzan_music_speech, folder. None: recognised."
        },
    )
    labels: str | None = field(
        default=None,
        metadata={
            "help": "Time-aligned labels of the recordings in data_dir: a folder, a file or a pattern of Audacity tracks, "
            "RTTM, TextGrids, Raven tables, JSON, CSV; or a table of files and their labels. None: folders are the classes."
        },
    )
    multi_label: bool = field(
        default=False, metadata={"help": "Sounds of --labels can have several labels at once, or none of them."}
    )
    min_overlap: float | None = field(
        default=None, metadata={"help": "Share of a window that a label must fill. None: 0.5."}
    )
    unlabelled: str | None = field(
        default=None,
        metadata={
            "help": "What windows without a label are: drop, or the name of a class. None: drop; with --multi_label keep, "
            "as windows that have no label."
        },
    )
    tier: str | None = field(default=None, metadata={"help": "Tier of TextGrids that has the labels."})
    label_column: str | None = field(default=None, metadata={"help": "Column of tables that has the labels."})
    groups: str | None = field(
        default=None,
        metadata={"help": "Table (.csv) of clip_id and group: clips of one group are on one side of a split."},
    )
    strict: bool = field(
        default=False, metadata={"help": "Stop when a file cannot be used, instead of leaving it out."}
    )
    features: str = field(
        default="encodec_24khz",
        metadata={
            "help": "latents, codes, mel, log_mel, the first two of --codec; encodec_24khz, encodec_48khz: latents at that "
            "rate; encodec_24khz_codes, ...: codes."
        },
    )
    window_s: float = field(default=1.0, metadata={"help": "Length of a window in seconds."})
    step_s: float | None = field(
        default=None, metadata={"help": "Seconds between the starts of windows. None: the window's length."}
    )
    hop_length: int | None = field(
        default=None,
        metadata={
            "help": "Samples between the frames of mel features. None: 128, as in the paper; of log_mel without "
            "--n_fft about 12 ms, 512 at 44.1 kHz."
        },
    )
    n_fft: int | None = field(
        default=None,
        metadata={
            "help": "Samples that a frame of mel features is made of. None: 512, as in the paper; of log_mel without "
            "--hop_length about 23 ms, 1024 at 44.1 kHz."
        },
    )
    floor_db: float | None = field(
        default=None,
        metadata={
            "help": "Level in dB of log_mel that stands for everything softer. None: -100. -50 leaves out the noise of "
            "most recordings."
        },
    )
    codec: str | None = field(
        default=None,
        metadata={
            "help": "EnCodec, DAC, Mimi, ...: Hub id, folder, or bundled name. None: facebook/encodec_24khz or _48khz; for "
            "the synthetic sounds the bundled codec, which needs no network."
        },
    )
    codec_revision: str | None = field(default=None, metadata={"help": "Revision of the codec on the Hub."})
    codec_policy: str | None = field(
        default=None,
        metadata={
            "help": "How clips go through the codec: whole, contiguous, codec. None: whole at 24 kHz, contiguous at 48."
        },
    )
    codec_dtype: str | None = field(
        default=None, metadata={"help": "Precision of the codec: float32, tf32 (on a GPU) or bfloat16. None: float32."}
    )
    bandwidth: float | None = field(
        default=None, metadata={"help": "Bandwidth of codes in kbit/s. None: the codec's highest."}
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "Where features are cached. None: beside datasets' cache."}
    )
    rescan: bool = field(
        default=False, metadata={"help": "Decode and hash every file again, also those that look unchanged."}
    )
    window_of_clips: bool = field(default=False, init=False)  # window_s is what suits the clips, once they are known

    def time_labels(self) -> "TimeLabels | None":
        """Where time-aligned labels are, and their rule; None without any. Raises `ValueError` for what does not fit."""
        # They bring datasets, for which --help does not wait.
        from hf_encls.data.labelled import TimeLabels
        from hf_encls.timelines.clip_tables import is_clip_table

        settings = {"min_overlap": self.min_overlap, "unlabelled": self.unlabelled, "tier": self.tier}
        settings |= {"label_column": self.label_column, "multi_label": self.multi_label or None}
        settings = {name: value for name, value in settings.items() if value is not None}
        if self.labels is None:
            if settings:
                name = next(iter(settings))
                subject = "several labels at once" if name == "multi_label" else "labels in time"
                raise ValueError(f"--{name} is about {subject}: name them with --labels")
            return None
        for name in {"min_overlap", "tier"} & settings.keys() if is_clip_table(self.labels) else ():
            raise ValueError(
                f"--{name} is about labels in time, and {self.labels} has those of whole files: leave it out"
            )
        if self.data_dir is None or self.data_name is not None:
            place = "none" if self.data_dir is None else f"--data_name {self.data_name}"
            raise ValueError(f"--labels are of the recordings in --data_dir, of no known data set: found {place}")
        return TimeLabels(self.labels, **{name.removeprefix("label_"): value for name, value in settings.items()})
