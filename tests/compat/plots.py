"""Differences of plots from those of TorchIO 1.2.1, which ``test_differences`` collects."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio


def test_a_plot_is_returned_and_not_shown(monkeypatch):
    torchio = pytest.importorskip("torchio")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    shown = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.get_fignums()))
    x = torch.rand(1, 6, 7, 8)
    assert torchio.ScalarImage(tensor=x).plot() is None
    assert len(shown) == 1
    pyplot.close("all")
    figure = tio.ScalarImage(tensor=x).plot()
    assert len(figure.axes) == 3
    assert len(shown) == 1
    assert pyplot.get_fignums() == []


def test_indices_of_plots_are_voxels_of_the_image():
    torchio = pytest.importorskip("torchio")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    x, affine = torch.rand(1, 6, 7, 8), np.diag([-1.0, -1, 1, 1])  # LPS
    sagittal = []
    for lib in (torchio, tio):
        image = lib.ScalarImage(tensor=x, affine=affine)
        figure = image.plot(indices=(1, 2, 3), show=False, return_fig=True)
        sagittal.append(np.sort(np.asarray(figure.axes[0].images[0].get_array()), axis=None))
    pyplot.close("all")
    for values, index in zip(sagittal, (6 - 1 - 1, 1), strict=True):
        np.testing.assert_allclose(values, np.sort(x[0, index].numpy(), axis=None), rtol=1e-6)
