"""A page that hf_encls and people write together: what people wrote stays, byte for byte."""

import logging
import re

import pytest
import yaml
from huggingface_hub import ModelCard
from test_publishing import results_of, trained_model

from hf_encls.files import write_json
from hf_encls.report.card_files import check_card
from hf_encls.report.cards import write_model_card
from hf_encls.report.merging import merge
from hf_encls.report.pages import Page, adopted, as_sent, generated, read_page


def card(**changes: object) -> str:
    """A card as a template makes it; `head` and parts (a heading in small letters -> text) may be others."""
    head = {"license": "apache-2.0", "tags": ["audio", "hf_encls"], "metrics": ["f1"]} | changes.pop("head", {})
    parts = {"scores": "0.5", "limits": "- many", "citation": "```\n# no heading\n```"} | changes
    text = "".join(f"\n## {name.title()}\n\n{part}\n" for name, part in parts.items() if part)
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# sounds\n\nAbout.\n{text}"


def written(there: str = "", **changes: object) -> str:
    overwrite = bool(changes.pop("overwrite", False))
    page = read_page(there, "README.md") if there else Page()
    return str(merge(page, generated(card(**changes)), overwrite=overwrite)[0])


def test_what_is_written_is_the_card_and_writing_it_again_changes_nothing():
    page = written()
    assert re.sub(r"<!-- hf_encls .*-->\n", "", page).strip() == card().strip()
    assert written(page) == page
    assert "0.9" in written(page, scores="0.9") and "0.5" not in written(page, scores="0.9")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_text_of_people_stays_where_it_is(newline, bom):
    page = written().replace("## Limits", "## Limits\n\nMine, inside.").replace("About.", "About us.\n\n| a |\n|---|")
    page = page.replace("<!-- hf_encls end scores -->\n", "<!-- hf_encls end scores -->\nMine,\u2028 between.  \n")
    page = bom + (page + "\n## Mine\nat the end, without a last line end").replace("\n", newline)
    assert written(page) == page  # to the byte
    again, kept = merge(read_page(page, "README.md"), generated(card(scores="0.9", limits="- few")))
    again = str(again)
    for words in (
        "Mine, inside.",
        "Mine,\u2028 between.  ",
        f"## Mine{newline}at the end",
        "About us.",
        "- many",
        "0.9",
    ):
        assert words in again
    assert "0.5" not in again and "few" not in again and again.count("\r\n") == (newline == "\r\n") * again.count("\n")
    assert kept == ["the part 'title'", "the part 'limits'"]
    anew = written(page, scores="0.9", limits="- few", overwrite=True)
    assert "- few" in anew and "at the end" in anew and "between" in anew and "inside" not in anew


def test_a_part_that_was_taken_out_stays_out_and_a_new_one_finds_its_place():
    page = written()
    without = re.sub(r"<!-- hf_encls begin limits[\s\S]*end limits -->\n", "", page)
    assert "many" not in written(without, scores="0.9") and "many" in written(without, overwrite=True)
    later = written(page, limits="", scores="0.7")  # a version that writes no limits
    assert "Limits" not in later
    more = written(written(limits=""))
    assert more.index("0.5") < more.index("many") < more.index("no heading")


def test_a_mark_that_lost_its_partner_makes_the_text_peoples_own():
    page = written().replace("<!-- hf_encls end scores -->\n", "My words.\n")
    for again in (written(page, scores="0.9"), written(page, scores="0.9", overwrite=True)):
        assert "My words." in again and "0.5" in again and "- many" in again
    twice = written() + "\n" + re.search(r"<!-- hf_encls begin limits[\s\S]*end limits -->\n", written())[0]
    assert written(twice, limits="- few").count("many") == 1


def test_front_matter_of_people_stays_as_they_spelled_it():
    page = written().replace(
        "license: apache-2.0\n", "# chosen by us\nlicense:   'mit'   # really\nmine: {a: [1,2],  b: x}\n"
    )
    page = page.replace("- audio\n", '- "bees"   # ours\n- audio\n')
    head = {"license": "cc0-1.0", "tags": ["audio", "hf_encls", "mel"], "metrics": ["f1"], "datasets": ["a/b"]}
    again, kept = merge(read_page(page, "README.md"), generated(card(head=head)))
    for words in ("# chosen by us\nlicense:   'mit'   # really\n", "mine: {a: [1,2],  b: x}\n"):
        assert words in str(again)
    front = ModelCard(str(again)).data
    assert front.tags == ["bees", "audio", "hf_encls", "mel"] and front.datasets == ["a/b"] and kept == ["license"]
    fewer = merge(again, generated(card(head=head | {"tags": ["hf_encls"]})))[0]
    assert fewer.front["tags"] == ["bees", "hf_encls"]  # what we wrote goes, what others wrote does not
    assert merge(again, generated(card(head=head)), overwrite=True)[0].front["license"] == "cc0-1.0"
    out = read_page(str(again).replace("- mel\n", "").replace("datasets:\n- a/b\n", ""), "README.md")
    front = merge(out, generated(card(head=head)))[0].front
    assert "mel" not in front["tags"] and "datasets" not in front


