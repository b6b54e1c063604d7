#!/bin/sh
# A codec like the bundled mini whose latents are not drawn to a spectrum: the same width and losses without the anchor, on
# ESC-10 without its fold 5, which it never hears. Then what it gives back of that fold, and what its latents are worth,
# beside mini and an untrained codec: fold 5 alone, and all five folds.
# 1,500 steps of 12 crops and 2,200 of 24 (mini: 10,500 of 12): about an hour on one core. Interrupted, it goes on.
set -e
cd "$(dirname "$0")/../.."
DATA=${1:?"usage: $0 ESC10_FOLDER [OUTPUT_DIR]"}
OUT=${2:-runs/honest_codec}
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

train() {
    python scripts/pretrain_codec.py \
        --data_dir "$OUT/folds-1-4" --generated_sounds 240 --generated_share 0.2 --target_bandwidths 1.5 3.0 \
        --crop_s 0.48 --learning_rate 1e-3 --beta1 0.9 --beta2 0.99 --warmup_steps 100 --decay_share 0.25 \
        --mel_weight 3 --waveform_weight 3 --log_steps 50 --save_steps 100 --seed 0 --cpu true \
        --trained_on "ESC-10 folds 1-4" --license cc-by-3.0 "$@" \
        --attribution "ESC-10 is by K. J. Piczak (ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015, \
https://github.com/karolpiczak/ESC-10), who publishes it under CC BY 3.0 (http://creativecommons.org/licenses/by/3.0/). \
Its clips were cut from recordings of Freesound users under licences of their own: CC0, CC BY, and two of them CC \
Sampling+."
}

[ -f "$OUT/first/codec_training.json" ] ||
    train --num_filters 8 --batch_size 12 --max_steps 1500 --eval_steps 500 --output_dir "$OUT/first"
[ -f "$OUT/honest/codec_training.json" ] ||
    train --init "$OUT/first" --batch_size 24 --max_steps 2200 --eval_steps 2200 \
        --measure_dir "$OUT/fold-5" --output_dir "$OUT/honest"

python - "$OUT" <<'PY'
import sys

from hf_encls.codec.loading import load_codec
from hf_encls.codec_training.autoencoder import Autoencoder
from hf_encls.codec_training.corpus import read_corpus
from hf_encls.codec_training.measuring import measure

out = sys.argv[1]
fold = read_corpus([f"{out}/fold-5"], 24_000, 1)
print("| codec | mel distance | SI-SDR (dB) |\n| --- | ---: | ---: |")
for name in (f"{out}/honest", "mini", "untrained"):
    codec = load_codec(name)
    scores = measure(Autoencoder(codec), fold, codec)
    print(f"| {name} | {scores['mel_distance']:.3f} | {scores['si_sdr_db']:.1f} |")
PY

compare() {
    python scripts/compare_codecs.py --data_dir "$DATA" --codec "$OUT/honest" --codec mini --codec untrained \
        --features latents mel --protocol official --heads statistics --window_s 5 "$@"
}

compare --folds 5 --output_dir "$OUT/fold_5_alone"
compare --output_dir "$OUT/all_folds"
