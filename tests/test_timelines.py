"""Files of labels: what we write is read back as it was, and so is what other programs write."""

import numpy as np
import pytest

from hf_encls.timelines.formats import EXTENSIONS, FORMATS, render
from hf_encls.timelines.reading import LabelsError, read_timeline

NAMES = [
    "dog, bark",
    'a "quoted" name',
    "café 犬",
    "=1+1",
    "'-x",
    "100%",
    "a%20b",
    "!no, comment",
    "12",
    "a\\b",
    "<x>",
]


def timeline(seed: int, names: list[str]) -> list[dict]:
    random = np.random.default_rng(seed)
    edges = np.concatenate([[0.0], np.round(np.cumsum(random.uniform(0.01, 700, len(names))), 6)])
    labels = random.permutation(names)
    return [
        {"start": float(a), "end": float(b), "label": str(label), "score": round(float(random.uniform()), 6)}
        for a, b, label in zip(edges, edges[1:], labels)
    ]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_is_read_back(format, seed, tmp_path):
    names = [name.replace(" ", "_") for name in NAMES] if format == "rttm" else NAMES
    segments = timeline(seed, names)
    path = tmp_path / f"show{EXTENSIONS[format]}"
    path.write_text(render(segments, format, name="show.wav"), encoding="utf-8", newline="")
    found = read_timeline(path)
    assert [each["label"] for each in found] == [each["label"] for each in segments]
    for name in ("start", "end"):
        assert [each[name] for each in found] == pytest.approx([each[name] for each in segments], abs=1.5e-6)
    if format not in ("audacity", "textgrid"):
        assert [each["score"] for each in found] == pytest.approx([each["score"] for each in segments])
    if format in ("jsonl", "rttm"):
        assert {each["file"] for each in found} == {"show.wav" if format == "jsonl" else "show"}


def test_rttm_keeps_names_apart_that_differ_in_white_space(tmp_path):
    names = ["a b", "a_b", "a%20b"]
    segments = [{"start": float(i), "end": i + 1.0, "label": name, "score": 0.5} for i, name in enumerate(names)]
    (tmp_path / "x.rttm").write_text(render(segments, "rttm"), encoding="utf-8")
    assert [each["label"] for each in read_timeline(tmp_path / "x.rttm")] == names


def test_scores_of_all_classes_come_back(tmp_path):
    scores = {"a,b": 0.75, "=c": 0.25}
    segments = [{"start": 0.0, "end": 1.0, "label": "a,b", "score": 0.75, "scores": scores}]
    for format in ("csv", "json", "jsonl"):
        (tmp_path / "x").write_text(render(segments, format), encoding="utf-8")
        assert read_timeline(tmp_path / "x")[0]["scores"] == scores


