"""How a model was made, as its card tells it: each setting in words, with its value."""

from collections.abc import Mapping

from hf_encls.files.escapes import markdown_code
from hf_encls.training.results import Results

WORDS = {
    "features": "what the network sees",
    "window and step": "length of a window, and from one to the next",
    "mel hop": "mel: from one frame to the next",
    "mel frame": "mel: length of a frame",
    "mel floor": "mel: level that stands for everything softer",
    "codec id": "codec",
    "codec hash": "hash of the codec's encoder",
    "codec revision": "revision of the codec",
    "codec policy": "how a clip goes through the codec",
    "codec dtype": "precision the codec computes in",
    "codec license": "licence of the codec",
    "codec anchored_latents": "latents drawn to a log-mel spectrum",
    "standardisation": "scale of what the network sees",
    "head": "network",
    "parameters of the head": "weights of the network",
    "recipe": "how it was trained",
    "strength of the regression (C)": "strength of the regression (C)",
    "windows of the first fit": "windows it was first fitted to, of more",
    "windows of the last fit": "windows it was fitted to at last, those of validation among them",
    "seed": "seed of all that is random",
    "epochs": "passes over the training sounds",
    "best epoch": "pass whose weights were kept",
    "features (s)": "seconds to compute the features",
    "training (s)": "seconds to train",
    "total (s)": "seconds in all",
}
SCALES = {"band": "each band by the mean and deviation of the training windows", "none": "as it is"}


def in_words(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings under names that say what they are."""
    named = {WORDS.get(key, key): value for key, value in settings.items()}
    scale = WORDS["standardisation"]
    return named | ({scale: SCALES.get(named[scale], named[scale])} if scale in named else {})


def settings_by_name(results: Results, config: Mapping) -> dict[str, str]:
    """Each setting by the short name that version 0.1 gave it."""
    codec = results.codec.as_dict() if results.codec else {}
    settings = {
        "features": markdown_code(config["features"]),
        "sampling rate": f"{config['sampling_rate']} Hz",
        "window and step": f"{plain(config['window_s'])} s and {plain(config['step_s'])} s",
        **({"mel hop": f"{config['hop_length']} samples"} if not codec and config.get("hop_length") else {}),
        **({"mel frame": f"{config['n_fft']} samples"} if not codec and config.get("n_fft") else {}),
        **({} if config.get("floor_db") is None else {"mel floor": f"{plain(config['floor_db'])} dB"}),
        **(
            {
                f"codec {key}": markdown_code(value)
                for key, value in codec.items()
                if isinstance(value, str) and key != "attribution"
            }
        ),
        "standardisation": config.get("standardization"),
        "head": results.head and markdown_code(results.head),
        "parameters of the head": results.parameters and f"{results.parameters:,}",
        "recipe": results.recipe and markdown_code(results.recipe),
        "strength of the regression (C)": results.fit and f"{results.fit['C']:g}",
        "windows of the first fit": _windows(results, "fit_windows"),
        "windows of the last fit": _windows(results, "refit_windows"),
        "seed": results.seed,
        "epochs": results.epochs or None,
        "best epoch": results.best_epoch,
        **{f"{key} (s)": f"{value:.1f}" for key, value in results.times_s.items()},
        **{f"version of {key}": value for key, value in results.versions.items()},
    }
    return {key: str(value).replace("|", "\\|") for key, value in settings.items() if value is not None}


def _windows(results: Results, fit: str) -> str | None:
    """How many windows a head was fitted to, first (where not to all) and after its validation; None where not said."""
    count = (results.fit or {}).get(fit)
    return count and f"{count:,.0f}"


def plain(value: float) -> str:
    """A number without needless digits: 1.0 is 1."""
    return f"{value:g}"
