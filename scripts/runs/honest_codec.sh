#!/bin/sh
# A codec like the bundled mini whose latents are not drawn to a spectrum: the same losses and steps without the anchor, on
# ESC-10 without its fold 5, which it never hears and is measured on.
# 10,500 steps: about an hour on one core.
set -e
cd "$(dirname "$0")/../.."
DATA=${1:?"usage: $0 ESC10_FOLDER [OUTPUT_DIR]"}
OUT=${2:-runs/honest_codec}
STEPS=${STEPS:-10500}
python - "$DATA" "$OUT" <<'PY'
import shutil
import sys
from pathlib import Path

source, out = Path(sys.argv[1]), Path(sys.argv[2])
for clip in sorted(source.glob("0*/*.ogg")):
    part = "fold-5" if clip.name.startswith("5-") else "folds-1-4"
    (out / part / clip.parent.name).mkdir(parents=True, exist_ok=True)
    shutil.copy(clip, out / part / clip.parent.name)
PY
python scripts/pretrain_codec.py \
    --data_dir "$OUT/folds-1-4" --measure_dir "$OUT/fold-5" --generated_sounds 240 --generated_share 0.2 \
    --num_filters 8 --target_bandwidths 1.5 3.0 \
    --batch_size 12 --crop_s 0.48 --learning_rate 1e-3 --beta1 0.9 --beta2 0.99 --warmup_steps 100 \
    --max_steps "$STEPS" --decay_share 0.25 --mel_weight 3 --waveform_weight 3 \
    --log_steps 50 --eval_steps 500 --save_steps 250 --seed 0 \
    --cpu true --name honest --trained_on "ESC-10 folds 1-4" --license cc-by-3.0 --output_dir "$OUT/codec" \
    --attribution "ESC-10 is by K. J. Piczak (ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015, \
https://github.com/karolpiczak/ESC-10), who publishes it under CC BY 3.0 (http://creativecommons.org/licenses/by/3.0/). \
Its clips were cut from recordings of Freesound users under licences of their own: CC0, CC BY, and two of them CC \
Sampling+."
