"""Prepare a public data set: fetch it where asked, read every clip, compare it with its facts, say what comes next.

dataset_scripts/ holds one script for each data set that runs this program.
"""

import os
import shlex
from pathlib import Path

from tqdm.auto import tqdm

from hf_encls.commands.errors import run_program
from hf_encls.commands.outputs import check_folder, output_file
from hf_encls.commands.parser import Parser, as_options
from hf_encls.data.download import fetch, unpack
from hf_encls.data.facts import DatasetFacts
from hf_encls.data.load import KNOWN, load_clips
from hf_encls.data.validate import validate
from hf_encls.files import writing


def main(args: list[str] | None = None, dataset: str | None = None) -> dict:
    """Run the program; `dataset` is given by the scripts that stand for one data set. Returns the numbers."""
    parser = _parser(dataset)
    options, others = parser.parse_known_args(args)
    if others and not options.push_to_hub:
        parser.refuse(others)
    name = dataset or options.dataset
    facts = next(known for known in KNOWN if known.name == name)
    data_dir = Path(options.data_dir)
    print(facts.text())
    if options.download:
        check_folder(data_dir, "--data_dir")
        with writing(data_dir):
            _download(facts, data_dir, options.url, options.keep_archive)
    clips, report, facts = load_clips(data_dir, name, strict=options.strict)
    print(as_options(report.text()))
    if options.report:
        with writing(options.report):
            report.save(options.report)
        print(f"report: {options.report}")
    result = {"dataset": facts.name, "used": report.used, "left_out": report.left_out, "warnings": report.warnings}
    result["classes"] = clips.features["label"].names
    result["groups"] = len(set(clips["group"][:]))
    result["folds"] = sorted(set(clips["fold"][:]))
    print(f"{len(result['classes'])} classes, {result['groups']} groups (source recordings, as far as known)")
    if options.validate:
        validation = validate(name, data_dir, compare_checksums=not options.no_checksums)
        print(validation.text())
        result["validation"] = validation.as_dict()
    if options.push_to_hub:
        # Audio stays here: only features are published.
        from hf_encls.commands.publish import main as publish

        others += ["--strict"] if options.strict else []
        which = ["--data_dir", str(data_dir), "--data_name", name]
        result["published"] = publish([*which, "--push_to_hub", options.push_to_hub, *others])
    protocol = "official" if facts.official else "clip"
    print(f"next: {next_command(data_dir, name, protocol)}")
    return result


def next_command(data_dir: str | os.PathLike, name: str, protocol: str) -> str:
    """A line for the shell that trains on what was prepared."""
    words = ["python", "scripts/train.py", "--data_dir", str(data_dir), "--data_name", name, "--protocol", protocol]
    return shlex.join(words)


def _parser(dataset: str | None) -> Parser:
    parser = Parser(description=__doc__.splitlines()[0])
    if dataset is None:
        parser.add_argument("dataset", choices=[facts.name for facts in KNOWN], help="which data set")
    parser.add_argument("--data_dir", required=True, help="the folder that holds the data set, or will")
    parser.add_argument("--download", action="store_true", help="fetch the archive (pinned, checked) into data_dir")
    parser.add_argument("--url", help="with --download: another address of the same archive; its checksum decides")
    parser.add_argument("--keep_archive", action="store_true", help="with --download: keep the archive file")
    parser.add_argument("--strict", action="store_true", help="make every file that cannot be used an error")
    parser.add_argument("--validate", action="store_true", help="compare every file with the published facts")
    parser.add_argument("--no_checksums", action="store_true", help="with --validate: names and audio only, no md5")
    parser.add_argument(
        "--push_to_hub",
        metavar="NAME",
        help="publish features (never audio) as this data set; the options of scripts/publish.py work too",
    )
    parser.add_argument("--report", type=output_file, help="write what was used and left out into this JSON file")
    return parser


def _download(facts: DatasetFacts, data_dir: Path, url: str | None, keep: bool) -> None:
    """The archive goes beside `data_dir`, its contents into `data_dir`."""
    archive = facts.archive
    if data_dir.exists() and any(data_dir.iterdir()):
        raise ValueError(f"{data_dir} is not empty: leave --download out to use what is there, or name another folder")
    print(f"fetching {archive.file_name}, {archive.size / 1e6:.0f} MB")
    with tqdm(total=archive.size, unit="B", unit_scale=True, desc=archive.file_name) as bar:
        path = fetch(archive, data_dir.parent, url=url, progress=bar.update)
    unpack(path, data_dir, max_members=archive.max_members, max_unpacked=archive.max_unpacked)
    if not keep:
        path.unlink()


if __name__ == "__main__":
    run_program(main)
