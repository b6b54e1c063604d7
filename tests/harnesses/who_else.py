"""The table "who else says so": `python tests/harnesses/who_else.py --write` asks every package and writes docs/who_else.md.

Without `--write` the table is printed. A package that is not there has its row too, which says why it was not run. Runs in
parts are joined: where `HF_ENCLS_SAYS` names a file, the tests in this folder note there what they find, and
`--noted FILE ...` makes the table of such files.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "who_else.md"
HEAD = ("| Package | Version | Count | What it says of hf_encls |", "| --- | --- | ---: | --- |")
# Each package and the file that asks it.
PEERS = {
    "transformers": "test_transformers_common",
    "encodec": "test_meta_encodec",
    "sed_eval": "test_label_tools",
    "tgt": "test_label_tools",
    "praatio": "test_label_tools",
    "pyannote.core": "test_label_tools",
    "mteb": "test_mteb",
    "xares": "test_xares",
    "hearvalidator": "test_hear",
}


def table(notes: Iterable[dict], reasons: dict[str, str]) -> list[str]:
    """Lines of the table: equal findings of a package added up, in the order of `PEERS`."""
    counts, versions = Counter(), {}
    for note in notes:
        counts[note["package"], note["found"]] += note["count"]
        versions[note["package"]] = note["version"]
    rows = []
    for package in PEERS:
        found = [(count, text) for (name, text), count in counts.items() if name == package]
        rows += [f"| {package} | {versions[package]} | {count} | {text} |" for count, text in found]
        if not found:
            rows.append(f"| {package} | - | 0 | not run: {reasons.get(package, 'nothing was noted')} |")
    return [*HEAD, *rows]


def skipped(report: Path) -> dict[str, str]:
    """Why a package was not asked, or what failed first."""
    reasons = {}
    cases = list(ElementTree.parse(report).iter("testcase")) if report.is_file() else []
    for package, module in PEERS.items():
        for case in cases:
            place = f"{case.get('classname')}.{case.get('name')}"
            one_of_several = module == "test_label_tools" and package.split(".")[0] not in place
            mark = next(
                (case.find(kind) for kind in ("skipped", "failure", "error") if case.find(kind) is not None), None
            )
            if module in place and not one_of_several and mark is not None:
                text = re.sub(r"\s+", " ", mark.get("message", "")).replace("|", "/")
                reasons.setdefault(package, f"{mark.tag}: {text[:100]}")
    return reasons


def ask(folder: Path) -> tuple[int, list[str]]:
    """Run the harnesses: their exit status, and the table."""
    said, report = folder / "says.jsonl", folder / "report.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "0",
        "-q",
        "-rs",
        "-m",
        "slow or not slow",
        f"--junitxml={report}",
    ]
    files = sorted(str(HERE / f"{name}.py") for name in set(PEERS.values()))
    code = subprocess.run([*command, *files], env=os.environ | {"HF_ENCLS_SAYS": str(said)}).returncode
    return code, table(notes([said]), skipped(report))


def notes(files: Iterable[Path]) -> list[dict]:
    """What was noted in those of the files that are there."""
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def main() -> int:
    """Print or write the table; the exit status is that of the harnesses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/who_else.md")
    parser.add_argument("--noted", nargs="+", type=Path, metavar="FILE", help="of earlier runs; nothing is run now")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        code, lines = (0, table(notes(options.noted), {})) if options.noted else ask(Path(folder))
    print("\n" + "\n".join(lines))
    if options.write and code:
        print("nothing was written: a harness failed", file=sys.stderr)
    elif options.write:
        write(lines)
    return code


def write(lines: list[str], page: Path = PAGE) -> None:
    """Put the table in the place of the page's old one."""
    text = page.read_text(encoding="utf-8")
    start = text.index(HEAD[0])
    end = text.find("\n\n", start)
    rest = "\n" if end < 0 else text[end:]
    page.write_text(text[:start] + "\n".join(lines) + rest, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
