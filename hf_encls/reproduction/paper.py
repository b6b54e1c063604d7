"""What the paper says, as data: the figures and sentences of paper.yaml, cited and not measured."""

from pathlib import Path

import yaml

_CITED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
REFERENCE, EPOCHS, MEL_HOPS = (_CITED[name] for name in ("reference", "epochs", "mel_hops"))
DATASETS, CODECS, FRAMES_PER_S = (_CITED[name] for name in ("datasets", "codecs", "frames_per_s"))
TABLE_1, TABLE_2, CONVERGENCE = (_CITED[name] for name in ("table_1", "table_2", "convergence"))
CLAIMS, AMBIGUITIES = (_CITED[name] for name in ("claims", "ambiguities"))