def test_entries_that_refer_to_each_other_are_still_right():
    page = written(head={"tags": ["audio"]}).replace("tags:\n- audio\n", "tags: &t\n- audio\nkeywords: *t\n")
    front = read_page(written(page, head={"tags": ["mel"]}), "README.md").front
    assert front["keywords"] == ["audio"] and front["tags"] == ["mel"]


def index(*metrics: tuple, name: str = "m") -> dict:
    about = {"task": {"type": "audio-classification"}, "dataset": {"name": "D", "type": "d"}}
    return {"model-index": [{"name": name, "results": [about | {"metrics": [dict(metric) for metric in metrics]}]}]}


def test_metrics_of_other_people_stay_in_the_model_index():
    def metric(name, value):
        return {"type": name, "name": name, "value": value, "verified": True}

    page = read_page(written(head=index(metric("accuracy", 0.5), metric("f1", 0.4))), "README.md")
    front = yaml.safe_load(yaml.safe_dump(page.front))
    front["model-index"][0]["results"][0]["metrics"] += [metric("wer", 0.1)]
    front["model-index"] += [{"name": "other", "results": [{"task": {"type": "x"}, "metrics": [metric("y", 1)]}]}]
    theirs = read_page(str(page).replace(page.head, yaml.safe_dump(front)), "README.md")
    merged, kept = merge(theirs, generated(card(head=index(metric("accuracy", 0.9), metric("f1", 0.8), name="m"))))
    found = {
        m["name"]: m["value"] for one in merged.front["model-index"] for r in one["results"] for m in r["metrics"]
    }
    assert found == {"wer": 0.1, "y": 1, "accuracy": 0.9, "f1": 0.8} and not kept

    front["model-index"][0]["results"][0]["metrics"][0]["value"] = 0.55  # set right by hand
    theirs = read_page(str(page).replace(page.head, yaml.safe_dump(front)), "README.md")
    ours = generated(card(head=index(metric("accuracy", 0.9), metric("f1", 0.8))))
    for overwrite, accuracy in ((False, 0.55), (True, 0.9)):
        merged, kept = merge(theirs, ours, overwrite=overwrite)
        metrics = merged.front["model-index"][0]["results"][0]["metrics"]
        assert [m["value"] for m in metrics if m["name"] == "accuracy"] == [accuracy]
        assert kept == ([] if overwrite else ["model-index"])


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("a: 1\nb: [1", "line 3"),
        ("- a", "list"),
        ("a: 2024-13-45", "month"),
        ("a: b: c", "line 2"),
        ("[" * 5000, "mistake"),
    ],
)
def test_front_matter_that_is_none_is_named(head, said):
    with pytest.raises(ValueError, match=rf"README\.md of a/b.*{said}"):
        read_page(f"---\n{head}\n---\ntext", "README.md of a/b")


def test_a_page_in_another_encoding_is_named():
    with pytest.raises(ValueError, match=r"README\.md of a/b to be text in UTF-8, found byte 2"):
        read_page(b"ab\xff", "README.md of a/b")


def test_pages_without_front_matter_and_pages_of_people_get_none_of_our_text():
    for there in ("# My sounds\n\nMine.\n", "---\n---\n# My sounds\n", "---\nlanguage: en\n---\n# My sounds\n"):
        page = written(there)
        assert "My sounds" in page and "About." not in page and "license: apache-2.0" in page
        assert written(page) == page
        both = written(there, overwrite=True)
        assert both.index("About.") < both.index("My sounds") and written(both) == both


def test_a_card_of_version_0_1_gets_marks_where_it_is_as_it_was_made():
    made = [generated(card())]
    old = card().replace("- many", "- many, and one of mine") + "\n## Mine\n\nMy words.\n"
    page, kept = merge(adopted(read_page(old, "README.md"), made), generated(card(scores="0.9", citation="other")))
    for words in ("0.9", "one of mine", "My words.", "other"):
        assert words in str(page)
    assert "0.5" not in str(page) and "no heading" not in str(page) and kept == ["the part 'limits'"]
    mine = read_page("# sounds\n\n## Scores\n\nMine.\n", "README.md")
    assert adopted(mine, made) == mine  # nothing in it is as it was made: all of it is somebody's own


