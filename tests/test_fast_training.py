"""What makes training fast changes nothing: recorded steps, evaluations at once, fewer checkpoints of short epochs."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import Trainer

from hf_encls.features.extraction import feature_columns
from hf_encls.features.store import FeatureStore, Windows
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.training import trainer as module
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.recorded import RecordedStep
from hf_encls.training.trainer import EnclsTrainer

CONFIG = {"features": "log_mel", "num_bands": 16, "hop_length": 1000, "sampling_rate": 16_000, "num_labels": 3}


def trained(folder, monkeypatch=None, recorded=False, **settings):
    """A trainer after two epochs of 20 windows; its last batch of eight is a smaller one."""
    config = EnclsConfig(**CONFIG, head=settings.pop("head", "mnist"))
    rng = np.random.default_rng(0)
    columns = feature_columns(
        config, Dataset.from_dict({"label": ["a", "b", "c"]}).class_encode_column("label").features["label"]
    )
    count = 33
    data = Dataset.from_dict(
        {
            "input_features": rng.standard_normal((count, *config.stored_shape)).astype(np.float16),
            "label": [index // 3 % 3 for index in range(count)],
            "clip_id": [str(index // 3) for index in range(count)],
            "start": [float(index % 3) for index in range(count)],
            "group": ["g"] * count,
            "fold": [0] * count,
            "silent": [False] * count,
        },
        features=columns,
    )
    windows = Windows(data)
    sizes = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 5}
    arguments = EnclsTrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True, **{**sizes, **settings}
    )
    torch.manual_seed(0)
    model = EnclsForAudioClassification(config)
    made = EnclsTrainer(
        model=model,
        args=arguments,
        train_dataset=FeatureStore(windows, np.arange(20)),
        eval_dataset=FeatureStore(windows, np.arange(20, count)),
    )
    if recorded:
        made._recorded = RecordedStep(model, made._forward_and_backward, lambda call: in_place(call, model))
    made.train()
    return made


def in_place(call, model):
    """What a CUDA graph does, on any device: the same call again, whose results and gradients lie where they lay."""
    results = call()
    gradients = [parameter.grad for parameter in model.parameters()]

    def again() -> None:
        for old, new in zip(results, call(), strict=True):
            old.copy_(new)
        for gradient, parameter in zip(gradients, model.parameters(), strict=True):
            gradient.copy_(parameter.grad)

    return again, results


def log(trainer) -> list[dict]:
    names = ("loss", "accuracy", "eval_loss", "eval_accuracy", "eval_clip_accuracy", "epoch")
    return [{name: row[name] for name in names if name in row} for row in trainer.state.log_history]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"head": "conv"},
        {"recipe": "paper,mixup=0.3,average=0.9,class_weights=true"},
        {"label_smoothing_factor": 0.1, "max_grad_norm": 1.0},
    ],
    ids=["paper", "buffers", "recipe", "smoothing"],
)
def test_a_recorded_step_is_the_step(tmp_path, settings):
    plain, recorded = trained(tmp_path / "a", **settings), trained(tmp_path / "b", recorded=True, **settings)
    assert len(recorded._recorded._records) == 2  # of 8 and of 4 windows
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, recorded.model.state_dict()[name]), name
    assert log(plain) == log(recorded)


def test_what_cannot_be_recorded_goes_on_step_by_step(tmp_path, caplog):
    config = EnclsConfig(**CONFIG)
    model = EnclsForAudioClassification(config)

    def fails(call):
        call()
        raise RuntimeError("operation not permitted when stream is capturing")

    def step(batch):
        loss = model(**batch).loss
        loss.backward()
        return (loss.detach(),)

    recorded = RecordedStep(model, step, fails)
    batch = {"input_features": torch.randn(4, 16, config.num_frames), "labels": torch.tensor([0, 1, 2, 0])}
    random = torch.get_rng_state()
    with caplog.at_level("WARNING", logger="hf_encls.training.recorded"):
        (loss,) = recorded(batch)
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    torch.set_rng_state(random)
    model.zero_grad()
    assert torch.equal(loss, step(batch)[0])
    assert all(torch.equal(a, b.grad) for a, b in zip(gradients, model.parameters(), strict=True))
    assert caplog.text.count("step by step") == 1


def test_an_evaluation_at_once_is_trainers_own(tmp_path, monkeypatch):
    ours = trained(tmp_path / "a", label_smoothing_factor=0.1)
    monkeypatch.setattr(EnclsTrainer, "_evaluates_at_once", lambda self: False)
    theirs = trained(tmp_path / "b", label_smoothing_factor=0.1)
    assert log(ours) == log(theirs) and any("eval_loss" in row for row in log(ours))


def test_trainers_loop_looks_nothing_up_and_measures_no_norm(tmp_path, monkeypatch):
    def asked(*args, **kwargs):
        raise AssertionError("in every step")

    monkeypatch.setattr("accelerate.optimizer.is_lomo_available", asked)
    monkeypatch.setattr("accelerate.Accelerator.clip_grad_norm_", asked)
    counted = []
    count = Trainer.floating_point_ops
    monkeypatch.setattr(Trainer, "floating_point_ops", lambda self, inputs: counted.append(1) or count(self, inputs))
    made = trained(tmp_path)
    assert len(counted) == 2  # shapes
    assert made.state.total_flos == 2 * 6 * 20 * 16 * made.model.config.num_frames * made.model.num_parameters()


def test_many_short_epochs_leave_fewer_checkpoints_and_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_CHECKPOINTS", 2)
    made = trained(tmp_path, num_train_epochs=6, save_total_limit=20)
    saved = {int(path.name.split("-")[1]) for path in tmp_path.glob("checkpoint-*")}
    assert {9, 18} <= saved and made.state.best_global_step in saved
    best, bests = -1.0, set()
    for row in made.state.log_history:
        if row.get("eval_accuracy", -1.0) > best:
            best = row["eval_accuracy"]
            bests.add(row["step"])
    assert saved == bests | {9, 18}
