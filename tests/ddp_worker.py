"""One process of a fine-tuning on waveforms: a checkpoint in, its weights after three steps out."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from hf_encls import EnclsForAudioClassification


class Noise(Dataset):
    """Half a second of noise in each row."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        return {"input_values": 0.1 * torch.randn(12_000, generator=generator), "labels": torch.tensor(index % 3)}


def main(folder: str, out: str) -> None:
    """Train `folder` and save it into `out`."""
    model = EnclsForAudioClassification.from_pretrained(folder)
    arguments = TrainingArguments(
        output_dir=out,
        max_steps=3,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        weight_decay=0.1,
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Noise())
    trainer.train()
    save_file(model.state_dict(), Path(out) / f"rank{arguments.process_index}.safetensors")
    (Path(out) / f"processes{arguments.process_index}.txt").write_text(str(arguments.world_size))


if __name__ == "__main__":
    main(*sys.argv[1:])
