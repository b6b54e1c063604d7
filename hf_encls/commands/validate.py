"""Compare a folder with the published facts of a data set: what is missing, extra or wrong. Exit status 1 if any."""

import sys

from hf_encls.commands.errors import run_program
from hf_encls.commands.outputs import output_file
from hf_encls.commands.parser import Parser
from hf_encls.data.load import KNOWN
from hf_encls.data.validate import validate
from hf_encls.files import write_json, writing


def main(args: list[str] | None = None) -> dict:
    """Run the program and return the comparison; its key `ok` says whether all is as it should be."""
    parser = Parser(description=__doc__)
    parser.add_argument("--data_dir", required=True, help="the folder")
    parser.add_argument(
        "--dataset", choices=[facts.name for facts in KNOWN], help="which data set it should be (default: recognised)"
    )
    parser.add_argument("--no_checksums", action="store_true", help="names and audio only, no md5")
    parser.add_argument("--most", type=int, default=20, help="files to print of each kind")
    parser.add_argument("--report", type=output_file, help="write the whole comparison into this JSON file")
    options = parser.parse(args)
    if not options.data_dir:  # a variable of the shell that is not set, say; Path makes the current folder of it
        raise ValueError("expected a folder at --data_dir, found no name")
    result = validate(options.dataset, options.data_dir, compare_checksums=not options.no_checksums)
    print(result.text(options.most))
    if options.report:
        with writing(options.report):
            write_json(result.as_dict(), options.report)
    return result.as_dict()


if __name__ == "__main__":
    run_program(lambda: sys.exit(0 if main()["ok"] else 1))
