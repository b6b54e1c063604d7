"""EnclsPipeline: labels and timelines of whatever holds a sound, of any length, at any rate."""

import copy
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from transformers import AudioClassificationPipeline

from hf_encls.audio import AudioError
from hf_encls.codec.codes import Codes, CodesError
from hf_encls.codec.identity import check_fits, codebooks_of
from hf_encls.fast.tiles import WhileListening
from hf_encls.files.checkpoints import find_model
from hf_encls.inference.long_clips import Counter, Rows, pieces_of
from hf_encls.inference.sources import Clip, name_of, open_source
from hf_encls.inference.timeline import Cells, Segmentation, Times, cell_probabilities, make_timeline, segments_of
from hf_encls.model.calibration_encls import UNKNOWN, tempered
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.model.limits_encls import check_seconds
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.model.problem_encls import has_several_labels, thresholds_of
from hf_encls.model.windows_encls import WindowStream

SHORT_S = 60.0  # clips up to this go through the model together, longer ones piece by piece
BATCH = 8  # short clips at a time
PIECE_S = 10.0  # of codes that are embedded at a time
TIMELINE_SETTINGS = frozenset(field.name for field in fields(Segmentation))


@dataclass(frozen=True)
class SourceSettings:
    """How sources are read, see `EnclsPipeline.__call__`."""

    sampling_rate: int | None = None
    family: str | None = None
    assume_codec: bool = False
    progress: bool | None = None


SOURCE_SETTINGS = frozenset(field.name for field in fields(SourceSettings))


@dataclass
class Analysis:
    """What a model says of one clip."""

    name: str
    as_trained: np.ndarray  # (W, L) probabilities of the windows, before any temperature
    starts_s: np.ndarray  # (W,)
    duration_s: float
    config: EnclsConfig

    @property
    def labels(self) -> list[str]:
        """Names of the L classes."""
        return [self.config.id2label[i] for i in range(self.config.num_labels)]

    @property
    def probabilities(self) -> np.ndarray:
        """(W, L) of the windows."""
        return tempered(self.as_trained, self.config.window_temperature)

    def scores(self) -> np.ndarray:
        """(L,) the clip's probabilities: the mean of its windows' as trained, under the temperature of clips."""
        return tempered(self.as_trained.mean(axis=0), self.config.clip_temperature)

    def top(self, top_k: int | None = 5) -> list[dict]:
        """The `top_k` most probable labels as the stock pipeline gives them, `[{"score", "label"}]`; None: all.

        Where no class is probable enough for this model, `unknown` comes first, with what the best class lacks of 1.
        """
        scores, labels = self.scores(), self.labels
        order = np.argsort(-scores, kind="stable")
        rows = [{"score": float(scores[i]), "label": labels[i]} for i in order]
        if self.config.clip_unknown_below is not None and scores.max() < self.config.clip_unknown_below:
            rows.insert(0, {"score": 1.0 - float(scores.max()), "label": UNKNOWN})
        return rows[:top_k]

    def present(self) -> list[dict]:
        """The labels that the clip has, as `top` gives them: those from their thresholds on, the most probable first."""
        limits = dict(zip(self.labels, thresholds_of(self.config), strict=True))
        return [each for each in self.top(None) if each["score"] >= limits[each["label"]]]

    def timeline(self, **settings) -> list[dict]:
        """Segments; settings as in `Segmentation`. Of several labels at once they overlap, and leave gaps."""
        if has_several_labels(self.config):
            return make_timeline(self.as_trained, self.labels, self.times, thresholds_of(self.config), **settings)
        return segments_of(self.cells(), self.config.window_unknown_below, **settings)

    def cells(self) -> Cells:
        """Probabilities at the resolution of the timeline."""
        cells = cell_probabilities(self.as_trained, self.times)
        return Cells(tempered(cells, self.config.window_temperature), self.labels, self.times)

    @property
    def step_s(self) -> float:
        """Length of a cell of the timeline in seconds."""
        return self.config.step_units * self.config.samples_per_unit / self.config.sampling_rate

    @property
    def times(self) -> Times:
        """When the windows are."""
        window_s = self.config.window_units * self.config.samples_per_unit / self.config.sampling_rate
        return Times(window_s, self.step_s, self.duration_s, self.starts_s)


