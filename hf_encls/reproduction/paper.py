"""What the paper says, as data: every figure here is cited, none is measured.

The places named are its tables and sections.
"""

REFERENCE = (
    "Perianez-Pascual et al., Beyond Spectrograms: Rethinking Audio Classification from EnCodec's Latent Space, "
    "Algorithms 2025, 18(2), 108"
)

# The data sets in the paper's order: our name for the slot -> the paper's name and the column of its tables.
DATASETS = {
    "gtzan_music_speech": {"title": "GTZAN music/speech", "column": "Music/Speech"},
    "gtzan_genres": {"title": "GTZAN genres", "column": "Genres"},
    "esc50": {"title": "ESC-50", "column": "Environmental"},
}
CODECS = {"encodec_24khz": "facebook/encodec_24khz", "encodec_48khz": "facebook/encodec_48khz"}

# Table 1: accuracy and loss.
TABLE_1 = {
    "gtzan_music_speech": {
        "mel": {"accuracy": 0.9466, "loss": 0.47},
        "encodec_24khz": {"accuracy": 0.9609, "loss": 0.22},
        "encodec_48khz": {"accuracy": 0.9688, "loss": 0.17},
    },
    "gtzan_genres": {
        "mel": {"accuracy": 0.6950, "loss": 1.96},
        "encodec_24khz": {"accuracy": 0.7889, "loss": 0.87},
        "encodec_48khz": {"accuracy": 0.8084, "loss": 0.90},
    },
    "esc50": {
        "mel": {"accuracy": 0.3105, "loss": 3.90},
        "encodec_24khz": {"accuracy": 0.5885, "loss": 1.53},
        "encodec_48khz": {"accuracy": 0.5425, "loss": 1.81},
    },
}

# Section 3.2. The order of the two epochs (24 kHz, then 48 kHz) is that of its sentence on the codec's versions.
CONVERGENCE = {
    "gtzan_music_speech": {
        "mel": {"final_accuracy": 0.9414, "best_loss_epoch": 400},
        "encodec_24khz": {"pass_epoch": 81, "accuracy": 0.9427, "best_loss_epoch": 100},
        "encodec_48khz": {"pass_epoch": 109, "accuracy": 0.9440, "best_loss_epoch": 100},
    },
    "gtzan_genres": {
        "mel": {"final_accuracy": 0.7130, "best_loss_epoch": 800},
        "encodec_24khz": {"pass_epoch": 154, "accuracy": 0.7173, "best_loss_epoch": 200},
        "encodec_48khz": {"pass_epoch": 122, "accuracy": 0.7141, "best_loss_epoch": 200},
    },
    "esc50": {
        "mel": {"final_accuracy": 0.3420, "best_loss_epoch": 400},
        "encodec_24khz": {"pass_epoch": 110, "accuracy": 0.3590, "best_loss_epoch": 50},
        "encodec_48khz": {"pass_epoch": 111, "accuracy": 0.3425, "best_loss_epoch": 50},
    },
}

EPOCHS = 1000  # section 3.2
MEL_HOPS = (128, 256)  # sections 2 and 3.3, and the size comparison of section 2

# Section 3, "let us compare the size of 1 s": frames.
FRAMES_PER_S = {"mel": 173, "encodec_48khz": 150, "encodec_24khz": 75}

# Table 2, and the accuracies of the paper's own models in it: the last one but one differs from Table 1.
TABLE_2 = [
    {"model": "EnCodec-based (24 kHz)", "gtzan_music_speech": 0.9609, "gtzan_genres": 0.7889, "esc50": 0.5885},
    {"model": "EnCodec-based (48 kHz)", "gtzan_music_speech": 0.9699, "gtzan_genres": 0.8084, "esc50": 0.5425},
    {"model": "Kong et al. [17]", "gtzan_music_speech": 0.9970, "gtzan_genres": 0.8630, "esc50": 0.9470},
    {"model": "Niizumi et al. [18]", "gtzan_music_speech": 0.9920, "gtzan_genres": 0.8610, "esc50": 0.8560},
    {"model": "Koutini et al. [19]", "gtzan_music_speech": None, "gtzan_genres": None, "esc50": 0.9680},
]

