#!/bin/sh
# The mini codec that is shipped in hf_encls/codec/assets/mini. Its sounds: ESC-10 (CC BY 3.0) in $1, and generated ones.
# 10,500 steps: about 50 minutes on one core of an AMD EPYC.
set -e
cd "$(dirname "$0")/../.."
DATA=${1:?"usage: $0 ESC10_FOLDER [OUTPUT_DIR]"}
OUT=${2:-runs/mini_codec}
# What it is measured on besides held-out clips: the offline default's sounds, which it never hears.
python -c "from hf_encls.data.synthetic import write_synthetic; write_synthetic('$OUT/synthetic')"
python scripts/pretrain_codec.py \
    --data_dir "$DATA" --measure_dir "$OUT/synthetic" --generated_sounds 240 --generated_share 0.2 \
    --num_filters 8 --target_bandwidths 1.5 3.0 \
    --batch_size 12 --crop_s 0.48 --learning_rate 1e-3 --beta1 0.9 --beta2 0.99 --warmup_steps 100 \
    --max_steps 10500 --encoder_steps 3000 --decay_share 0.25 \
    --mel_weight 3 --waveform_weight 3 --anchor_weight 8 --anchor_bands 64 \
    --log_steps 50 --eval_steps 500 --save_steps 250 --seed 0 \
    --cpu true --name mini --trained_on ESC-10 --license cc-by-3.0 --output_dir "$OUT" \
    --attribution "ESC-10 is by K. J. Piczak (ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015, \
https://github.com/karolpiczak/ESC-10), who publishes it under CC BY 3.0 (http://creativecommons.org/licenses/by/3.0/). \
Its 400 clips were cut from recordings of Freesound users under licences of their own: 233 CC0, 165 CC BY, 2 CC \
Sampling+; every recording, its author and its licence is named in ATTRIBUTION.md."
