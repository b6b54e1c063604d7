#!/bin/sh
# Four kinds of features side by side with the same network: the latents of an untrained codec (width 8), those of the
# mini codec, power mel and log-mel. 30 epochs, standardised inputs, one seed, bfloat16 matrix products on the CPU.
#   scripts/runs/mini_codec_compare.sh ESC10_FOLDER OUTPUT_DIR [CODEC_FOLDER ...]     windows divided as in the paper
#   scripts/runs/mini_codec_compare.sh synthetic OUTPUT_DIR [CODEC_FOLDER ...]        the offline default, whole clips
# Each CODEC_FOLDER adds a row. A run that has its results is not run again.
# On two shared cores of an AMD EPYC: about 70 minutes for ESC-10, 10 for the synthetic sounds.
set -e
cd "$(dirname "$0")/../.."
DATA=${1:?"usage: $0 ESC10_FOLDER|synthetic OUTPUT_DIR [CODEC_FOLDER ...]"}
OUT=${2:?"usage: $0 ESC10_FOLDER|synthetic OUTPUT_DIR [CODEC_FOLDER ...]"}
shift 2

train() {
    name=$1
    shift
    [ -f "$OUT/$name/results.json" ] && return
    if [ "$DATA" = synthetic ]; then
        set -- --protocol clip "$@"
    else
        set -- --data_dir "$DATA" --protocol paper "$@"
    fi
    python scripts/train.py "$@" --num_train_epochs 30 --seed 0 --bf16 true --use_cpu true --report_to none --output_dir "$OUT/$name"
}

train mel --features mel --hop_length 512
train log_mel --features log_mel --hop_length 512
train untrained --features encodec_24khz --codec untrained
train mini --features encodec_24khz --codec mini
for codec; do
    train "$(basename "$codec")" --features encodec_24khz --codec "$codec"
done

python - "$OUT" mel log_mel untrained mini $(for codec; do basename "$codec"; done) <<'EOF'
import json
import sys
from pathlib import Path

from hf_encls.report.pictures import save_curves

folder, *names = sys.argv[1:]
folder = Path(folder)
runs = {name: json.loads((folder / name / "results.json").read_text()) for name in names}
lines = [
    "| features | test windows | test clips | validation windows, best epoch | epoch | CNN training (s) |",
    "| --- | ---: | ---: | ---: | ---: | ---: |",
]
for name, run in runs.items():
    test, validation = run["test"], run["validation"]["window"]["accuracy"]
    lines.append(
        f"| {name} | {test['window']['accuracy']:.3f} | {test['clip']['accuracy']:.3f} | {validation:.3f} "
        f"| {run['best_epoch']} of {run['epochs']} | {run['times_s'].get('training', float('nan')):.0f} |"
    )
run = runs["mini"]
table = "\n".join(lines) + "\n"
table += f"\n{run['dataset']}, protocol {run['protocol']}: {run['test']['num_windows']} test windows of {run['test']['num_clips']} clips, seed {run['seed']}.\n"
(folder / "table.md").write_text(table)
save_curves({name: run["history"] for name, run in runs.items()}, folder / "curves.png")
print(table)
EOF
