"""The sentences of the report that name a place in the paper or explain a column. No measured figure stands in them."""

TEXTS = {
    "title": "The paper's experiments, run again",
    "other_conditions": "This is not the paper's experiment as it was, and its figures say nothing against or for it:",
    "not_all": "Not the whole grid:",
    "no_paper": "no cell is trained as the paper describes",
    "heard": "**It was trained on these very sounds, test clips included**",
    "has_heard": "was trained on the test clips too",
    "bf16": "training in bfloat16",
    "stand_in": (
        "A stand-in is named as one in every table and picture: its figures are not to be compared with the "
        "paper's, whose column is shown to say what was published for that place."
    ),
    "table_1": "Table 1: accuracy and loss on the test part",
    "table_1_note": (
        "Accuracy in %, loss in nats (cross entropy). “Paper” is the published figure for that place; “diff.”"
        " is ours minus the paper's, only where data set and codec are the paper's own. “Over mel” and “over "
        "log-mel” are points of window accuracy above that input in the same table, over the folds and seeds "
        "that both have (n, where that is not all of them). Several seeds or folds: mean ± sample deviation."
    ),
    "leaks": "This protocol leaks: windows of one clip are in training and in test.",
    "merit": "What is the latents' merit, what is the protocol's, what is a weak baseline's",
    "merit_note": (
        "Test accuracy of windows in %. “Leak” is how much higher the same training scores when windows are "
        "divided instead of clips. “Over log-mel” is what an input adds to a fair baseline without a leak. "
        "n: runs (folds and seeds) where there are several; a difference is over those that both sides have, so "
        "that it need not be that of the two means."
    ),
    "figure_4": "Figure 4: learning curves",
    "figure_4_note": "Validation part, first seed (and fold); raw values faint, smoothed by 0.8 solid.",
    "convergence": "Convergence (section 3.2)",
    "convergence_note": (
        "“Passes mel” is the first epoch whose validation accuracy is above that of mel's last epoch, on the "
        "raw curve and (in brackets) on the smoothed one; “paper” beside it is the published epoch. Seconds "
        "are of training alone, on this machine, up to the end of that epoch (a dash: it never does). Several"
        " seeds or folds: means over those that do, and how many of them that is (on the "
        "raw and on the smoothed curve)."
    ),
    "equal": "Accuracy at equal epochs",
    "equal_note": "Validation accuracy of windows in % after that many epochs.",
    "figure_2": "Figure 2: one second of sound as each representation",
    "sizes": "Sizes of the representations",
    "sizes_note": (
        "Per second of audio. The bytes are those of our feature files (float16; power mel float32), and in "
        "single precision for a comparison of like with like."
    ),
    "readings": "Frames of a second of mel",
    "readings_note": ("In the readings that the paper allows: equation (1), without centring, and with centring."),
    "load": "Computational load of the network",
    "load_note": (
        "Multiply-adds (millions, M; thousand millions, G), counted from the shapes of the layers. An epoch "
        "is forward and backward over the training windows. “Of mel” compares one window's forward pass with "
        "mel's."
    ),
    "made": "What it takes to make a second of a representation: multiply-adds (G) before the network.",
    "timing": "Inference time",
    "timing_note": (
        "Milliseconds per second of audio, clips one by one. Representation includes resampling to the "
        "codec's rate; classification is the network alone. “Both” is the median of the rounds' sums, "
        "which need not be the sum of the medians; the paper's claim (3) is about it. Inputs with "
        "the same network on windows of the same shape have one measurement of it."
    ),
    "table_2": "Table 2: beside other models",
    "table_2_note": (
        "Accuracy in %. Rows marked *cited* are the paper's published figures, none of them measured here. "
        "Rows marked *measured here* are ours, of windows under the protocol paper and of clips otherwise; “runs” is "
        "how many folds and seeds are in a mean. *Same clips*: one fold and one seed, on whose test clips the "
        "other models and this network are measured alike."
    ),
    "claims": "The three claims",
    "claims_note": "“Holds” is about the runs in this report, not about the paper's own.",
    "ambiguities": "Where the paper is silent or can be read in two ways",
    "presets": "The presets, side by side",
    "presets_note": "A line in bold differs.",
    "cells": "The cells",
    "cells_note": ("report.json holds each cell's command, versions and all its scores; curves.json every epoch."),
}
