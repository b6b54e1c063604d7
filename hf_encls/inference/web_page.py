"""A model as a folder of static files: a page that hears sounds in the browser alone, on any server of files."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from hf_encls.files import new_folder, work_folder, write_bytes, write_json
from hf_encls.inference.onnx import export_onnx
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.model.problem_encls import has_several_labels

# onnxruntime-web as npm has it: the version, and the integrity that the registry states of its archive.
RUNTIME = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME_FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
PAGE_FILES = ("index.html", "page.css", "page.js", "icon.svg")
MAX_S = 60  # of a sound that the page hears: a browser's memory ends before a computer's


def write_page(
    model: EnclsForAudioClassification,
    folder: str | os.PathLike,
    name: str,
    runtime: str | os.PathLike | None = None,
) -> float:
    """Write the page of `model` as a new `folder`; returns the graph's largest difference of a probability from PyTorch's.

    `runtime` is the archive of onnxruntime-web, which npm is asked for where None is given. Raises `ExportError` as
    `export_onnx` does, and `ValueError` where the archive cannot be had or is another one, and for several labels at once.
    """
    if has_several_labels(model.config):
        raise ValueError("the page shows one label at a time, and this model tells several at once: export its graph")
    with work_folder(Path(folder).parent) as work:
        archive = fetch_runtime(work) if runtime is None else Path(runtime)
        files = runtime_files(archive)
        with new_folder(folder) as partial:
            for each, data in files.items():
                write_bytes(data, partial / each)
            for each in PAGE_FILES:
                shutil.copyfile(Path(__file__).parent / "web" / each, partial / each)
            difference = export_onnx(model, partial / "model.onnx")
            write_json(about(partial / "model.onnx", name), partial / "model.json")
    return difference


def about(path: Path, name: str) -> dict:
    """What the page has to know of a graph, which a browser's runtime does not say."""
    import onnx

    graph = onnx.load(path, load_external_data=False)
    said = json.loads({each.key: each.value for each in graph.metadata_props}["encls"])
    return {"name": name, "max_s": MAX_S} | {
        key: said[key] for key in ("labels", "sampling_rate", "window_s", "step_s", "clip_unknown_below")
    }


def fetch_runtime(folder: Path) -> Path:
    """The archive of onnxruntime-web in `folder`, by npm, which runs nothing of it."""
    npm = shutil.which("npm")
    wanted = f"{RUNTIME}@{VERSION}"
    if not npm:
        raise ValueError(
            f"expected npm on the path to fetch {wanted}, found none: install it, or run `npm pack {wanted}` elsewhere and "
            "name the archive as `runtime`"
        )
    command = [npm, "pack", wanted, "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder, stdin=subprocess.DEVNULL)
    archive = folder / f"{RUNTIME}-{VERSION}.tgz"
    if run.returncode or not archive.is_file():
        said = (run.stderr.strip() or run.stdout.strip() or "nothing").splitlines()[-1]
        raise ValueError(f"npm could not fetch {wanted} ({said}): try again, or name its archive as `runtime`")
    return archive


def runtime_files(archive: Path) -> dict[str, bytes]:
    """What the page needs of onnxruntime-web, by name. Raises `ValueError` for any other archive than the one checked."""
    try:
        data = archive.read_bytes()
    except OSError as error:
        raise ValueError(
            f"expected `runtime` to be {RUNTIME}-{VERSION}.tgz, found {archive}: {error.strerror}"
        ) from error
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if integrity != INTEGRITY:
        raise ValueError(f"{archive}: expected {RUNTIME} {VERSION} with integrity {INTEGRITY}, found {integrity}")
    with tarfile.open(archive) as file:
        return {each: file.extractfile(f"package/dist/{each}").read() for each in RUNTIME_FILES}
