"""Timelines as text, compared with text written by hand or read back by independent parsers."""

import csv
import io
import json
import re

import numpy as np
import pytest

from hf_encls.inference.picture import Envelope, save_timeline_picture
from hf_encls.inference.timeline import Cells, Times
from hf_encls.timelines.formats import FORMATS, render

SEGMENTS = [
    {"start": 0.0, "end": 1.5, "label": "dog, bark", "score": 0.75},
    {"start": 1.5, "end": 2.0000001, "label": 'a "quoted"\nname', "score": 1.0},
    {"start": 2.0, "end": 3600.25, "label": "café 犬\ttab", "score": 0.000001},
]


def test_json_is_the_list_itself():
    assert json.loads(render(SEGMENTS, "json")) == SEGMENTS
    assert json.loads(render([], "json")) == []
    assert "café 犬" in render(SEGMENTS, "json")


def test_json_lines_have_the_files_name():
    lines = render(SEGMENTS, "jsonl", name="x y.wav").split("\n")
    assert lines[-1] == ""
    assert [json.loads(line) for line in lines[:-1]] == [{"file": "x y.wav", **each} for each in SEGMENTS]


def test_csv_by_hand():
    assert render(SEGMENTS, "csv") == (
        "start,end,label,score\n"
        '0,1.5,"dog, bark",0.750000\n'
        '1.5,2,"a ""quoted""\nname",1.000000\n'
        "2,3600.25,café 犬\ttab,0.000001\n"
    )


def test_csv_with_all_scores():
    segments = [{"start": 0.0, "end": 1.0, "label": "a,b", "score": 0.75, "scores": {"a,b": 0.75, "c": 0.25}}]
    rows = list(csv.DictReader(io.StringIO(render(segments, "csv"))))
    assert rows == [
        {
            "start": "0",
            "end": "1",
            "label": "a,b",
            "score": "0.750000",
            "score: a,b": "0.750000",
            "score: c": "0.250000",
        }
    ]


def test_rttm_by_hand():
    assert render(SEGMENTS, "rttm", name="my file") == (
        "SPEAKER my_file 1 0 1.5 <NA> <NA> dog,_bark 0.750000 <NA>\n"
        'SPEAKER my_file 1 1.5 0.5 <NA> <NA> a_"quoted"_name 1.000000 <NA>\n'
        "SPEAKER my_file 1 2 3598.25 <NA> <NA> café_犬_tab 0.000001 <NA>\n"
    )


@pytest.mark.parametrize(
    ("name", "uri"),
    [("show.wav", "show"), ("a b.FLAC", "a_b"), ("x.2024", "x.2024"), ("x.ecdc", "x"), (".wav", ".wav")],
)
def test_rttm_names_the_recording_without_its_ending(name, uri):
    assert render(SEGMENTS[:1], "rttm", name=name).split()[1] == uri


def test_rttm_always_has_ten_fields():
    odd = [{"start": 0.0, "end": 1.0, "label": "  ", "score": 0.5}]
    for line in render(SEGMENTS + odd, "rttm", name="\u00a0").splitlines():
        assert len(line.split()) == 10


def test_audacity_by_hand():
    assert render(SEGMENTS, "audacity") == (
        '0.000000\t1.500000\tdog, bark\n1.500000\t2.000000\ta "quoted" name\n2.000000\t3600.250000\tcafé 犬 tab\n'
    )


def test_textgrid_by_hand():
    assert render(SEGMENTS[:2], "textgrid", duration_s=2.5) == (
        'File type = "ooTextFile"\n'
        'Object class = "TextGrid"\n'
        "\n"
        "xmin = 0\n"
        "xmax = 2.5\n"
        "tiers? <exists>\n"
        "size = 1\n"
        "item []:\n"
        "    item [1]:\n"
        '        class = "IntervalTier"\n'
        '        name = "labels"\n'
        "        xmin = 0\n"
        "        xmax = 2.5\n"
        "        intervals: size = 3\n"
        "        intervals [1]:\n"
        "            xmin = 0\n"
        "            xmax = 1.5\n"
        '            text = "dog, bark"\n'
        "        intervals [2]:\n"
        "            xmin = 1.5\n"
        "            xmax = 2\n"
        '            text = "a ""quoted""\nname"\n'
        "        intervals [3]:\n"
        "            xmin = 2\n"
        "            xmax = 2.5\n"
        '            text = ""\n'
    )


def test_textgrid_read_as_praat_reads_it():
    # Praat's text files are a stream of free-standing numbers, <flags> and "strings"; the rest is comment.
    text = render(SEGMENTS, "textgrid")
    tokens = re.findall(r'"(?:[^"]|"")*"|(?<=[\s=])-?\d+(?:\.\d+)?(?=\s)|<\w+>', text)
    values = [token[1:-1].replace('""', '"') if token[0] == '"' else token for token in tokens]
    assert values[:6] == ["ooTextFile", "TextGrid", "0", "3600.25", "<exists>", "1"]
    assert values[6:11] == ["IntervalTier", "labels", "0", "3600.25", "3"]
    assert values[13::3] == [segment["label"] for segment in SEGMENTS]
    assert [float(value) for value in values[12::3]] == pytest.approx([1.5, 2.0, 3600.25])


def test_every_format_takes_no_segments_and_an_unknown_one_is_refused():
    for format in FORMATS:
        assert isinstance(render([], format), str)
    with pytest.raises(ValueError, match="expected a format of json"):
        render([], "srt")


def test_envelope_of_blocks_is_that_of_the_whole():
    samples = np.random.default_rng(0).normal(size=5003).astype(np.float32)
    envelope = Envelope(1000, bin_s=0.01)
    for first in range(0, len(samples), 37):
        envelope.add(samples[first : first + 37])
    times, low, high = envelope.curve(10_000)
    assert envelope.num_samples == len(samples)
    np.testing.assert_array_equal(low[:500], samples[:5000].reshape(500, 10).min(axis=1))
    np.testing.assert_array_equal(high[:500], samples[:5000].reshape(500, 10).max(axis=1))
    assert len(times) == 501 and low[-1] == samples[5000:].min()
    assert len(envelope.curve(100)[0]) <= 100


def test_picture_is_written(tmp_path):
    labels = [f"class {i}" for i in range(20)]
    cells = np.random.default_rng(0).dirichlet(np.ones(20), size=9)
    segments = [
        {"start": 0.0, "end": 4.0, "label": labels[3], "score": 0.5},
        {"start": 4.0, "end": 8.6, "label": labels[7], "score": 0.5},
    ]
    envelope = Envelope(1000)
    envelope.add(np.sin(np.arange(8600)).astype(np.float32))
    path = save_timeline_picture(
        tmp_path / "new" / "x.png",
        segments,
        Cells(cells, labels, Times(1.0, 1.0, 8.6)),
        envelope=envelope,
        title="x.wav",
    )
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [each.name for each in path.parent.iterdir()] == ["x.png"]
