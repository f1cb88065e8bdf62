"""Cells of a notebook, executed by a real kernel: types of the outputs, and the widget's file."""

import base64
import os
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

import torchio_gpu as tio

pytest.importorskip("ipyniivue", reason="NOT TESTED: needs torchio-gpu[notebook]")
pytest.importorskip("ipykernel", reason="NOT TESTED: needs ipykernel, which runs cells")
nbclient = pytest.importorskip("nbclient", reason="NOT TESTED: needs nbclient, which sends cells")
pytest.importorskip("matplotlib")

WIDGET = "application/vnd.jupyter.widget-view+json"
AFFINE = np.array([[0, -2, 0, 1], [1, 0, 0, 2], [0, 0, 2.5, 3], [0, 0, 0, 1.0]])
#: A cell, and the types of its outputs.
CELLS = {
    "import sys, torch, torchio_gpu as tio": [],
    "subject = tio.Subject(t1=tio.ScalarImage('t1.nii'), seg=tio.LabelMap('seg.nii'), age=3)": [],
    "subject.t1": ["text/html"],
    "subject": ["text/html"],
    "tio.SubjectsBatch.from_subjects([subject, subject])": ["text/html"],
    "tio.SubjectsDataset([subject])": ["text/html"],
    "augment = tio.Compose([tio.RandomAffine(), tio.RandomNoise()]); augment": ["text/html"],
    "augment(subject).get_composed_history()": ["text/html"],
    "subject.t1.plot()": ["image/png"],
    "subject.plot_difference(augment(subject))": ["image/png"],
    "subject.t1.plot(show=True); None": ["image/png"],
    "subject.t1.hist()": ["image/png"],
    "subject.t1.show()": [WIDGET],
    "subject.seg.show()": [WIDGET],
    "sys.modules['ipyniivue'] = None; subject.t1.show()": ["image/png"],
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Return the notebook after its cells were executed, the client, and the images."""
    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    image = tio.ScalarImage(torch.rand(2, 8, 9, 10, dtype=torch.float64) - 0.5, affine=AFFINE)
    labels = torch.zeros(1, 8, 9, 10, dtype=torch.int16)
    labels[:, 2:5], labels[:, 5:7, 4:] = 3, 300
    seg = tio.LabelMap(labels, affine=AFFINE)
    image.save(folder / "t1.nii")
    seg.save(folder / "seg.nii")
    root = Path(__file__).parent.parent
    paths = [str(root), str(root / "kernels"), os.environ.get("PYTHONPATH", "")]
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    env.pop("SITK_SHOW_COMMAND", None)
    client.execute(env=env)
    return notebook, client, image, seg


def shown(notebook):
    """Return the outputs of each cell that are no streams of text."""
    outputs = {cell.source: cell.outputs for cell in notebook.cells}
    return {s: [o.data for o in each if "data" in o] for s, each in outputs.items()}


def files(client):
    """Return what NiiVue is given: for each volume, its NIfTI file and its state."""
    found = []
    for model, buffers in client.widget_buffers.items():
        (buffer,) = (each for each in buffers.values() if each["path"] == ["data"])
        content = base64.b64decode(buffer["data"])
        found.append((nibabel.Nifti1Image.from_bytes(content), client.widget_state[model]))
    return found


def test_cells_have_outputs_of_their_types(executed):
    found = shown(executed[0])
    for source, expected in CELLS.items():
        assert len(found[source]) == len(expected), source
        for data, kind in zip(found[source], expected, strict=True):
            assert kind in data, source


def test_tables_are_in_the_notebook(executed):
    found = shown(executed[0])
    (html,) = (data["text/html"] for data in found["subject"])
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", html)
    assert [cells[0], cells[8]] == ["t1", "seg"]
    assert "2 x 8 x 9 x 10" in cells
    assert "<img" in html


def test_a_widget_has_the_voxels_and_their_place(executed):
    _, client, image, seg = executed
    (first, state), (second, colours) = files(client)
    np.testing.assert_allclose(first.affine, AFFINE, atol=1e-6)
    expected = image.data.permute(1, 2, 3, 0).numpy()
    np.testing.assert_allclose(np.asarray(first.dataobj), expected, rtol=1e-6)
    assert state["colormap_label"] is None
    assert state["name"].endswith(".nii")
    np.testing.assert_array_equal(np.asarray(second.dataobj), seg.data[0])
    table = colours["colormap_label"]
    assert table["max"] == 300
    lut = dict(enumerate(np.array(table["lut"]).reshape(-1, 4).tolist(), int(table["min"])))
    drawn = {label: tuple(colour) for label, colour in lut.items() if any(colour)}
    assert drawn == {3: (230, 159, 0, 255), 300: (213, 94, 0, 255)}  # the third and sixth of seven
    names = dict(enumerate(table["labels"], int(table["min"])))
    assert (names[0], names[3], names[300]) == ("background", "3", "300")


def test_without_the_widget_a_warning_says_what_to_install(executed):
    cell = executed[0].cells[-1]
    (text,) = (output.text for output in cell.outputs if output.output_type == "stream")
    assert 'pip install "torchio-gpu[notebook]"' in text
