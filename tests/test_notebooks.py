"""The notebooks of the documentation run from the first cell to the last, without a network."""

import json
import os
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_names_the_pages(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
    assert cells[0]["cell_type"] == "markdown" and "".join(cells[0]["source"]).startswith("# ")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="needs the extra: pip install 'hf_encls[dev]'")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    # The kernel is this interpreter, whatever kernels the machine has; and no cell may ask the network.
    kernel = tmp_path / "kernels" / "python3"
    kernel.mkdir(parents=True)
    settings = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "this",
    }
    (kernel / "kernel.json").write_text(json.dumps(settings | {"language": "python"}))
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "MPLBACKEND": "agg", "JUPYTER_PATH": str(tmp_path)}
    env = {**os.environ, **offline, "IPYTHONDIR": str(tmp_path / "ipython")}
    os.environ["JUPYTER_PATH"] = str(tmp_path)
    try:
        client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3")
        client.execute(cwd=str(tmp_path), env=env)
    finally:
        del os.environ["JUPYTER_PATH"]
    said = "\n".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ()))
    assert "siren" in said and "clips it had never heard:" in said
    assert "Traceback" not in said and not [
        out for cell in notebook.cells for out in cell.get("outputs", ()) if out["output_type"] == "error"
    ]


def test_there_is_one():
    assert NOTEBOOKS
