"""What runs leave behind and later programs read: results, settings, clips, states, the cells of a grid; settings files."""

import json
import shutil
from functools import partial
from pathlib import Path
from random import Random

from harness import Case, Result
from mutations import NASTY, broken_json, nasty_like

STEPS = ["--max_steps", 1, "--report_to", "none", "--use_cpu", "true", "--features", "log_mel", "--window_s", 0.4]


def _sounds(root: Path) -> None:
    import numpy as np
    import soundfile

    for label in ("x", "y"):
        (root / "sounds" / label).mkdir(parents=True)
        for index in range(5):
            wave = 0.1 * np.random.default_rng(index + ord(label)).standard_normal(6_000)
            soundfile.write(root / "sounds" / label / f"{index}.wav", wave, 8_000)


def _run(*args: object) -> None:
    from hf_encls.commands import cli

    status = cli.main([str(each) for each in args])
    assert status == 0, args


class Runs:
    """`compare`, `publish` and `train` over a broken run."""

    name, share = "runs", 1.5

    def prepare(self, root: Path) -> None:
        _sounds(root)
        data = ["--data_dir", root / "sounds", "--cache_dir", root / "cache"]
        last = ["--save_strategy", "no", "--load_best_model_at_end", "false"]
        _run("train", *data, *STEPS, *last, "--output_dir", root / "finished")
        _run("train", *data, *STEPS, "--output_dir", root / "begun")
        (root / "begun" / "results.json").unlink()

    def case(self, random: Random, root: Path, work: Path) -> Case:
        program = random.choice(["compare", "publish", "train"])
        shutil.copytree(root / ("begun" if program == "train" else "finished"), work / "model")
        state = next((work / "model").glob("checkpoint-*/trainer_state.json"), None)
        parts = {
            "compare": ["results.json", "clips.json", "results.json", "config.json"],
            "publish": ["results.json", "config.json", "README.md"],
            "train": ["run.json", state],
        }[program]
        path = work / "model" / random.choice(parts)
        if path.suffix == ".json":
            path.write_bytes(broken_json(random, path.read_bytes()))
        else:
            path.write_bytes(random.choice([b"", b"\xff\xfe", b"---\nname: [\n---\n"]))
        data = ["--data_dir", root / "sounds"]
        args = {
            "compare": ["--models", "model", "--device", "cpu"],
            "publish": ["--model_dir", "model", "--push_to_hub", "me/model"],
            "train": [*data, "--cache_dir", root / "cache", *STEPS, "--output_dir", "model"],
        }[program]
        if program == "train":
            args = ["train", *args, "--resume_from_checkpoint", "last"]
            return Case(args, ("model", path.name), _scored, f"train {path.name}")
        if program == "publish":
            accepts = "could not push to me/model (offline mode"
            return Case(["publish", *args], ("model/", path.name, "in model"), note=path.name, accepts=accepts)
        from hf_encls.commands.compare import main

        return Case(partial(main, [str(each) for each in [*data, *args]]), ("model", path.name), note=path.name)


def _scored(result: Result) -> str | None:
    import numpy as np

    if not Path("model/results.json").exists():  # a settings file that names another folder
        return None
    results = json.loads(Path("model/results.json").read_text(encoding="utf-8"))
    scores = [results["test"]["window"]["loss"], results["test"]["clip"]["accuracy"], results["times_s"]["training"]]
    return None if np.isfinite(scores).all() else "scores that are no numbers"


class Grid:
    """`reproduce --report_only` over broken cells."""

    name, share = "grid", 0.7
    args = ["--inputs", "mel", "log_mel", "--presets", "recommended", "--protocols", "clip"]

    def prepare(self, root: Path) -> None:
        _sounds(root)
        from hf_encls.commands.reproduce_cell import train_cell
        from hf_encls.reproduction import runner

        def here(cell, folder: Path, *args: object) -> None:
            folder.mkdir(parents=True)
            runner.write_json(cell.settings.as_dict(), folder / runner.SETTINGS)
            train_cell(cell.settings, folder, str(root / "cache"))

        runner._run = here  # a process for each cell would import everything again
        args = [*self.args, "--esc50", root / "sounds", "--epochs", 1, "--timing_clips", 1]
        _run("reproduce", *args, "--output_dir", root / "grid")

    def case(self, random: Random, root: Path, work: Path) -> Case:
        shutil.copytree(root / "grid", work / "grid", ignore=shutil.ignore_patterns("cache", "*.safetensors"))
        for weights in root.glob("grid/cells/**/model.safetensors"):
            (work / weights.relative_to(root)).symlink_to(weights)
        wanted = ("results.json", "results.json", "arguments.json", "clips.json", "timing.json")
        files = sorted(path for path in (work / "grid").rglob("*.json") if path.name in wanted)
        results = [path for path in files if path.name == "results.json"]
        path = random.choice([*files, *results])
        path.write_bytes(broken_json(random, path.read_bytes()))
        args = ["reproduce", *self.args, "--esc50", root / "sounds", "--report_only", "--timing_clips", 0]
        names = (path.name, str(path.parent.relative_to(work)))
        return Case([*args, "--output_dir", "grid"], names, note=str(path.relative_to(work)))


class Settings:
    """`train settings.json`, `train settings.yaml`."""

    name, share = "settings", 0.7

    def prepare(self, root: Path) -> None:
        _sounds(root)

    def case(self, random: Random, root: Path, work: Path) -> Case:
        import yaml

        settings = {
            **{
                "data_dir": str(root / "sounds"),
                "cache_dir": "c",
                "features": "log_mel",
                "window_s": 0.4,
                "step_s": 0.2,
            },
            **{"output_dir": "model", "max_steps": 1, "num_train_epochs": 1, "report_to": "none", "use_cpu": True},
            **{"protocol": "clip", "seed": 3, "dropout": 0.5, "standardization": "band", "learning_rate": 1e-3},
            **{"per_device_train_batch_size": 8, "save_strategy": "no", "load_best_model_at_end": False},
        }
        path = work / random.choice(["s.json", "s.yaml"])
        if random.random() < 0.7:
            # Not how long it trains: that is as long as somebody likes.
            names = sorted(set(settings) - {"max_steps", "num_train_epochs"})
            name = random.choice([*names, "hop_length", "codec", "fold", "strict", "warmup_steps", "unknown"])
            settings[name] = nasty_like(random, settings.get(name, 1))
            text = json.dumps(settings) if path.suffix == ".json" else _yaml(yaml, settings)
            data = text.encode("utf-8", "surrogatepass")
        else:
            name, data = path.name, _no_longer(broken_json(random, json.dumps(settings).encode()), settings)
        path.write_bytes(data)
        # The system names what it is asked for.
        names = (path.name, *settings, *map(str, settings.values()), "--", "model", "file name too long")
        return Case(["train", path], names, _scored, f"{path.name}: {name} = {settings.get(name)!r:.80}")


def _no_longer(data: bytes, settings: dict) -> bytes:
    """Settings that train on the same sounds as long as they did, whatever else was broken in them."""
    try:
        broken = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(broken, dict):
        return data
    lengths = {name: settings[name] for name in ("max_steps", "num_train_epochs")}
    return json.dumps({"data_dir": settings["data_dir"]} | broken | lengths, indent=2).encode("utf-8", "surrogatepass")


def _yaml(yaml, settings: dict) -> str:
    try:
        return yaml.safe_dump(settings)
    except (yaml.YAMLError, UnicodeError):
        return "- " + repr(NASTY)
