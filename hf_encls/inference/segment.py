"""segment(): what sounds when, in one call."""

import os

from hf_encls.inference.pipeline import EnclsPipeline


def segment(source, model: str | os.PathLike | EnclsPipeline, **settings) -> list[dict]:
    """What sounds when: segments `{"start", "end", "label", "score"}` of one source, seconds from its beginning.

    `source` is a path, bytes, array, codes or whatever else `EnclsPipeline` takes, `model` a folder, a Hub id or a
    pipeline, `settings` those of `EnclsPipeline.__call__` (`smoothing`, `min_duration_s`, ...). Raises `ValueError` for a
    source that cannot be classified, and for a model that is none.

    Examples:
        >>> import hf_encls  # doctest: +SKIP
        >>> hf_encls.segment("street.flac", "my_model", smoothing="viterbi")  # doctest: +SKIP
        [{'start': 0.0, 'end': 4.0, 'label': 'rain', 'score': 0.87}, ...]
    """
    pipe = model if isinstance(model, EnclsPipeline) else EnclsPipeline.from_pretrained(model)
    return pipe(source, return_timestamps=True, **settings)
