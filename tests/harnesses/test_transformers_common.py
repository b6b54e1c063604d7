"""transformers' own common tests over mel and codec models, the backbone and the extractor; each skip has a reason."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
from upstream import NotThereError, unpacked

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def reasons() -> dict[str, str]:
    """The table of skips: pattern -> why."""
    rows = [line.split("\t") for line in (HERE / "transformers_skips.tsv").read_text(encoding="utf-8").splitlines()]
    assert all(len(row) == 2 and all(row) for row in rows)
    return dict(rows[1:])


def test_the_table_of_skips_can_be_read():
    assert all(re.compile(pattern) and len(why) > 10 for pattern, why in reasons().items())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_transformers_own_common_tests(archives, tmp_path, says):
    pytest.importorskip("parameterized")
    try:
        folder = unpacked("transformers", version("transformers"), archives)
    except NotThereError as error:
        pytest.skip(str(error))
    (folder / "tests" / "__init__.py").touch()  # the archive leaves it out, and a test looks for it
    report = tmp_path / "report.xml"
    kinds = os.environ.get("HF_ENCLS_KINDS", "")  # for a part of them: "MelWindows or Extractor"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={folder}", "-q"]
    command += [f"--junitxml={report}", "--tb=short", "-k", kinds, str(HERE / "transformers_common.py")]
    path = os.pathsep.join([str(ROOT), str(HERE.parent), str(folder), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert report.is_file(), run.stdout[-3000:] + run.stderr[-3000:]
    counts, unexplained = Counter(), set()
    for case in ElementTree.parse(report).iter("testcase"):
        skip = case.find("skipped")
        counts["skipped" if skip is not None else "ran"] += 1
        if skip is not None and not any(re.search(pattern, skip.get("message", "")) for pattern in reasons()):
            unexplained.add(skip.get("message"))
    assert not unexplained, "say in transformers_skips.tsv why these are right"
    assert run.returncode == 0, run.stdout[-6000:]
    says("transformers", "of its common tests pass", counts["ran"])
    says("transformers", "of its common tests do not apply, each with a reason", counts["skipped"])
