"""Letters, colours and labels of plots, measured in pixels; axes of the caller; TorchIO's words."""

import inspect

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from torchio_gpu.plot import plot_image

pytest.importorskip("matplotlib")
from matplotlib import pyplot
from matplotlib.figure import Figure

#: Contrast that the W3C asks of text, WCAG 2.1, success criterion 1.4.3.
LEGIBLE = 4.5


def pixels_of(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255


def luminance(colour):
    """Return the relative luminance of sRGB colours, by the definition of WCAG 2.1."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def grey(value, shape=(30, 36, 33)):
    return tio.ScalarImage(torch.full((1, *shape), float(value)))


def drawn(figure, plane=0, layer=0):
    return np.asarray(figure.axes[plane].images[layer].get_array())


@pytest.mark.parametrize("brightness", [0, 0.25, 0.5, 0.75, 1])
def test_letters_and_names_are_legible_on_any_brightness(brightness):
    figure = grey(brightness).plot(window=(0, 1))
    pixels = pixels_of(figure)
    light = luminance(pixels)
    around = np.pad(light, 2, mode="edge")
    rows, columns = light.shape
    darkest = np.min(
        [around[i : i + rows, j : j + columns] for i in range(5) for j in range(5)], 0
    )  # within two pixels
    texts = [text for axes in figure.axes for text in axes.texts]
    assert len(texts) == 3 * 5
    from matplotlib.colors import to_rgb

    for text in texts:
        box = text.get_window_extent()
        part = (
            slice(rows - round(box.y1) - 1, rows - round(box.y0) + 1),
            slice(round(box.x0) - 1, round(box.x1) + 1),
        )
        own = np.abs(pixels[part] - to_rgb(text.get_color())).max(-1) < 0.1
        assert own.sum() > 5, text.get_text()
        contrast = (light[part] + 0.05) / (darkest[part] + 0.05)
        assert contrast[own].min() > LEGIBLE, text.get_text()


def labels():
    voxels = torch.zeros(1, 6, 8, 10, dtype=torch.uint8)
    voxels[:, 1:5, 2:7, 2:8] = 1
    return tio.LabelMap(voxels)


def test_labels_are_drawn_filled_with_an_opacity():
    subject = tio.Subject(t1=grey(0.5, (6, 8, 10)), seg=labels())
    blue = {"seg": {1: "blue"}}
    figure = subject.plot(window=(0, 1), overlay=0.25, contours=False, cmap_dict=blue)
    assert not any(axes.collections for axes in figure.axes)
    pixels = pixels_of(figure)
    for plane, axes in enumerate(figure.axes):
        over = drawn(figure, plane, 1)
        inside = np.asarray(
            plot_image(labels(), cmap={1: "white"}).axes[plane].images[0].get_array()
        )
        assert np.array_equal(over[..., 3], 0.25 * inside[..., 0])
        box = axes.get_window_extent()  # the middle of the plane is label
        middle = pixels[len(pixels) - round((box.y0 + box.y1) / 2), round((box.x0 + box.x1) / 2)]
        np.testing.assert_allclose(middle, [0.375, 0.375, 0.625], atol=0.01)


def test_contours_are_drawn_unless_they_are_declined():
    subject = tio.Subject(t1=grey(0, (6, 8, 10)), seg=labels())
    assert [len(axes.collections) for axes in subject.plot().axes] == [1, 1, 1]
    assert [len(axes.collections) for axes in subject.plot(contours=False).axes] == [0, 0, 0]
    assert [len(axes.images) for axes in subject.plot().axes] == [1, 1, 1]


def test_labels_are_never_mixed_between_pixels():
    voxels = torch.zeros(1, 9, 9, 9, dtype=torch.uint8)
    voxels[:, ::2, ::2, ::2] = 2
    image = tio.LabelMap(voxels)
    for options in ({"cmap": "viridis"}, {}, {"cmap": "viridis", "interpolation": "bicubic"}):
        figure = image.plot(indices=(4, 4, 4), figsize=(7.3, 2.9), **options)
        for axes in figure.axes:
            for text in list(axes.texts):
                text.remove()
        box = figure.axes[0].get_window_extent()
        pixels = pixels_of(figure)
        part = pixels[len(pixels) - int(box.y1) + 2 : len(pixels) - int(box.y0) - 2,
                      int(box.x0) + 2 : int(box.x1) - 2]  # fmt: skip
        assert len(np.unique(part.reshape(-1, 3), axis=0)) == 2


def test_interpolation_is_that_of_scalar_images():
    figure = grey(1).plot(interpolation="bicubic")
    assert {axes.images[0].get_interpolation() for axes in figure.axes} == {"bicubic"}


@pytest.mark.parametrize(
    ("voxels", "expected"),
    [
        (torch.tensor([51, 102, 204], dtype=torch.uint8), (0.2, 0.4, 0.8)),
        (torch.tensor([0.2, 0.4, 0.8]), (0.2, 0.4, 0.8)),
        (torch.tensor([0.2, 0.4, 0.8], dtype=torch.float16), (0.2, 0.4, 0.8)),
        (torch.tensor([51, 102, 204, 255], dtype=torch.uint8), (0.2, 0.4, 0.8)),
        (torch.tensor([51, 102, 204, 51], dtype=torch.uint8), (0.04, 0.08, 0.16)),
    ],
)
def test_colours_are_those_of_the_picture(voxels, expected):
    """The oracle is the colour that was stored, over black where it is transparent."""
    image = tio.ScalarImage(voxels[:, None, None, None].expand(-1, 8, 9, 1).clone())
    figure = image.plot()
    np.testing.assert_allclose(drawn(figure), np.broadcast_to(expected, (9, 8, 3)), atol=1e-3)
    box = figure.axes[0].get_window_extent()
    pixels = pixels_of(figure)
    middle = pixels[len(pixels) - round((box.y0 + box.y1) / 2), round((box.x0 + box.x1) / 2)]
    np.testing.assert_allclose(middle, expected, atol=0.005)


def test_colours_beyond_their_range_are_windowed():
    x = tio.ScalarImage(torch.rand(3, 6, 7, 1) * 1000)
    values = x.data.numpy()
    low, high = np.percentile(values, (0.5, 99.5))
    expected = ((values[..., 0] - low) / (high - low)).clip(0, 1)
    np.testing.assert_allclose(
        np.sort(drawn(x.plot()).ravel()), np.sort(expected.ravel()), atol=1e-6
    )
    inside = tio.ScalarImage(torch.rand(3, 6, 7, 1) / 2)
    assert drawn(inside.plot()).max() < 0.51
    assert drawn(inside.plot(percentiles=(0, 100))).max() == 1


def test_four_channels_of_a_volume_are_no_colours():
    x = tio.ScalarImage(torch.randint(0, 255, (4, 6, 7, 8), dtype=torch.uint8))
    assert drawn(x.plot()).ndim == 2
    np.testing.assert_array_equal(drawn(x.plot(channel=2), 2).max(), x.data[2, :, :, 4].max())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"vmin": 2}, (2, 90)),
        ({"vmax": 3.5}, (10, 3.5)),
        ({"vmin": 2, "vmax": 3}, (2, 3)),
        ({"vmin": 2, "percentiles": (0, 100)}, (2, 100)),
    ],
)
def test_vmin_and_vmax_set_the_window(options, expected):
    values = torch.linspace(0, 100, 1001)[:, None].expand(1001, 1001)[None, ..., None]
    image = tio.ScalarImage(values.clone())
    figure = image.plot(**{"percentiles": (10, 90), **options})
    assert figure.axes[0].images[0].get_clim() == pytest.approx(expected)


def test_dots_per_inch_are_those_asked_for():
    figure = grey(1).plot(dpi=40, figsize=(4, 2))
    assert pixels_of(figure).shape[:2] == (80, 160)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (0, 1), "vmin": 2}, "window must not be given along with vmin or vmax"),
        ({"window": (0, 1, 2)}, "window must be two numbers"),
        ({"overlay": 1.5}, "overlay must be an opacity from 0 to 1, got 1.5"),
        ({"dpi": 0}, "dpi must be > 0, got 0"),
        ({"axes": [], "dpi": 90}, "axes must not be given along with figsize or dpi"),
    ],
)
def test_wrong_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        grey(1).plot(**options)


# Axes of the caller


def test_planes_are_drawn_into_given_axes(tmp_path):
    image, own = tio.ScalarImage(torch.rand(1, 10, 12, 14), spacing=(1, 2, 3)), None
    figure, axes = pyplot.subplots(1, 3)
    returned = image.plot(axes=axes, title="head", output_path=tmp_path / "x.png")
    assert returned is figure
    assert axes[0].get_title(loc="left") == "head"
    own = image.plot()
    for plane in range(3):
        np.testing.assert_array_equal(drawn(figure, plane), drawn(own, plane))
        assert axes[plane].images[0].get_extent() == own.axes[plane].images[0].get_extent()
        assert axes[plane].get_aspect() == 1
    assert (tmp_path / "x.png").stat().st_size > 0
    assert isinstance(image.plot(axes=list(axes), show=True), Figure)  # Agg: nothing is shown
    pyplot.close(figure)


def test_a_subject_takes_axes_for_all_its_rows():
    subject = tio.Subject(t1=grey(1), t2=grey(2))
    figure, axes = pyplot.subplots(2, 3)
    assert subject.plot(axes=axes, title="both") is figure
    assert [row[0].get_title(loc="left") for row in axes] == ["t1", "t2"]
    assert figure.get_suptitle() == "both"
    with pytest.raises(ValueError, match="axes must be 6, one for each plane, got 3"):
        subject.plot(axes=axes[0])
    pyplot.close(figure)


# TorchIO


def test_every_option_of_torchio_has_its_meaning_or_advice():
    """The oracle is the signature of the installed TorchIO."""
    visualization = pytest.importorskip("torchio.visualization")
    tried = {
        "radiological": False, "channel": 0, "cmap": "viridis", "output_path": None, "show": False,
        "percentiles": (0, 100), "figsize": (6, 3), "title": "x", "indices": (1, 2, 3),
        "rgb": False, "savefig_kwargs": {"dpi": 30}, "cmap_dict": {"t1": "viridis"}, "axes": None,
        # of imshow
        "vmin": 0, "vmax": 1, "interpolation": "bicubic",
    }  # fmt: skip
    advised = {"reorient", "xlabels", "clear_axes", "aspect", "origin", "norm", "alpha"}
    subject = tio.Subject(t1=grey(1))
    names = set()
    for function in (visualization.plot_volume, visualization.plot_subject):
        parameters = inspect.signature(function).parameters.values()
        names |= {p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD}
    names -= {"image", "subject"}
    assert names <= set(tried) | advised
    assert isinstance(subject.plot(return_fig=True, **tried), Figure)
    for name in advised:
        with pytest.raises(TypeError, match=f"{name} is no option of plots: .*(use|leave)"):
            subject.plot(**{name: None})


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_no_numbers_are_background(odd):
    data = torch.zeros(1, 8, 8, 8)
    data[:, 2:6, 2:6, 2:6] = 1
    clean = tio.LabelMap(data)
    data = data.clone()
    data[:, :2] = odd
    labels = tio.LabelMap(data)
    scan = tio.ScalarImage(torch.rand(1, 8, 8, 8))
    for one, other in (
        (labels.plot(), clean.plot()),
        (
            tio.Subject(t1=scan, seg=labels).plot(overlay=0.5),
            tio.Subject(t1=scan, seg=clean).plot(overlay=0.5),
        ),
    ):
        one.canvas.draw()
        other.canvas.draw()
        np.testing.assert_array_equal(one.canvas.buffer_rgba(), other.canvas.buffer_rgba())
