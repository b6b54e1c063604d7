#!/bin/sh
# GTZAN music/speech, whole: three inputs, windows divided as in the paper and by clips. 15 epochs, one seed, a CPU.
#   scripts/runs/gtzan_music_speech.sh MUSIC_SPEECH_FOLDER OUTPUT_DIR
# A run that has its results is not run again. It ends with the table of the README.
set -e
cd "$(dirname "$0")/../.."
DATA=${1:?"usage: $0 MUSIC_SPEECH_FOLDER OUTPUT_DIR"}
OUT=${2:?"usage: $0 MUSIC_SPEECH_FOLDER OUTPUT_DIR"}

for protocol in paper clip; do
    train() {
        name=$1
        shift
        [ -f "$OUT/${protocol}_$name/results.json" ] && return
        python scripts/train.py --data_dir "$DATA" "$@" --head mnist --recipe paper --protocol "$protocol" --num_train_epochs 15 \
            --output_dir "$OUT/${protocol}_$name"
    }
    train mel --features mel --hop_length 256
    train log_mel --features log_mel --hop_length 256
    train mini --features encodec_24khz --codec mini
done
python scripts/runs/gtzan_music_speech_table.py "$OUT"/*/results.json