SHORT_HEAD = """File type = "ooTextFile"
Object class = "TextGrid"

0
4
<exists>
2
"IntervalTier"
"sounds"
0
4
"""
POINTS = '"TextTier"\n"points"\n0\n4\n1\n3\n"ding"\n'
OTHERS = {
    "audacity_with_pitch": "0.5\t1.5\tbird\r\n\\\t1000.0\t2000.0\r\n2\t2\ta point\n3\t4\t\n",
    "dcase": "0.5\t1.5\tbird\n2\t2\ta point\n",
    "csv_semicolons": "Onset;Offset;Event_label\n0.5;1.5;bird\n2;2;a point\n",
    "csv_durations": "file,begin,duration,label\na.wav,0.5,1.0,bird\na.wav,2,0,a point\n",
    "tsv_with_unit": "label\tstart_s\tend_s\nbird\t0.5\t1.5\na point\t2\t2\n",
    "rttm": ";; made elsewhere\nSPKR-INFO a 1 <NA> <NA> <NA> unknown bird <NA>\n"
    "SPEAKER a 1 0.5 1.0 <NA> <NA> bird <NA>\nSPEAKER a 1 2 0 <NA> <NA> a_point <NA> <NA>\n",
    "raven": "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"
    "1\tWaveform 1\t1\t0.5\t1.5\t0\t100\tbird\n1\tSpectrogram 1\t1\t0.5\t1.5\t0\t100\tbird\n"
    "2\tSpectrogram 1\t1\t2\t2\t0\t100\ta point\n",
    "raven_several_files": "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n"
    "1\t60.5\t61.5\ta.wav\t0.5\tbird\n2\t62\t62\ta.wav\t2\ta point\n",
    "textgrid_short": SHORT_HEAD + '4\n0\n0.5\n""\n0.5\n1.5\n"bird"\n1.5\n2\n""\n2\n2\n"a point"\n' + POINTS,
    "textgrid_long": """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 4 ! in seconds
tiers? <exists> 
size = 1 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "sounds" 
        xmin = 0 
        xmax = 4 
        intervals: size = 2 
        intervals [1]:
            xmin = 0.5 
            xmax = 1.5 
            text = "bird" 
        intervals [2]:
            xmin = 2 
            xmax = 2 
            text = "a point" 
""",  # noqa: W291 - as Praat writes it
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_other_programs(name, encoding, tmp_path):
    (tmp_path / "labels").write_bytes(OTHERS[name].encode(encoding))
    found = read_timeline(tmp_path / "labels")
    assert [(each["start"], each["end"], each["label"].replace("_", " ")) for each in found] == [
        (0.5, 1.5, "bird"),
        (2.0, 2.0, "a point"),
    ]
    if "file" in OTHERS[name].lower().split("\n")[0] and "ootextfile" not in OTHERS[name].lower():
        assert {each["file"] for each in found} == {"a.wav"}


def test_a_tier_and_a_column_are_named(tmp_path):
    words = '"IntervalTier"\n"words"\n0\n4\n1\n0\n4\n"hi"\n'
    two = OTHERS["textgrid_short"].replace(POINTS, words)
    (tmp_path / "two.TextGrid").write_text(two)
    with pytest.raises(LabelsError, match=r"two\.TextGrid: expected one tier of intervals, found sounds, words"):
        read_timeline(tmp_path / "two.TextGrid")
    assert [each["label"] for each in read_timeline(tmp_path / "two.TextGrid", tier="words")] == ["hi"]
    with pytest.raises(LabelsError, match="expected a tier 'x', found sounds, words"):
        read_timeline(tmp_path / "two.TextGrid", tier="x")
    (tmp_path / "t.csv").write_text("start,end,who\n0,1,me\n")
    with pytest.raises(LabelsError, match="no label; name the column of labels with `label_column`"):
        read_timeline(tmp_path / "t.csv")
    assert read_timeline(tmp_path / "t.csv", column="who")[0]["label"] == "me"


BROKEN = {
    "0\t1\ta\nx\t2\tb\n": "line 2: expected seconds, found 'x'",
    "2\t1\ta\n": "expected a start of 0 or more and an end not before it",
    "0\tinf\ta\n": "expected",
    "just some words\n": "expected an Audacity track, RTTM, a TextGrid",
    "a,b,c\n1,2,3\n": "no start, no label, no end",
    '[{"start": 0, "end": 1}]': "expected objects with start, end",
    '[{"start": 0,': "is damaged",
    'File type = "ooTextFile"\nObject class = "TextGrid"\n0\n1\n<exists>\n1\n"IntervalTier"': "ends too early",
    'File type = "ooTextFile"\nObject class = "Pitch"\n0\n1\n': "expected a TextGrid, found 'Pitch'",
    "SPEAKER a 1 x 1 <NA> <NA> b <NA>\n": "line 1: expected seconds",
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_cannot_be_read_is_named_in_one_line(text, tmp_path):
    (tmp_path / "x.labels").write_text(text)
    with pytest.raises(LabelsError) as caught:
        read_timeline(tmp_path / "x.labels")
    assert BROKEN[text] in str(caught.value) and "x.labels" in str(caught.value) and "\n" not in str(caught.value)


def test_other_bytes_are_no_labels(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\x00\x9c")
    with pytest.raises(LabelsError, match="expected text in UTF-8 or UTF-16"):
        read_timeline(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"ooBinaryFile\x08TextGrid")
    with pytest.raises(LabelsError, match="binary TextGrid"):
        read_timeline(tmp_path / "x")
    with pytest.raises(LabelsError, match="cannot be read"):
        read_timeline(tmp_path / "nothing")
    (tmp_path / "x").write_bytes(b"")
    assert read_timeline(tmp_path / "x") == []
