#!/bin/sh
# docs/example_report: a part of the grid, with stand-ins, that needs no download. ESC-10 in $1 takes the place of ESC-50;
# the bundled mini codec and an EnCodec of full size with random weights take the place of facebook/encodec_*. Run are the
# preset paper, and the preset recommended with clips divided and with windows divided (what the leak gives): one seed,
# 10 epochs in bfloat16, mel hop 512; enough to see the curves, not to compare. Not run: recommended/official, all
# variants, GTZAN.
# On one thread of a shared AMD EPYC, for the first ten of the fifteen cells: 32 minutes of training, and 15 to 20 minutes
# of features (the two codecs of full size), which the other five share. recommended/paper is not timed yet.
set -e
REPOSITORY=$(cd "$(dirname "$0")/../.." && pwd)
DATA=$(cd "${1:?"usage: $0 ESC10_FOLDER [OUTPUT_DIR]"}" && pwd)
OUT=${2:-runs/reproduce_esc10}
mkdir -p "$OUT"
cd "$OUT"
python - <<'CODECS'
import json
from pathlib import Path

import torch
from transformers import EncodecConfig, EncodecModel

stereo = {"sampling_rate": 48_000, "audio_channels": 2, "normalize": True, "chunk_length_s": 1.0, "overlap": 0.01}
stereo |= {"use_causal_conv": False, "norm_type": "time_group_norm", "target_bandwidths": [3.0, 6.0, 12.0, 24.0]}
for name, settings in {"untrained_full_24khz": {}, "untrained_full_48khz": stereo}.items():
    if not Path(name).is_dir():
        torch.manual_seed(0)
        EncodecModel(EncodecConfig(**settings)).save_pretrained(name)
        Path(name, "codec_training.json").write_text(json.dumps({"untrained": True}))
CODECS
ln -sfn "$DATA" esc10
python "$REPOSITORY/scripts/reproduce_paper.py" --esc50 esc10 \
    --codec_24khz mini untrained_full_24khz --codec_48khz untrained_full_48khz \
    --epochs 10 --bf16 --hop_length 512 --protocols paper/paper recommended/clip recommended/paper --variants none \
    --timing_clips 4 --cache_dir cache --output_dir out
