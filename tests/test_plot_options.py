"""Options of plots, histograms, and figures that are saved or shown."""

import sys
import types

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from torchio_gpu.plot import plot_gallery, plot_histogram

pytest.importorskip("matplotlib")
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.image import imread

BLUE, GREEN = (0, 0, 1.0), (0, 128 / 255, 0)


def image(channels=1, shape=(6, 8, 10), cls=tio.ScalarImage):
    return cls(torch.rand(channels, *shape))


def labels():
    voxels = torch.zeros(1, 6, 8, 10, dtype=torch.uint8)
    voxels[:, 1:5, 2:7, 2:8] = 1
    voxels[:, 2:4, 3:6, 3:7] = 2
    return tio.LabelMap(voxels)


def drawn(figure, plane=0):
    return np.asarray(figure.axes[plane].images[0].get_array())


@pytest.mark.parametrize("return_fig", [True, False])
def test_the_figure_is_saved_and_returned(tmp_path, return_fig):
    figure = image().plot(
        show=False,
        return_fig=return_fig,
        output_path=tmp_path / "x.png",
        savefig_kwargs={"dpi": 50},
    )
    assert isinstance(figure, Figure)
    width, height = figure.get_size_inches()
    assert imread(tmp_path / "x.png").shape[:2] == (int(height * 50), int(width * 50))


def test_unknown_options_are_refused_with_the_valid_ones():
    subject = tio.Subject(t1=image())
    for draw in (image().plot, subject.plot, lambda **k: plot_gallery({"a": subject}, **k)):
        with pytest.raises(TypeError, match=r"be of window, percentiles, .*, got \['colour'\]"):
            draw(colour=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"percentiles": (5, 2)}, ValueError, r"percentiles must rise .*\(5, 2\)"),
        ({"percentiles": (0, 101)}, ValueError, "percentiles must rise"),
        ({"percentiles": (1, 2, 3)}, ValueError, "percentiles must be two numbers"),
        ({"figsize": (3, 0)}, ValueError, r"figsize must be two numbers > 0, got \(3, 0\)"),
        ({"figsize": (3, 0.1)}, ValueError, "figsize must leave room"),
        ({"channel": 0.5}, TypeError, "channel must be an integer or None, got 0.5"),
        ({"show": "no"}, TypeError, "show must be True or False, got 'no'"),
        ({"cmap": {1: "red"}}, ValueError, "cmap must be a colour map for a scalar image"),
        ({"cmap": "no such"}, ValueError, "no such"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        image().plot(**options)


def test_percentiles_set_the_window():
    x = image()
    values = np.concatenate([drawn(x.plot(), plane).ravel() for plane in range(3)])
    for options, expected in (
        ({}, np.percentile(values, (0.5, 99.5))),
        ({"percentiles": (10, 80)}, np.percentile(values, (10, 80))),
        ({"percentiles": (10, 80), "window": (2, 3)}, (2, 3)),
    ):
        for axes in x.plot(**options).axes:
            assert axes.images[0].get_clim() == pytest.approx(expected)


def test_scalar_images_have_a_colour_map():
    assert image().plot().axes[0].images[0].get_cmap().name == "gray"
    assert image().plot(cmap="viridis").axes[0].images[0].get_cmap().name == "viridis"
    subject = tio.Subject(t1=image(), t2=image())
    figure = subject.plot(cmap="magma", cmap_dict={"t2": "viridis"})
    names = [axes.images[0].get_cmap().name for axes in figure.axes]
    assert names == ["magma"] * 3 + ["viridis"] * 3


def test_labels_have_colours_by_label():
    x = labels()
    number = np.rint(drawn(x.plot(cmap="viridis")))
    assert set(np.unique(number)) == {0, 1, 2}
    picture = drawn(x.plot(cmap={1: "blue", 2: (0, 128, 0)}))
    for label, colour in ((0, (0, 0, 0)), (1, BLUE), (2, GREEN)):
        np.testing.assert_allclose(picture[number == label], [colour] * (number == label).sum())
    alone = drawn(x.plot(cmap={2: "blue"}))
    assert not alone[number != 2].any()


def test_contours_have_colours_by_label():
    subject = tio.Subject(t1=image(), seg=labels())
    axes = subject.plot(cmap_dict={"seg": {1: "blue", 2: (0, 128, 0)}}).axes[0]
    found = [tuple(contour.get_edgecolor()[0][:3]) for contour in axes.collections]
    assert found == [pytest.approx(BLUE), pytest.approx(GREEN)]
    assert len(subject.plot(cmap_dict={"seg": {2: "blue"}}).axes[0].collections) == 1


def test_three_channels_are_red_green_and_blue():
    x = image(3)
    colours = drawn(x.plot(window=(0, 1)))
    assert colours.shape[2] == 3
    for channel in range(3):
        alone = drawn(x.plot(channel=channel))
        np.testing.assert_allclose(colours[..., channel], alone)
    np.testing.assert_array_equal(drawn(x.plot(rgb=False)), drawn(x.plot(channel=0)))
    doubled = tio.ScalarImage(2 * x.data).plot(window=(0.5, 1.5))
    np.testing.assert_allclose(drawn(doubled), (2 * colours - 0.5).clip(0, 1))
    assert drawn(image(4).plot()).ndim == 2


@pytest.mark.parametrize("figsize", [(4, 3), (12, 1.5), (3, 8)])
def test_planes_and_title_fit_the_size(figsize):
    subject = tio.Subject(t1=image(), t2=image())
    for figure in (
        image().plot(figsize=figsize, title="head"),
        subject.plot(figsize=figsize, title="head"),
    ):
        assert tuple(figure.get_size_inches()) == pytest.approx(figsize)
        assert "head" in [text.get_text() for text in figure.texts]
        boxes = [axes.get_position() for axes in figure.axes]
        texts = [text.get_window_extent() for text in figure.texts if text.get_text()]
        assert all(figure.bbox.y0 <= text.y0 < text.y1 <= figure.bbox.y1 for text in texts)
        for box in boxes:
            assert -1e-9 <= min(box.x0, box.y0) < max(box.x1, box.y1) <= 1
            assert box.width > 0.01
            pixels = box.transformed(figure.transFigure)
            assert not any(pixels.overlaps(text) for text in texts)
        scales = [axes.get_window_extent().width / axes.images[0].get_extent()[1]
                  for axes in figure.axes]  # fmt: skip
        assert scales == pytest.approx([scales[0]] * len(scales))
        assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)


