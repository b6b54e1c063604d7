"""A class, a file or a folder may be called anything: it stays text in everything that is written."""

import csv
import io
import json
import re
import shlex
import subprocess

import numpy as np
import pytest
import yaml
from huggingface_hub import DatasetCard, DatasetCardData, ModelCard
from test_cards import CONFIG, results_with

from hf_encls.commands import classify
from hf_encls.commands.prepare import next_command
from hf_encls.files.escapes import csv_cell, markdown, markdown_block, markdown_code, one_line, python
from hf_encls.hub.push_models import _named
from hf_encls.inference.demo.answers import Answer, Limits
from hf_encls.inference.demo.page import introduction, refusal, summary
from hf_encls.model.mel_encls import Mel
from hf_encls.report import canvas
from hf_encls.report.canvas import class_names, drawn, key, key_file, look
from hf_encls.report.cards import model_card
from hf_encls.report.dataset_cards import dataset_card
from hf_encls.report.pages import generated, text_of
from hf_encls.report.pictures import save_confusion_matrix
from hf_encls.report.run_report import usage
from hf_encls.report.tables import class_table
from hf_encls.timelines.formats import render

NAMES = [
    '"]}<script>alert(1)</script>\r\n---\n# x', "yes", "1.0", "- a", "a: b", "|", "a\\|b", "`c`", "*d*", "_e_", "~f~",
    "[g](http://h.example)", "![i](j.png)", "<img src=x onerror=k>", "&lt;l", "www.m.example", "$n$", "\\(o\\)", "#p",
    "=1+1", "+q", "-r", "@s", "\tt", "\ru", "'=v", "it's", "tab\there", "犬", "\x1b[31mw", "$x^$", "", "a b", "a_b",
]  # fmt: skip
FORMULA = re.compile(r"\s*[=+\-@]|[\t\r\n]")


def shown(text: str) -> str:
    """What a reader of Markdown sees of a line, in one rendering of CommonMark with GitHub's tables."""
    html = pytest.importorskip("markdown_it").MarkdownIt().enable(["table", "strikethrough"]).render(text)
    assert not re.search(
        r"www\.|https?:|[\w-]@[\w-]|\$", text
    )  # links and mathematics, which this parser does not find
    assert not re.search(r"<(?!/?p>)", html.replace("\n", "")), html
    import html as entities

    return entities.unescape(re.sub(r"</?p>", "", html)).strip()


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_the_name_and_nothing_comes_of_it(name):
    assert shown(markdown(name)) == one_line(name)
    assert shown(f"sounds: {markdown(name)}, {markdown(name)}.") == f"sounds: {one_line(name)}, {one_line(name)}."


def test_code_in_markdown_ends_where_it_should():
    assert markdown_code("a") == "`a`" and markdown_code("`a``b") == "``` `a``b ```"
    assert markdown_block("a\n```\nb") == "````\na\n```\nb\n````"


def test_every_name_has_one_row_of_a_table():
    rows = [{"class": name, "support": 1, "precision": 1.0, "recall": 1.0, "f1": 1.0} for name in NAMES]
    results = results_with(per_class=rows)
    for markup in (True, False):
        assert len(class_table(results, markdown=markup).splitlines()) == 2 + len(NAMES)
    for line in class_table(results, markdown=True).splitlines():
        assert len(re.findall(r"(?<!\\)\|", line)) == 6


def test_the_model_card_is_read_back(tmp_path):
    per_class = [{"class": name, "support": 1, "precision": 1.0, "recall": 1.0, "f1": 1.0} for name in NAMES]
    results = results_with(dataset=NAMES[0], classes=NAMES, per_class=per_class)
    card = model_card(results, CONFIG, name='1.0"\n', model='a"b\\')
    (tmp_path / "README.md").write_text(str(card), encoding="utf-8")
    read = ModelCard.load(tmp_path / "README.md")
    assert read.data.eval_results[0].dataset_name == NAMES[0] and read.data.model_name == '1.0"\n'
    assert "<script" not in read.text and "<img" not in read.text
    headings = [line for line in read.text.splitlines() if line.startswith("# ")]
    assert headings == ['# 1.0"']
    for code in re.findall(r"```python\n(.*?)```", read.text, flags=re.DOTALL):
        compile(code, "card", "exec")
        assert '"a\\"b\\\\"' in code or "pipeline" not in code
    sent = text_of(_named(generated(str(card)), tmp_path, "me/m"))
    assert 'model="me/m"' in sent and 'a\\"b' not in sent


