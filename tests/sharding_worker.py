"""What a worker process of the sharding tests does. Apart from the tests, so that it can be started by name."""

import os
from pathlib import Path

import torch
from small_models import small_codec

from hf_encls.data.folders import scan_folder
from hf_encls.features import extraction, shards


def work(folder: str, cache: str) -> None:
    """Extract features of `folder`, in shards of a few seconds; the shards computed here are noted in `cache`/PID."""
    torch.set_num_threads(1)
    shards.SHARD_S = 3.0
    publish = shards.Shard.publish
    Path(cache).mkdir(exist_ok=True)
    notes = Path(cache) / f"{os.getpid()}.computed"

    def noted(shard, finished):
        publish(shard, finished)
        with open(notes, "a", encoding="utf-8") as file:
            file.write(f"{shard.path.name}\n")

    shards.Shard.publish = noted
    clips, _ = scan_folder(folder)
    codec = small_codec(24)
    config = extraction.feature_config("encodec_24khz", clips, codec, window_s=0.5)
    windows = extraction.extract_features(clips, config, codec, cache)
    assert windows["clip_id"][:] == sorted(windows["clip_id"][:])
