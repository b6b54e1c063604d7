"""Look for sounds that are like one: the files of a folder, the most similar first, and where in them it is."""

import sys
from pathlib import Path

from hf_encls.commands.outputs import output, output_file
from hf_encls.commands.parser import Parser
from hf_encls.commands.sound_inputs import FORMATS, add_feature_options, path_of, render, sounds_of

EXAMPLES = """examples:
  hf-encls search like_this.wav field_recordings --features log_mel
  hf-encls search like_this.wav my_sounds --codec mini --top_k 3 --format json
  hf-encls search like_this.wav my_features              # what publish.py --output_dir wrote, no audio

Similarity is from -1 to 1, start_s when the most similar window of the file begins. No labels are needed. Features are
computed once and kept in the cache.
"""


def main(args: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = Parser(prog="hf-encls search", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("sound", metavar="LIKE_THIS", help="a file of audio, at most 10 minutes")
    parser.add_argument("where", metavar="FOLDER", help="of sounds, or published features (a folder, or a Hub name)")
    parser.add_argument("--top_k", type=int, default=10, metavar="N", help="files that are named (default: 10)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument("--output", type=output_file, metavar="FILE", help="write here instead of to the terminal")
    add_feature_options(parser)
    options = parser.parse(list(sys.argv[1:] if args is None else args))
    if options.top_k < 1:
        parser.error("--top_k must be 1 or more")
    if not Path(options.sound).is_file():
        raise ValueError(f"expected a file of audio at {options.sound!r}, found none")
    inputs = sounds_of(options.where, options)
    from hf_encls.features.search import SoundIndex

    index = SoundIndex(inputs.windows, inputs.config, inputs.codec)
    itself = Path(options.sound).resolve()
    same = [] if inputs.clips is None else zip(inputs.clips["clip_id"], inputs.clips["audio"], strict=True)
    matches = index.search(
        options.sound, options.top_k, leave_out=[clip for clip, audio in same if Path(audio["path"]) == itself]
    )
    rows = [
        {
            "file": path_of(inputs, options.where, each.clip_id),
            "start_s": each.start_s,
            "similarity": round(each.similarity, 4),
            "label": each.label,
        }
        for each in matches
    ]
    with output(options.output) as out:
        out.write(render(rows, options.format))
    return 0
