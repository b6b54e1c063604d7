"""Published features in a folder: their facts, their card, their parquet files."""

import io
import json
import shutil
from functools import partial
from pathlib import Path
from random import Random

from harness import Case, Result
from mutations import broken_bytes, broken_json

WINDOW_S = 0.4


class Published:
    """`train` on a broken copy of published features."""

    name, share = "parquet", 0.7

    def prepare(self, root: Path) -> None:
        import numpy as np
        from datasets import ClassLabel, Dataset
        from small_models import CLASSES

        from hf_encls.features.extraction import feature_columns, feature_config
        from hf_encls.features.parquet_windows import write_windows
        from hf_encls.hub.pull_features import FACTS

        config = feature_config("log_mel", window_s=WINDOW_S, num_bands=32)
        count = 36
        labels = np.arange(count // 2).repeat(2) % 3
        rows = {
            "input_features": np.random.default_rng(0).normal(0, 1, (count, *config.stored_shape)).astype(np.float16),
            "label": labels,
            "clip_id": [f"{CLASSES[label]}/{number // 2}.wav" for number, label in enumerate(labels)],
            "start": [WINDOW_S * (number % 2) for number in range(count)],
            "group": [f"{number // 2}" for number in range(count)],
            "fold": [0] * count,
            "silent": [False] * count,
        }
        features = Dataset.from_dict(rows, features=feature_columns(config, ClassLabel(names=CLASSES)))
        (root / "set" / "log_mel").mkdir(parents=True)
        write_windows(features, root / "set" / "log_mel" / "train.parquet")
        facts = {"config": config.to_dict(), "source": "Little sounds", "codec": {}}
        (root / "set" / "log_mel" / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        files = "  data_files:\n  - split: train\n    path: log_mel/*.parquet\n"
        card = f"---\nconfigs:\n- config_name: log_mel\n{files}---\n# x\n"
        (root / "set" / "README.md").write_text(card, encoding="utf-8")

    def case(self, random: Random, root: Path, work: Path) -> Case:
        import datasets

        datasets.config.HF_DATASETS_CACHE = work / "cache"
        shutil.copytree(root / "set", work / "set")
        folder = work / "set" / "log_mel"
        part = random.choice(["train.parquet", "train.parquet", "encls_features.json", "README.md"])
        path = folder / part if part != "README.md" else work / "set" / part
        data, how = path.read_bytes(), "bytes"
        if part == "train.parquet" and random.random() < 0.7:
            data, how = broken_table(random, data)
        elif part == "encls_features.json":
            data = broken_json(random, data)
        else:
            data = broken_bytes(random, data, b"PAR1" + bytes(100))[0]
        path.write_bytes(data)
        args = ["train", "--dataset", "set", "--features", "log_mel", "--window_s", WINDOW_S, "--max_steps", 1]
        args += ["--output_dir", "m", "--save_strategy", "no", "--load_best_model_at_end", "false"]
        args += ["--report_to", "none", "--use_cpu", "true", *random.choice([[], [], ["--streaming"]])]
        # A class may have too few clips now: it is named.
        return Case(
            args,
            ("set", part, ".wav", "class '"),
            partial(_possible, folder, "--streaming" in args),
            f"{part} {how} {args[-1]}",
        )


def broken_table(random: Random, data: bytes) -> tuple[bytes, str]:
    """The parquet file with a column that holds what it cannot hold."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    names = table.column_names
    name = random.choice(["label", "label", "input_features", "input_features", *names])
    column, count, kind = table[name].to_pylist(), table.num_rows, random.random()
    at = random.randrange(count)
    schema = table.schema.field(name)
    if kind < 0.15:
        table = table.drop_columns([name])
    elif kind < 0.25:
        table = table.rename_columns([each + "x" if each == name else each for each in names])
    elif kind < 0.35:
        table = random.choice([table.slice(0, 0), table.slice(0, 1), pa.concat_tables([table] * 2)])
    elif kind < 0.5:
        other = pa.array([random.choice(["x", "1", ""]) for _ in range(count)])
        table = table.set_column(names.index(name), name, other)
    else:
        if name == "input_features":
            bad = random.choice([np.nan, np.inf, -np.inf, 6e4, None])
            rows = [[[None if v is None else v for v in row] for row in window] for window in column]
            if random.random() < 0.2:
                rows[at] = rows[at][:-1]
            else:
                rows[at][0][0] = bad
            column = rows
        elif name == "label":
            column[at] = random.choice([3, 999, -1, -2, 2**62, None])
        else:
            bad = {"start": [np.nan, -1.0, 1e9, None], "fold": [-1, 99, 2**31 - 1, None], "silent": [None]}
            column[at] = random.choice(bad.get(name, ["", None, "../x", "é" * 99, column[0]]))
        type_ = pa.list_(pa.list_(pa.float16())) if name == "input_features" else schema.type
        storage = pa.array(column, type_)
        if name == "input_features" and isinstance(schema.type, pa.ExtensionType):
            storage = pa.ExtensionArray.from_storage(schema.type, storage)
        table = table.set_column(names.index(name), schema, storage)
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=12)
    return file.getvalue(), f"{name} {kind:.2f}"


def _possible(folder: Path, streamed: bool, result: Result) -> str | None:
    import numpy as np
    import pyarrow.parquet as pq

    results = json.loads(Path("m/results.json").read_text(encoding="utf-8"))
    if not np.isfinite(results["test"]["window"]["loss"]):
        return "a loss that is no number"
    try:
        table = pq.read_table(folder / "train.parquet")
    except OSError:  # a stream takes numbers from where they lie, also where what their page says of them is damaged
        return None if streamed else "a damaged file"
    labels = table["label"].to_pylist()
    if None in labels or not 0 <= min(labels) <= max(labels) < 3:
        return "labels of no class"
    values = np.array(table["input_features"].to_pylist(), np.float64)
    return None if np.isfinite(values).all() else "features that are not finite"