CLAIMS = {
    "epochs": "(1) The network converges in the same or fewer epochs on the latents than on the mel spectrogram.",
    "accuracy": "(2) At equal epochs the accuracy on the latents is better.",
    "speed": "(3) After training, classifying on the latents is faster.",
}

# Where the paper is silent or can be read in two ways. `measured` names what the report holds of the other reading.
AMBIGUITIES = [
    {
        "question": "Were windows or clips divided into training, evaluation and test?",
        "paper": "“1-s item patches without overlapping”, divided 60/20/20: windows, it seems. Windows of one clip then "
        "stand on both sides.",
        "choice": "Preset paper: windows (protocol paper). Preset recommended: clips (protocols clip and official).",
        "measured": "protocol",
    },
    {
        "question": "How does a clip go through the 48 kHz codec?",
        "paper": "It gives 150 x N frames; the codec's own chunks of 1 s start every 0.99 s: 758 frames for 5 s.",
        "choice": "Chunks of 1 s side by side (policy contiguous): 150 x N, each divided by its own RMS as the codec does.",
        "measured": "overlapping_chunks",
    },
    {
        "question": "Mel hop, and centred frames?",
        "paper": "Section 3.3 says hop 128; the size comparison says 173 frames, with hop 256 at 44.1 kHz. Equation (1) "
        "gives 171 there; 173 needs centring. Hop 128 at 22.05 kHz with centring gives 173 too.",
        "choice": "Hop 128 at the data set's own rate, no centring: equation (1).",
        "measured": "hop_256",
    },
    {
        "question": "Power or decibels?",
        "paper": "“mel spectrogram”, no logarithm is mentioned; the works of Table 2 take the logarithm.",
        "choice": "The input mel is power, as written. log_mel (decibels) is a fourth input everywhere.",
        "measured": "log_mel",
    },
    {
        "question": "Were the inputs standardised?",
        "paper": "Nothing is said.",
        "choice": "Preset paper: no. Preset recommended: each band, by the training windows.",
        "measured": "standardized",
    },
    {
        "question": "Accuracy of windows or of clips?",
        "paper": "“average inference accuracy”; no vote over a clip is mentioned.",
        "choice": "Windows stand in the comparison; clips (mean of the windows' probabilities) stand beside them.",
        "measured": "clip",
    },
    {
        "question": "Optimiser, learning rate, batch size?",
        "paper": "Not stated. The network is that of the Keras example it cites: Adam, batches of 128.",
        "choice": "Adam with 0.001; preset paper: batches of 128; preset recommended: 64.",
        "measured": "batch_64",
    },
    {
        "question": "Which epoch was tested?",
        "paper": "Not stated. The mel loss of 3.90 on ESC-50 is near that of guessing (3.91) at 31 % accuracy: a late, "
        "overfitted epoch.",
        "choice": "Preset paper: the last. Preset recommended: the best on validation.",
        "measured": "best_epoch",
    },
    {
        "question": "Initial weights?",
        "paper": "PyTorch is named, the cited network is written in Keras.",
        "choice": "PyTorch's own initialisation.",
        "measured": None,
    },
    {
        "question": "Is the accuracy that the latents pass smoothed (section 3.2, figure 4)?",
        "paper": "Not stated; the figure shows both.",
        "choice": "The raw curve; the smoothed one stands beside it.",
        "measured": "smoothed",
    },
    {
        "question": "96.88 % or 96.99 % for 48 kHz on music/speech?",
        "paper": "Table 1 and the text say 96.88, Table 2 says 96.99.",
        "choice": "Table 1.",
        "measured": None,
    },
]