# Shown


def test_nothing_is_shown_without_an_interactive_backend():
    """The tests run with the backend Agg."""
    figure = image().plot(show=True)
    assert isinstance(figure, Figure)
    assert pyplot.get_fignums() == []


def test_an_interactive_backend_shows_the_figure(monkeypatch):
    shown = []
    canvas = type(pyplot.figure().canvas)
    pyplot.close("all")
    monkeypatch.setattr(canvas, "required_interactive_framework", "qt")

    def show():
        shown.extend(pyplot.figure(n).canvas.manager.canvas.figure for n in pyplot.get_fignums())

    monkeypatch.setattr(pyplot, "show", show)
    figure = image().plot(show=True)
    pyplot.close("all")
    assert shown == [figure]
    image().plot()
    assert shown == [figure]
    figure, axes = pyplot.subplots(1, 3)
    image().plot(axes=axes, show=True)
    assert shown[1:] == [figure]
    monkeypatch.setattr(canvas, "required_interactive_framework", None)
    image().plot(axes=axes, show=True)
    assert shown[1:] == [figure]
    pyplot.close("all")


@pytest.fixture
def notebook(monkeypatch):
    """Return a list of what is displayed, in what looks like the kernel of a notebook."""
    shown = []
    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    display.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_notebooks_show_the_figure(notebook):
    figure = image().plot(show=True)
    assert notebook == [figure]
    assert figure._repr_png_().startswith(b"\x89PNG")
    sys.modules["IPython"].get_ipython = lambda: None  # imported, but not in a notebook
    image().plot(show=True)
    assert notebook == [figure]


def test_show_draws_planes_in_a_notebook_without_the_widget(notebook, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    monkeypatch.delenv("SITK_SHOW_COMMAND", raising=False)
    x = image()
    with pytest.warns(RuntimeWarning, match=r'pip install "torchio-gpu\[notebook\]"; the middle'):
        x.show()
    np.testing.assert_array_equal(drawn(notebook[0]), drawn(x.plot()))
    with pytest.raises(RuntimeError, match="viewer_path must be a program"):
        x.show("no-such-program")
    monkeypatch.setenv("SITK_SHOW_COMMAND", "no-such-program")
    with pytest.raises(RuntimeError, match="viewer_path must be a program"):
        x.show()
    assert len(notebook) == 1


# Histograms


def heights(figure):
    return np.array([bar.get_height() for bar in figure.axes[0].patches])


def test_a_histogram_counts_all_finite_values(tmp_path):
    x = image()
    x.data[0, 0, 0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    figure = x.hist(show=False, output_path=tmp_path / "x.png")
    assert heights(figure).sum() == 6 * 8 * 10 - 3
    assert figure.axes[0].get_ylabel() == "Frequency"
    assert (tmp_path / "x.png").stat().st_size > 1000
    assert len(heights(x.hist(bins=7))) == 7


def test_a_density_has_area_one():
    figure = image().hist(density=True)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert (heights(figure) * widths).sum() == pytest.approx(1)
    assert figure.axes[0].get_ylabel() == "Density"


def test_the_number_of_bins_is_that_of_freedman_and_diaconis():
    values = np.random.default_rng(0).normal(size=5000)
    expected = len(np.histogram_bin_edges(values, bins="fd")) - 1
    assert len(heights(plot_histogram(values))) == pytest.approx(expected, abs=1)
    assert len(heights(plot_histogram(np.append(values, 1e6)))) == 1000  # not a million
    assert len(heights(plot_histogram(np.append(np.zeros(99), 1)))) == 1000  # quartiles are equal
    for few in ([], [3.0], [3.0, 3.0]):
        assert len(heights(plot_histogram(np.array(few)))) == 1


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.bfloat16, torch.complex64])
def test_voxels_of_any_type_have_a_histogram(dtype):
    x = tio.ScalarImage((torch.rand(1, 4, 5, 6) * 3).to(dtype))
    assert heights(x.hist()).sum() == 120


def test_only_scalar_images_have_a_histogram():
    assert not hasattr(tio.LabelMap, "hist")
    with pytest.raises(TypeError, match="density must be True or False, got 1"):
        image().hist(density=1)
