"""Compute features once and keep them in the cache, where training finds them.

    python scripts/extract_features.py --data_dir my_sounds --features encodec_24khz

Any number of processes, on any number of machines that share --cache_dir, may run this at once: they divide the work.
What was interrupted goes on where it was.
"""

from pathlib import Path

from hf_encls.commands.dataclass_options import parse_dataclasses
from hf_encls.commands.errors import run_program
from hf_encls.commands.feature_arguments import FeatureArguments
from hf_encls.commands.inputs import prepare


def main(args: list[str] | None = None) -> dict:
    """Run the program; returns what was made: `features`, `windows`, `clips`, `shape`, `bytes_per_second`, `cache`."""
    (arguments,) = parse_dataclasses([FeatureArguments], args, __doc__.splitlines()[0])
    inputs = prepare(arguments)
    windows, config = inputs.windows, inputs.config
    rows, frames = config.stored_shape
    size = {"uint16": 2, "float16": 2, "float32": 4}[windows.features["input_features"].dtype]
    folder = Path(windows.cache_files[0]["filename"]).parent
    result = {
        "features": config.feature_name,
        "windows": len(windows),
        "clips": len(set(windows["clip_id"][:])),
        "shape": [rows, frames],
        "bytes_per_second": rows * frames * size / config.step_s,
        "cache": str(folder),
    }
    print(
        f"{result['windows']} windows of {rows} x {frames} from {result['clips']} clips, "
        f"{result['bytes_per_second']:,.0f} bytes per second of audio, in {folder}"
    )
    return result


if __name__ == "__main__":
    run_program(main)
