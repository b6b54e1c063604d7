"""Example sounds on a card: what is named is published, in a form that a page can play, and nothing else is."""

import json
import re

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard
from test_publishing import log_mel, trained_model

from hf_encls.commands.cli import main
from hf_encls.hub.push_models import model_files, push_model
from hf_encls.inference.demo.examples import example_files
from hf_encls.inference.examples import write_examples
from hf_encls.report.cards import write_model_card

MODEL = "tester/with-examples"


@pytest.fixture
def model(tmp_path):
    return trained_model(tmp_path / "model", log_mel())


@pytest.fixture
def sounds(tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for number, name in enumerate(("a dog|barks.wav", "a dog barks.flac", "rain.wav")):
        wave = 0.1 * np.random.default_rng(number).standard_normal((12 * 11_025 if number == 2 else 9000, 2))
        with soundfile.SoundFile(folder / name, "w", 11_025, 2) as file:
            file.comment = "recorded at home"
            file.write(wave)
    return sorted(folder.iterdir())


def test_what_is_named_is_published_with_answers_and_a_picture(hub, model, sounds, tmp_path):
    (model / "examples").mkdir()
    (model / "examples" / "private.wav").write_bytes(b"mine")
    assert not [name for name in model_files(model) if name.startswith("examples")]
    command = ["publish", "--model_dir", str(model), "--push_to_hub", MODEL, "--save_card", str(tmp_path / "card.md")]
    assert main([*command, "--examples", *map(str, sounds), "--examples_license", "my own, cc0-1.0"]) == 0
    sent = hub.files(MODEL)
    names = {name for name in sent if name.startswith("examples/")}
    wavs = {"examples/a_dog_barks.wav", "examples/a_dog_barks_2.wav", "examples/rain.wav"}
    assert names == wavs | {"examples/timeline.png", "examples/examples.json"}
    for name in wavs:
        (tmp_path / "heard.wav").write_bytes(sent[name])
        info = soundfile.info(tmp_path / "heard.wav")
        assert (info.channels, info.subtype) == (1, "PCM_16") and info.duration <= 10 and b"at home" not in sent[name]
    card = ModelCard(sent["README.md"].decode())
    assert {each["src"] for each in card.data["widget"]} == wavs
    for each in card.data["widget"]:  # the Hub shows these where it does not run the model itself
        assert each["example_title"] and each["output"][0].keys() == {"label", "score"}
    for name in wavs | {"examples/timeline.png"}:
        assert f"]({name})" in card.text
    assert "Licence of these sounds: my own, cc0-1.0" in card.text
    assert "/resolve/main/examples/timeline.png)" in (tmp_path / "card.md").read_text()
    push_model(model, MODEL)  # again, without naming them: they stay as they are
    assert {name for name in hub.files(MODEL) if name.startswith("examples/")} == names


def test_other_examples_replace_the_first_ones_and_leave_what_people_added(hub, model, sounds):
    write_examples(model, sounds, "cc0-1.0")
    write_model_card(model)
    push_model(model, MODEL)
    write_examples(model, sounds[-1:], "cc-by-4.0")
    write_model_card(model)
    push_model(model, MODEL)
    assert {name for name in hub.files(MODEL) if name.endswith(".wav")} == {"examples/rain.wav"}
    text = hub.files(MODEL)["README.md"].decode()
    assert "cc-by-4.0" in text and "a_dog" not in text and len(re.findall("example_title", text)) == 1


@pytest.mark.parametrize("how", ["no sound", "no licence", "none", "features"])
def test_what_cannot_be_an_example_is_refused_before_anything_is_sent(hub, model, sounds, tmp_path, capsys, how):
    (tmp_path / "notes.wav").write_text("no sound")
    command = ["publish", "--push_to_hub", MODEL]
    command += ["--data_dir", str(tmp_path)] if how == "features" else ["--model_dir", str(model)]
    command += [] if how == "none" else ["--examples", str(tmp_path / "notes.wav" if how == "no sound" else sounds[0])]
    command += [] if how == "no licence" else ["--examples_license", "cc0-1.0"]
    assert main(command) == 2
    said = {
        "no sound": "notes.wav",
        "no licence": "--examples_license",
        "none": "--examples",
        "features": "--model_dir",
    }
    assert said[how] in capsys.readouterr().err
    assert ("model", MODEL) not in hub.repos and not (model / "examples" / "examples.json").exists()


def test_a_damaged_list_of_examples_is_named(model, sounds):
    write_examples(model, sounds[:1], "cc0-1.0")
    listing = model / "examples" / "examples.json"
    listing.write_text(json.dumps({"license": 3}))
    with pytest.raises(ValueError, match=r"examples\.json"):
        write_model_card(model)
    for name in ("../private.wav", "notes.txt", "examples/../../private.wav", "/etc/passwd"):
        listing.write_text(json.dumps({"license": "cc0-1.0", "sounds": [{"file": name, "title": "x"}]}))
        with pytest.raises(ValueError, match="expected files in examples/"):
            model_files(model)
        assert example_files(model) == []


def test_a_page_offers_the_sounds_that_were_given_or_published(model, sounds, hub, tmp_path):
    assert example_files(model) == []
    write_examples(model, sounds, "cc0-1.0")
    write_model_card(model)
    push_model(model, MODEL)
    for where in (model, MODEL):
        found = example_files(where)
        assert [path.name for path in found] == ["a_dog_barks.wav", "a_dog_barks_2.wav", "rain.wav"]
        assert all(soundfile.info(path).frames for path in found)
    assert example_files(model, sounds=sounds[:1]) == sounds[:1]
    (tmp_path / "notes.wav").write_text("no sound")
    for bad in (tmp_path / "notes.wav", tmp_path / "none.wav"):
        with pytest.raises(ValueError, match=bad.name):
            example_files(model, sounds=[bad])
