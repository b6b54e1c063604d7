"""The table of what other projects say: its form, and that the page holds what the command writes."""

import re

import who_else
from who_else import HEAD, PAGE, PEERS, table, write

ROW = re.compile(r"\| (?P<package>\S+) \| (?P<version>[\w.+-]+) \| (?P<count>\d+) \| (?P<found>[^|]+) \|")


def test_equal_findings_are_added_up_and_every_package_has_a_row():
    notes = [
        {"package": "mteb", "version": "2.1", "found": "kinds", "count": 1},
        {"package": "encodec", "version": "0.1", "found": "files", "count": 12},
        {"package": "mteb", "version": "2.1", "found": "kinds", "count": 1},
        {"package": "mteb", "version": "2.1", "found": "clips", "count": 30},
    ]
    lines = table(notes, {"xares": "skipped: could not import 'xares'"})
    assert lines[:2] == list(HEAD)
    assert "| mteb | 2.1 | 2 | kinds |" in lines and "| mteb | 2.1 | 30 | clips |" in lines
    assert "| xares | - | 0 | not run: skipped: could not import 'xares' |" in lines
    rows = [ROW.fullmatch(line) for line in lines[2:]]
    assert all(rows) and list(dict.fromkeys(row["package"] for row in rows)) == list(PEERS)


def test_the_page_holds_a_table_of_the_command():
    text = PAGE.read_text(encoding="utf-8")
    lines = text[text.index(HEAD[0]) :].split("\n\n")[0].strip().splitlines()
    assert lines[:2] == list(HEAD) and "who_else.py --write" in text
    rows = [ROW.fullmatch(line) for line in lines[2:]]
    assert all(rows), "write it anew with the command"
    assert list(dict.fromkeys(row["package"] for row in rows)) == list(PEERS)
    assert all(int(row["count"]) for row in rows), "every package was asked"


def test_writing_replaces_the_table_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n\n" + "\n".join([*HEAD, "| old | 1 | 1 | x |"]) + "\n\nafter\n")
    write([*HEAD, "| new | 2 | 2 | y |"], page)
    assert page.read_text() == "before\n\n" + "\n".join([*HEAD, "| new | 2 | 2 | y |"]) + "\n\nafter\n"


def test_every_harness_belongs_to_a_package():
    files = {path.stem for path in who_else.HERE.glob("test_*.py")} - {"test_who_else"}
    assert files == set(PEERS.values())
