#!/bin/sh
# Every head on the official folds of ESC-10, of log-mel and of mini's latents: a row for each way to cut windows and to
# train, and what choosing among them by the validation folds alone comes to (no test fold is looked at for that).
#   scripts/runs/heads_esc10.sh ESC10_FOLDER OUTPUT_DIR clips     heads that are fitted, one vector for each clip: minutes
#   scripts/runs/heads_esc10.sh ESC10_FOLDER OUTPUT_DIR           with windows of a second and networks too: an hour or two
# The table is OUTPUT_DIR/codecs.md. A cell that is finished is not trained again.
set -e
cd "$(dirname "$0")/../.."
USAGE="usage: $0 ESC10_FOLDER OUTPUT_DIR [clips]"
DATA=${1:?"$USAGE"}
OUT=${2:?"$USAGE"}
case ${3:-} in "" | clips) ;; *) echo "$USAGE" >&2 && exit 2 ;; esac

compare() {
    python scripts/compare_codecs.py --data_dir "$DATA" --codec mini --protocol official --n_fft 1024 --epochs recipe \
        --bf16 --cache_dir "$OUT/cache" --output_dir "$OUT" "$@"
}

compare --heads statistics modulation --window_s 5 --floor_db none -50 --recipe recommended paper
[ "$3" = clips ] && exit
compare --heads statistics modulation conv mnist --recipe recommended paper
compare --heads mnist conv statistics modulation --window_s 1 5 --floor_db none -50 --recipe recommended paper --finished
