"""Write the embeddings of a folder's files as a parquet file that `datasets` loads, and draw them as a map."""

import sys
from pathlib import Path

import numpy as np

from hf_encls.commands.classify import expand, load_pipe
from hf_encls.commands.outputs import output_file
from hf_encls.commands.parser import Parser, add_checkpoint_options, refuse_existing
from hf_encls.files import new_file, unfinished, writing
from hf_encls.files.finding import require_folder

EXAMPLES = """examples:
  hf-encls embed sounds/ --model my_model                         # embeddings.parquet
  hf-encls embed sounds/ --model my_model --output e.parquet --map e.png

  >>> datasets.load_dataset("parquet", data_files="e.parquet", split="train")

One row a file: file, label (the folder it lies in), duration_s, embedding (mean and standard deviation of its frames).
"""
FEW = 30  # files for which neighbourhoods mean something; fewer are drawn by their principal components
MANY = 10_000


def main(args: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = Parser(prog="hf-encls embed", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("folder", metavar="FOLDER", help="audio; the folders in it name the classes of the map")
    add_checkpoint_options(parser)
    parser.add_argument(
        "--output", type=output_file, default="embeddings.parquet", metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--map", type=output_file, metavar="PNG", help="draw all files as points, coloured by class")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    options = parser.parse(list(sys.argv[1:] if args is None else args))
    refuse_existing(options.output, options.map, overwrite=options.overwrite)
    import datasets

    datasets.disable_progress_bars()
    require_folder(options.folder, "a folder of audio")
    print("loading the model", file=sys.stderr, flush=True)
    files = [file for file in expand([options.folder]) if file.suffix.lower() != ".ecdc"]
    rows: list[dict] = []
    try:
        errors = embed_files(files, Path(options.folder), load_pipe(options), rows)
    except BaseException:
        if rows:
            target = Path(options.output)
            kept = unfinished(target)
            write_parquet(rows, kept)
            print(f"{target} is not finished; {len(rows)} of {len(files)} files are in {kept}", file=sys.stderr)
        raise
    for file, error in errors:
        print(f"{file}: ERROR {error}", file=sys.stderr)
    if not rows:
        raise ValueError(f"expected at least one file that can be read in {options.folder}, found none")
    with writing(options.output):
        write_parquet(rows, Path(options.output))
    print(f"{options.output}: {len(rows)} embeddings of {len(rows[0]['embedding'])} numbers")
    if options.map:
        print(f"drawing the map of {len(rows)} files; thousands take minutes", file=sys.stderr, flush=True)
        with writing(options.map):
            draw_map(rows, Path(options.map))
        print(options.map)
    return 1 if errors else 0


def embed_files(files: list[Path], root: Path, pipe, rows: list[dict]) -> list[tuple[Path, str]]:
    """Append to `rows` those of the parquet file; returns the files that could not be used with the reason."""
    from tqdm.auto import tqdm

    from hf_encls.audio import AudioError, stream
    from hf_encls.inference.embeddings import EmbeddingModel

    model = EmbeddingModel(pipe.model).to(pipe.device)
    rate = pipe.model.config.sampling_rate
    errors = []
    for file in tqdm(files, unit="file", disable=None):
        counted: list[int] = []
        try:
            scene = model.scene(_counting(stream(file, rate), counted))
        except AudioError as error:
            errors.append((file, str(error)))
            continue
        inside = file.relative_to(root)
        label = inside.parts[0] if len(inside.parts) > 1 else root.resolve().name
        rows.append(
            {
                "file": inside.as_posix(),
                "label": label,
                "duration_s": sum(counted) / rate,
                "embedding": scene.cpu().numpy(),
            }
        )
    return errors


def _counting(blocks, counted: list[int]):
    import torch

    for block in blocks:
        counted.append(len(block))
        yield torch.from_numpy(block)


def write_parquet(rows: list[dict], path: Path) -> None:
    """Write the rows so that `load_dataset("parquet", ...)` gives them back with class names."""
    from datasets import ClassLabel, Dataset, Features, List, Value

    names = sorted({row["label"] for row in rows})
    size = len(rows[0]["embedding"])
    features = Features(
        {
            "file": Value("string"),
            "label": ClassLabel(names=names),
            "duration_s": Value("float64"),
            "embedding": List(Value("float32"), length=size),
        }
    )
    columns = {name: [row[name] for row in rows] for name in ("file", "duration_s", "embedding")}
    columns["label"] = [names.index(row["label"]) for row in rows]
    with new_file(path) as partial, partial.open("wb") as file:
        Dataset.from_dict({name: columns[name] for name in features}, features=features).to_parquet(file)


def project(embeddings: np.ndarray) -> tuple[np.ndarray, str]:
    """(n, D) -> (n, 2) and how: t-SNE of the principal components, or those alone for few or very many points."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    scaled = (embeddings - embeddings.mean(axis=0)) / np.maximum(embeddings.std(axis=0), 1e-6)
    if len(scaled) < 2:
        return np.zeros((len(scaled), 2)), "one file"
    if not FEW <= len(scaled) <= MANY:
        points = PCA(min(2, *scaled.shape), random_state=0).fit_transform(scaled)
        return np.pad(points, ((0, 0), (0, 2 - points.shape[1]))), "principal components"
    reduced = PCA(min(50, *scaled.shape), random_state=0).fit_transform(scaled)
    perplexity = min(30.0, (len(scaled) - 1) / 3)
    # Its threads wait for each other a thousand times, and spin meanwhile: on a busy machine that took 40 times as long.
    with threadpool_limits(1):
        return TSNE(2, init="pca", perplexity=perplexity, random_state=0).fit_transform(reduced), "t-SNE"


def draw_map(rows: list[dict], path: Path) -> None:
    """Draw every file as a point, coloured by its class."""
    from hf_encls.report.canvas import class_names, look, new_figure, save_figure

    points, how = project(np.stack([row["embedding"] for row in rows]))
    names = sorted({row["label"] for row in rows})
    figure = new_figure(9 + 2.2 * ((len(names) - 1) // 25), 6)
    axes = figure.subplots()
    for index, (name, shown) in enumerate(zip(names, class_names(names))):
        chosen = np.array([row["label"] == name for row in rows])
        style = {"color": look(index).colour, "marker": look(index).marker, "s": 24, "alpha": 0.85, "linewidth": 0}
        axes.scatter(*points[chosen].T, label=shown, **style)
    axes.set(xticks=[], yticks=[], title=f"{len(rows)} files, {how}")
    figure.legend(loc="outside right upper", fontsize=8, frameon=False, ncols=1 + (len(names) - 1) // 25)
    save_figure(figure, path, names)