def test_the_dataset_card_is_read_back(tmp_path):
    entry = {
        "config_name": 'a "b" $(c)', "config": CONFIG | {"features": "mel", "num_bands": 128}, "shape": [128, 75],
        "dtype": "float32", "num_windows": 5, "num_clips": 2, "versions": {}, "source": NAMES[0], "picture": False,
        "leaks": [], "class_counts": [{"class": name, "windows": 1, "clips": 1} for name in NAMES],
    }  # fmt: skip
    card = dataset_card("me/x", [entry], DatasetCardData())
    (tmp_path / "README.md").write_text(str(card), encoding="utf-8")
    text = DatasetCard.load(tmp_path / "README.md").text
    assert "<script" not in text and "<img" not in text
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    compile(code, "card", "exec")
    (command,) = re.findall(r"```\n(accelerate.*?)\n```", text)
    assert shlex.split(command)[-1] == entry["config_name"]


def test_front_matter_keeps_words_that_yaml_reads_otherwise():
    data = DatasetCardData(pretty_name="yes", tags=NAMES)
    assert yaml.safe_load(data.to_yaml())["tags"] == NAMES


@pytest.mark.parametrize("folder", ['a"b', "a'b", "a\\b\\", "a\nb", "c'\"d", "犬", "{x}", "\udcff"])
@pytest.mark.parametrize("holds_codec", [True, False])
def test_the_lines_that_are_printed_are_python(folder, holds_codec):
    results = results_with(holds_codec=holds_codec, sampling_rate=24_000)
    text = usage(results, folder, f"{folder}/x.wav")
    start = text.index("from transformers" if holds_codec else "from hf_encls import")
    found = compile(text[start:], "usage", "exec")
    assert folder in found.co_consts
    assert eval(python(folder)) == folder and python(folder)[0] == '"'


def test_the_next_command_is_shell(tmp_path):
    folder = tmp_path / "a b';$(c)\""
    printed = next_command(folder, "folder", "clip")
    out = subprocess.run(
        ["sh", "-c", printed.replace("python scripts/train.py", "printf '%s\\n'")], capture_output=True
    )
    assert out.stdout.decode().splitlines()[1] == str(folder)


def test_cells_of_csv_are_never_formulas_and_can_be_read_back():
    cells = [csv_cell(name) for name in NAMES]
    assert not [cell for cell in cells if FORMULA.match(cell)]
    assert len(set(cells)) == len(NAMES)
    assert csv_cell("dog") == "dog" and csv_cell("=1+1") == "'=1+1" and csv_cell("it's") == "it's"


@pytest.mark.parametrize("name", NAMES)
def test_every_format_holds_every_name(name):
    segments = [{"start": 0.0, "end": 1.0, "label": name, "score": 0.5, "scores": {name: 0.5}}]
    assert json.loads(render(segments, "json"))[0]["label"] == name
    rows = list(csv.reader(io.StringIO(render(segments, "csv"), newline="")))
    assert len(rows) == 2 and not any(FORMULA.match(cell) for row in rows for cell in row)
    (line,) = render(segments, "rttm", name=name).splitlines()
    assert len(line.split()) == 10
    (line,) = render(segments, "audacity").splitlines()
    assert line.split("\t")[2] == one_line(name)
    text = re.search(r'text = "((?:[^"]|"")*)"\n', render(segments, "textgrid"))
    assert text[1].replace('""', '"') == name


def test_labels_that_rttm_would_confuse_stay_apart():
    segments = [{"start": 0.0, "end": 1.0, "label": label, "score": 0.5} for label in ("a b", "a_b", "c d")]
    labels = [line.split()[7] for line in render(segments, "rttm").splitlines()]
    assert labels == ["a%20b", "a_b", "c_d"]


def test_rows_of_classify_hold_every_name():
    out = io.StringIO(newline="")
    rows = classify._csv(out, ["x"], 1)
    next(rows)
    for name in NAMES:
        rows.send((name, [{"label": name, "score": 0.5}]))
        rows.send((name, ValueError(f"=bad\n{name}")))
    found = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert len(found) == 1 + 2 * len(NAMES)
    assert not [cell for row in found for cell in row if FORMULA.match(cell)]
    out = io.StringIO()
    rows = classify._table(out, ["x"], 1)
    next(rows)
    for name in NAMES:
        rows.send((name, [{"label": name, "score": 0.5}]))
    assert len(out.getvalue().splitlines()) == 1 + len(NAMES) and "\x1b" not in out.getvalue()