def test_words_in_a_folders_card_travel_once_and_are_kept_where_they_arrive():
    local = written().replace("<!-- hf_encls end scores -->\n", "<!-- hf_encls end scores -->\nMy remark.\n")
    sent = str(merge(Page(), as_sent(read_page(local, "README.md")))[0])
    assert sent.count("My remark.") == 1 and sent.index("0.5") < sent.index("My remark.") < sent.index("- many")
    better = as_sent(read_page(local.replace("My remark.", "My better remark."), "README.md"))
    assert "My better remark." in str(merge(read_page(sent, "README.md"), better)[0])
    there = read_page(sent.replace("My remark.", "Changed there."), "README.md")
    page, kept = merge(there, better)
    assert "Changed there." in str(page) and "better" not in str(page) and kept == ["the part 'text-after-scores'"]
    assert "My remark." in written(sent, scores="0.9")  # a folder that was made of the repository is trained in again


# ----------------------------------------------------------------------------------------------- folders


def test_training_again_keeps_what_people_wrote_into_the_folders_card(tmp_path, caplog):
    folder = trained_model(tmp_path / "model")
    file = folder / "README.md"
    text = file.read_text().replace("- It is not made", "- Mine.\n- It is not made").replace("- f1\n", "- f1\n- wer\n")
    file.write_text(text + "\n## Notes\n\nMine, too.\n")
    (folder / ".eval_results" / "theirs.yaml").write_text("[]")
    results = results_of()
    results["test"] = results["test"] | {"clip": results["test"]["clip"] | {"accuracy": 0.9999}}
    write_json(results | {"dataset": "Other sounds"}, folder / "results.json")
    with caplog.at_level(logging.WARNING):
        write_model_card(folder)
    text = file.read_text()
    for words in ("- Mine.", "Mine, too.", "1.000", "- wer\n", "Trained on\nOther sounds"):
        assert words in text, words
    assert "the part 'limits'" in caplog.text and "README.md" in caplog.text
    assert {path.name for path in (folder / ".eval_results").iterdir()} == {"theirs.yaml", "other-sounds.yaml"}
    write_model_card(folder, overwrite=True)
    assert "- Mine." not in file.read_text() and "Mine, too." in file.read_text()


def test_a_file_of_scores_that_was_changed_by_hand_stays(tmp_path, caplog):
    folder = trained_model(tmp_path / "model")
    file = folder / ".eval_results" / "little-sounds.yaml"
    file.write_text(file.read_text() + "# checked\n")
    write_json(results_of() | {"leak": None}, folder / "results.json")
    write_model_card(folder)
    assert "# checked" in file.read_text() and "little-sounds.yaml" in caplog.text
    write_model_card(folder, overwrite=True)
    assert "# checked" not in file.read_text()


def test_somebodys_own_readme_in_the_output_folder_is_refused(tmp_path):
    folder = trained_model(tmp_path / "model")
    for text in ("# My project\n", "---\ntags: [birds]\n---\nMine\n"):
        (folder / "README.md").write_text(text)
        with pytest.raises(ValueError, match=r"README\.md in .*somebody's own"):
            write_model_card(folder)
        assert (folder / "README.md").read_text() == text
    write_model_card(folder, overwrite=True)
    assert "Mine" in (folder / "README.md").read_text() and "birds" in (folder / "README.md").read_text()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")  # as the Hub makes it for a new repository
    assert ModelCard(write_model_card(folder).read_text()).data.license == "mit"
    (folder / "README.md").write_text("---\na: [\n---\n")
    with pytest.raises(ValueError, match="mistake"):
        check_card(folder)


def test_a_folder_of_version_0_1_is_written_again(tmp_path, caplog):
    from hf_encls.report.cards import cards_as_made
    from hf_encls.training.results import Results

    folder = trained_model(tmp_path / "model")
    config = {"features": "log_mel", "sampling_rate": 8000, "window_s": 0.5, "step_s": 0.5, "hop_length": 128}
    names = Page(front={}, pieces=read_page('# model\nmodel="here/model"', "x").pieces)
    _, old = cards_as_made(
        names, Results.from_dict(results_of()), config | {"standardization": "band"}, ["curves.png"]
    )
    (folder / "README.md").write_text(old)
    write_json(results_of(), folder / "results.previous.json")
    write_json(results_of() | {"dataset": "Other sounds"}, folder / "results.json")
    write_model_card(folder)
    text = (folder / "README.md").read_text()
    assert "Little sounds" not in text and "Other sounds" in text and not caplog.records
    assert not (folder / ".eval_results" / "little-sounds.yaml").exists()
    assert [result.dataset_name for result in ModelCard(text).data.eval_results] == ["Other sounds"] * 4
