"""docs/notebook.ipynb runs in a kernel, and its cells show what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.doc_pages import DOCS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient (the test extra)")
    pytest.importorskip("ipykernel", reason="needs ipykernel (the test extra)")
    import nbformat

    notebook = nbformat.read(DOCS / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    context = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=context).execute()
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    printed = "".join(out.text for out in outputs[0] if out.output_type == "stream")
    assert "train        epoch" in printed
    assert "\r" not in printed
    shown = [out.data for cell in outputs for out in cell if out.output_type == "execute_result"]
    assert [("text/html" in data, "image/svg+xml" in data) for data in shown] == [
        (True, False), (True, True), (True, False), (True, False), (False, False),
    ]  # fmt: skip
