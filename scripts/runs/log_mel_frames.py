"""Which frames suit log-mel: accuracy over the official folds, and CPU time, for several of them.

    python scripts/runs/log_mel_frames.py ESC-10 [--head mnist --folds 1] [--floor_db -50] [--frames 4096 1024 ...]

Takes up to a minute of CPU for each. Prints a table in Markdown; clips are right
where the mean of their windows' probabilities is.
"""

import argparse
import resource
import tempfile

import torch

import hf_encls
from hf_encls.data.load import load_clips

FRAMES = ((512, 128), (512, 512), (1024, 512), (2048, 512))


def main() -> None:
    """Extract, train, print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir")
    parser.add_argument("--head", default="statistics")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--floor_db", type=float)
    parser.add_argument("--frames", type=int, nargs=2, action="append", metavar=("N_FFT", "HOP"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    clips, _, _ = load_clips(options.data_dir)
    print("| n_fft | hop | frames | clips | windows | CPU s, features | CPU s, training |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for n_fft, hop in options.frames or FRAMES:
        with tempfile.TemporaryDirectory() as folder:
            started = cpu_s()
            settings = {"n_fft": n_fft, "hop_length": hop, "floor_db": options.floor_db, "head": options.head}
            config = hf_encls.feature_config("log_mel", clips, **settings)
            windows = hf_encls.extract_features(clips, config, cache_dir=f"{folder}/cache")
            extracted, scores = cpu_s(), []
            for fold in options.folds:
                args = hf_encls.EnclsTrainingArguments(f"{folder}/{fold}", report_to="none", use_cpu=True)
                run = hf_encls.train(windows, config, protocol="official", fold=fold, args=args)
                scores.append((run.results.test.clip.accuracy, run.results.test.window.accuracy))
        clip, window = (sum(each) / len(scores) for each in zip(*scores))
        times = f"{extracted - started:.1f} | {cpu_s() - extracted:.1f}"
        print(f"| {n_fft} | {hop} | {config.num_frames} | {clip:.3f} | {window:.3f} | {times} |", flush=True)


def cpu_s() -> float:
    """Seconds of CPU that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
