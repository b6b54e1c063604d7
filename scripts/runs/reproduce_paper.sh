#!/bin/sh
# The paper's whole grid: GTZAN music/speech in $1, GTZAN genres in $2, ESC-50 in $3; EnCodec's weights from the Hub.
# 1000 epochs, three seeds, both presets, every protocol and variant. Not run yet, so how long it takes is not known.
# Interrupted, the same command goes on. The report: $4/report/REPORT.md.
set -e
cd "$(dirname "$0")/../.."
USAGE="usage: $0 MUSIC_SPEECH GENRES ESC50 [OUTPUT_DIR]"
python scripts/reproduce_paper.py \
    --gtzan_music_speech "${1:?"$USAGE"}" --gtzan_genres "${2:?"$USAGE"}" --esc50 "${3:?"$USAGE"}" \
    --seeds 0 1 2 --output_dir "${4:-runs/reproduce_paper}"
