"""The notebooks run as they are and hold no outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))


def outputs(notebook: nbformat.NotebookNode) -> str:
    """All text that the cells of a notebook have printed."""
    found = (out for cell in notebook.cells for out in cell.get("outputs", ()))
    return "".join(out.get("text", "") for out in found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "stored outputs: clear them"

    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": tmp_path}}).execute()

    said = outputs(notebook)
    if path.stem == "disease_or_exposure":
        before, after = (float(line.split()[2]) for line in said.splitlines() if "exposure" in line)
        assert "as they are: {'" in said, "the audit names nothing"
        assert before > 0.8
        assert 0.4 < after < 0.6
    else:
        assert "% flagged" in said