class EnclsPipeline(AudioClassificationPipeline):
    """
    Audio classification with labels or a timeline.

    ```python
    >>> pipe = EnclsPipeline.from_pretrained("me/encodec24k-cnn-esc10")
    >>> pipe("street.flac")
    [{'score': 0.91, 'label': 'Siren'}, ...]
    >>> pipe("street.flac", return_timestamps=True, smoothing="viterbi", min_duration_s=0.5)
    [{'start': 0.0, 'end': 4.0, 'label': 'Rain', 'score': 0.87}, ...]
    ```

    `pipeline("audio-classification", model=..., pipeline_class=EnclsPipeline)` gives one too. Unlike the stock one it
    takes any sampling rate and channel count, needs no ffmpeg or torchaudio, streams long files in constant memory,
    and gives a clip the same scores alone, in a batch and in pieces. Models on codes take `.ecdc` files and saved
    codes. A model that was trained with a threshold answers `unknown` below it.
    """

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike,
        device: int | str | torch.device | None = None,
        revision: str | None = None,
        **settings,
    ) -> "EnclsPipeline":
        """A pipeline from a folder or Hub id, in one line. `settings` are defaults of every call, as in `__call__`.

        Raises `ValueError` where there is no such checkpoint, it cannot be reached, or it is not whole.
        """
        where = {"revision": revision, "local_files_only": find_model(name_or_path, revision)}
        model = EnclsForAudioClassification.from_pretrained(name_or_path, use_safetensors=True, **where)
        extractor = EnclsFeatureExtractor.from_pretrained(name_or_path, **where)
        if extractor.sampling_rate != model.config.sampling_rate:
            raise ValueError(
                f"{Path(name_or_path) / 'preprocessor_config.json'}: expected sampling_rate {model.config.sampling_rate}, "
                f"as in config.json, found {extractor.sampling_rate}: the two files are of different models"
            )
        return cls(
            model=model.eval(), feature_extractor=extractor, task="audio-classification", device=device, **settings
        )

    _step_s: float | None = None  # None: the model's own

    @cached_property
    def _listening(self) -> WhileListening:
        return WhileListening()

    @property
    def grid(self) -> EnclsConfig:
        """The model's configuration, with the step that `set_step` gave."""
        config = copy.copy(self.model.config)
        config.step_s = config.step_s if self._step_s is None else self._step_s
        return config

    def set_step(self, step_s: float) -> None:
        """Distance in seconds between windows from now on, rounded to whole frames; it is the resolution of timelines.

        A model can be used with another step than it was trained with: the network sees single windows. A clip's scores
        are then the mean of other windows. The step is the pipeline's own: the model and its configuration stay as they
        are. Raises `ValueError` for less than one frame, and for more than any sound lasts.
        """
        check_seconds("step_s", step_s)
        config = self.model.config
        units = round(step_s * config.sampling_rate / config.samples_per_unit)
        if units < 1:
            unit_s = config.samples_per_unit / config.sampling_rate
            raise ValueError(f"expected a step of at least {unit_s:.4f} s, one frame, found {step_s}")
        self._step_s = units * config.samples_per_unit / config.sampling_rate

    def _sanitize_parameters(self, function_to_apply: str | None = None, **settings):
        # The library calls this at construction and at each call: what is not given must not undo what was.
        known = TIMELINE_SETTINGS | SOURCE_SETTINGS | {"top_k", "return_timestamps"}
        unknown = settings.keys() - known
        if unknown:
            raise ValueError(f"unknown setting {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
        expected = "sigmoid" if has_several_labels(self.model.config) else "softmax"
        if function_to_apply not in (None, expected):
            raise ValueError(
                f"expected function_to_apply {expected} (probabilities are averaged), found {function_to_apply}"
            )
        return {}, {}, settings

    def __call__(self, inputs, batch_size: int | None = None, **settings) -> list[dict] | list | Iterator:
        """Classify one source, or several.

        Args:
            inputs: a source (see `hf_encls.inference.sources.open_source`): path, bytes, file object, array, dict, row
                of `datasets`, codes; or a list of them (a list of answers comes back); or another iterable of them, a
                generator or a `Dataset` (an iterator comes back).
            batch_size: short clips that go through the model together; 8 for a list, 1 for other iterables.
            top_k: labels to return, 5 where not given; `None` gives all. Of several labels at once each has a probability of
                its own.
            return_timestamps: return segments `{"start", "end", "label", "score"}` instead of labels.
            smoothing, median_s, switch_penalty, min_duration_s, all_scores: of segments, see
                `hf_encls.inference.timeline.Segmentation`.
            sampling_rate: rate in hertz of plain arrays; the model's where not given.
            family: of codes that do not say what they are: `encodec_24khz` or `encodec_48khz`.
            assume_codec: take codes for codes of the model's own codec, whatever they say.
            progress: show a progress bar for clips longer than a minute; on a terminal where not given.

        Raises `ValueError` (`AudioError`, `CodesError`) for a source that cannot be classified.
        """
        settings = {**self._postprocess_params, **self._sanitize_parameters(**settings)[2]}
        top_k = settings.pop("top_k", 5)
        timestamps = settings.pop("return_timestamps", False)
        timeline = {name: settings.pop(name) for name in TIMELINE_SETTINGS & settings.keys()}
        if timeline and not timestamps:
            raise ValueError(f"expected return_timestamps=True with {', '.join(sorted(timeline))}")

        def answer(analysis: Analysis) -> list[dict]:
            return analysis.timeline(**timeline) if timestamps else analysis.top(top_k)

        if isinstance(inputs, list | tuple):
            size = batch_size or self._batch_size or BATCH
            return [answer(each) for each in self.analyse_many(inputs, batch_size=size, **settings)]
        if _is_several(inputs):
            size = batch_size or self._batch_size or 1
            return (answer(each) for each in self.analyse_many(inputs, batch_size=size, **settings))
        return answer(self.analyse(inputs, **settings))

    def analyse(self, source, **settings) -> Analysis:
        """Probabilities of all windows of one source; `settings` are those of `SourceSettings`, errors as in `__call__`."""
        return next(self.analyse_many([source], batch_size=1, **settings))

    def analyse_many(
        self, sources: Iterable, batch_size: int = BATCH, return_errors: bool = False, **settings
    ) -> Iterator[Analysis | ValueError]:
        """Analyses of sources, in their order. Short clips go through the model `batch_size` at a time.

        `return_errors`: a source that cannot be classified gives its `ValueError` and the next one follows; otherwise
        it is raised, with the source's name. `settings` are those of `SourceSettings`.
        """
        config, settings = self.model.config, SourceSettings(**settings)
        waiting: list[tuple[str, np.ndarray] | Analysis | ValueError] = []

        def due() -> bool:
            # An error or a long clip waits for the short ones before it, so that the order is kept.
            return sum(isinstance(each, tuple) for each in waiting) >= batch_size or not isinstance(waiting[-1], tuple)

        for source in sources:
            try:
                clip = open_source(source, config.sampling_rate, settings.sampling_rate, settings.family)
                if clip.codes is not None:
                    check_fits(clip.codes, config, settings.assume_codec)
                    waiting.append(self._of_codes(clip))
                else:
                    waiting.append(self._of_audio(clip, settings.progress))
            except ValueError as error:
                if not return_errors:
                    kind = type(error) if isinstance(error, AudioError | CodesError) else ValueError
                    raise kind(f"{name_of(source)}: {error}") from error
                waiting.append(error)
            if due():
                yield from self._flush(waiting)
                waiting = []
        yield from self._flush(waiting)

    def _of_audio(self, clip: Clip, progress: bool | None) -> Analysis | tuple[str, np.ndarray]:
        """A long clip's analysis; of a short clip its name and samples, for a batch."""
        rate = self.model.config.sampling_rate
        head, length = [], 0
        for block in clip.blocks:
            head.append(block)
            length += len(block)
            if length > SHORT_S * rate:
                break
        if not length:
            raise ValueError("expected at least one sample, found an empty clip")
        if length <= SHORT_S * rate:
            return clip.name, np.concatenate(head)
        self._listening.hear(clip.expected_s or length / rate)
        counter, rows = Counter(clip, rate, progress), Rows(self.model.config.num_labels)
        with counter:
            blocks = (torch.from_numpy(block).to(self.device) for block in counter(itertools.chain(head, clip.blocks)))
            with torch.inference_mode():
                for piece in self._frontend.stream(blocks):
                    rows.add(self._classify(piece))
        return self._analysis(clip.name, rows.all(), counter.num_samples / rate)

    def _of_codes(self, clip: Clip) -> Analysis:
        """Codes -> windows -> probabilities. No audio is decoded."""
        rows = Rows(self.model.config.num_labels)
        with torch.inference_mode():
            for windows in self._windows_of_codes(clip):
                rows.add(self._classify(windows))
        return self._analysis(clip.name, rows.all(), clip.codes.duration_s)

    def _windows_of_codes(self, clip: Clip) -> Iterator[torch.Tensor]:
        """Codes -> the sums of their codebook entries -> windows (w, C, T), piece by piece."""
        config = self.grid
        cutter = WindowStream(config.window_units, config.step_units)
        for piece in pieces_of(clip.codes, codebooks_of(config), round(PIECE_S * config.frame_rate)):
            yield cutter.push(self._frontend.embed(piece.to(self.device)))
        yield cutter.finish()

    def _flush(self, waiting: Sequence) -> Iterator[Analysis | ValueError]:
        """Classify the short clips among `waiting` together, and give all of them in order."""
        rate = self.model.config.sampling_rate
        waves = [torch.from_numpy(each[1]).to(self.device) for each in waiting if isinstance(each, tuple)]
        windows = []
        if waves:
            self._listening.hear(sum(map(len, waves)) / rate)
            with torch.inference_mode():
                windows = self._frontend.windows(waves)
                rows = self._classify(torch.cat(windows))
        done = 0
        clips = iter(windows)
        for each in waiting:
            if not isinstance(each, tuple):
                yield each
                continue
            count = len(next(clips))
            yield self._analysis(each[0], rows[done : done + count], len(each[1]) / rate)
            done += count

    def _classify(self, windows: torch.Tensor) -> np.ndarray:
        """(W, C, T) -> probabilities as trained (W, L)."""
        if not len(windows):
            return np.zeros((0, self.model.config.num_labels), np.float32)
        return self.model.probabilities(self.model.classify_in_parts(windows).float()).cpu().numpy()

    def _analysis(self, name: str, rows: np.ndarray, duration_s: float) -> Analysis:
        grid = self.grid
        return Analysis(name, rows, grid.window_starts_s(len(rows)), duration_s, grid)

    @property
    def _frontend(self) -> torch.nn.Module:
        if self.model.frontend is None:
            raise ValueError(
                f"this checkpoint was saved without its codec ({self.model.config.codec_id}): give it the codec with "
                "pipe.model.attach_codec(codec)"
            )
        frontend = copy.copy(self.model.frontend)  # the same weights under another grid
        frontend.config = self.grid
        frontend.convolutions = self._listening.convolutions(frontend)
        return frontend


def _is_several(inputs) -> bool:
    """Whether an input is a generator or data set of sources, not a source."""
    is_source = isinstance(inputs, str | os.PathLike | bytes | bytearray | memoryview | Mapping | Codes | torch.Tensor)
    is_source = is_source or any(
        hasattr(inputs, name) for name in ("__array__", "detach", "read", "audio_codes", "get_all_samples")
    )
    return not is_source and (hasattr(inputs, "__iter__") or hasattr(inputs, "__getitem__"))
