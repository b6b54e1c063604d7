"""The columns that clips and windows of features have in common, and those that only windows have."""

DIVISION = ("label", "clip_id", "group", "fold")  # a window has those of its clip; protocols divide by them
SMALL = ("label", "clip_id", "start", "group", "fold", "silent")  # of a window: all but its features
WINDOW = ("input_features", *SMALL)
OPTIONAL = ("silent",)  # version 0.1 did not write it at first
