"""One bar for the map step, whoever computes the shards."""

import time

from tqdm.auto import tqdm

from hf_encls.model.configuration_encls import FeatureConfig


class Progress:
    """One bar for all shards: seconds of audio, their rate against real time, windows per second, time left."""

    def __init__(self, total_s: float, config: FeatureConfig):
        layout = "{l_bar}{bar}| {n:.0f}/{total:.0f} s of audio [{elapsed}<{remaining}{postfix}]"
        self.bar = tqdm(total=total_s, desc=config.feature_name, bar_format=layout)
        self.started, self.done_s, self.windows = time.monotonic(), 0.0, 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def add(self, duration_s: float, windows: int) -> None:
        """Count a batch that was computed here."""
        self.done_s += duration_s
        self.windows += windows
        took_s = max(time.monotonic() - self.started, 1e-9)
        rates = f"{self.done_s / took_s:.1f}x real time, {self.windows / took_s:.0f} windows/s"
        self.bar.set_postfix_str(rates, refresh=False)
        self.skip(duration_s)

    def skip(self, duration_s: float) -> None:
        """Count a shard that another process computed."""
        # Sums of parts are not the sum of all to the last bit; a bar that is more than full warns.
        self.bar.update(max(0.0, min(duration_s, self.bar.total - self.bar.n)))