def test_the_page_shows_names_as_text(tmp_path):
    class Pipe:
        class model:
            class config:
                feature_name, sampling_rate, window_s, representation = "mel", 24_000, 1.0, Mel
                id2label = dict(enumerate(NAMES))
                num_labels = len(NAMES)

    text = introduction(Pipe, "`<b>`", Limits())
    for name in NAMES[:20]:
        assert markdown(name) in text
    assert "<script" not in text
    found = Answer(1.0, {}, [], tmp_path, tmp_path, {}, ("犬", "<b>"))
    said = summary("/x/`<img>`.wav", found, 0.1)
    assert "class 0 = 犬" in said and "`` `<img>`.wav ``" in said
    assert "<script" not in refusal("/x/a.wav", ValueError("holds <script>alert(1)</script>"))


# ----------------------------------------------------------------------------------------------- pictures


def test_names_are_no_mathematics():
    from matplotlib import cbook

    for name in ("$x^$", "\\$5", "$a$ and $b$", "\\\\$"):
        assert not cbook.is_math_text(drawn(name))
    assert drawn("$5") == r"\$5"


def test_names_that_no_font_draws_are_numbers_with_a_key(tmp_path, caplog):
    names = ["dog", "犬", "été", "ab犬の声"]
    canvas._families.cache_clear()
    unknown = key(names)
    if not unknown:
        pytest.skip("this machine has a font for Chinese")
    assert class_names(names) == ["dog", "class 1", "été", "class 3"] and unknown == {
        "class 1": "犬",
        "class 3": "ab犬の声",
    }
    path = save_confusion_matrix(np.eye(4, dtype=int), names, tmp_path / "m.png")
    assert key_file(path).read_text(encoding="utf-8") == "class 1 = 犬\nclass 3 = ab犬の声\n"
    assert "犬" in caplog.text and "Glyph" not in caplog.text
    save_confusion_matrix(np.eye(2, dtype=int), ["a", "b"], path)
    assert not key_file(path).exists()


def test_a_font_that_has_the_characters_is_used(tmp_path, recwarn):
    from matplotlib import font_manager
    from matplotlib.text import Text

    path = next(font.fname for font in font_manager.fontManager.ttflist if font.name == "STIXGeneral")
    only_there = canvas._characters(path) - canvas._characters(font_manager.findfont("DejaVu Sans"))
    name = f"a{chr(max(c for c in only_there if (chr(c).isprintable() and c < 0xE000) or c > 0xF8FF))}"
    assert len(canvas.families(name)) > 1 and class_names([name]) == [name]
    figure = canvas.new_figure(2, 2)
    axes = figure.subplots()
    axes.set_xticks([0], [name])
    canvas.save_figure(figure, tmp_path / "x.png")
    texts = [text for text in figure.findobj(Text) if text.get_text() == name]
    assert texts and all(len(text.get_fontfamily()) > 1 for text in texts)
    figure.canvas.draw()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_ten_classes_have_ten_colours_and_fifty_are_different():
    assert len({look(index).colour for index in range(10)}) == 10
    assert len({look(index)[:2] for index in range(50)}) == len({look(index)[::2] for index in range(50)}) == 50


def test_a_timeline_of_ten_classes_has_ten_colours(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    from hf_encls.inference.picture import save_timeline_picture
    from hf_encls.inference.timeline import Cells, Times

    seen = {}
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: (seen.update(figure=self), path.touch()))
    names = [f"class {index}" for index in range(10)]
    segments = [{"start": i, "end": i + 1.0, "label": name, "score": 1.0} for i, name in enumerate(names)]
    save_timeline_picture(tmp_path / "x.png", segments, Cells(np.eye(10), names, Times(1.0, 1.0, 10.0)))
    figure = seen["figure"]
    assert len({patch.get_facecolor() for patch in figure.axes[0].patches}) == 10
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


def test_a_class_has_one_colour_in_the_timelines_of_all_files(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    from hf_encls.inference.picture import save_timeline_picture
    from hf_encls.inference.timeline import Cells, Times

    seen = {}
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: (seen.update(figure=self), path.touch()))
    names = [f"class {index}" for index in range(14)]
    styles = []
    for heard in (range(14), [7, 13], [13]):
        segments = [{"start": i, "end": i + 1.0, "label": names[each], "score": 1.0} for i, each in enumerate(heard)]
        duration_s = float(len(segments))
        cells = Cells(np.eye(14)[list(heard)], names, Times(1.0, 1.0, duration_s))
        save_timeline_picture(tmp_path / "x.png", segments, cells)
        legend = seen["figure"].legends[0]
        styles.append(
            {
                text.get_text(): (patch.get_facecolor(), patch.get_hatch())
                for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
            }
        )
    assert styles[1] == {name: styles[0][name] for name in ("class 7", "class 13")}
    assert styles[2] == {"class 13": styles[0]["class 13"]} and len(set(styles[0].values())) == 14
