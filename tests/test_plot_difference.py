"""Pictures of two images and of their difference."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from torchio_gpu.plot import plot_difference, plot_gallery

pytest.importorskip("matplotlib")
from matplotlib.colors import to_rgb

SHAPE = (8, 9, 10)


def image(seed=0, cls=tio.ScalarImage, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    return cls(torch.rand(1, *SHAPE, generator=generator), **kwargs)


def rows(figure):
    """Return the pictures of each row, and the title of each row."""
    planes = [axes.images[0] for axes in figure.axes if axes.texts and len(axes.texts) == 5]
    pictures = [np.asarray(plane.get_array()) for plane in planes]
    titles = [text.get_text() for text in figure.texts]
    return pictures[:3], pictures[3:6], pictures[6:], titles, planes


@pytest.mark.parametrize("channel", [None, 1])
def test_the_third_row_is_the_second_minus_the_first(channel):
    before, after = (tio.ScalarImage(torch.rand(2, *SHAPE)) for _ in range(2))
    chosen = {} if channel is None else {"channel": channel}
    old, new, change, titles, planes = rows(before.plot_difference(after, **chosen))
    n = channel or 0
    # the axial plane, as radiologists see it: right at the left
    expected = (after.data - before.data)[n, :, :, 5].flip(0).T
    np.testing.assert_allclose(change[2], expected, rtol=1e-6)
    for a, b, c in zip(old, new, change, strict=True):
        np.testing.assert_allclose(c, b - a)
    limit = np.percentile(np.abs(np.concatenate([c.ravel() for c in change])), 99.5)
    assert {plane.get_clim() for plane in planes[6:]} == {(-limit, limit)}
    assert len({plane.get_clim() for plane in planes[:6]}) == 1
    assert titles == ["before", "after", f"after - before, from {-limit:.3g} to {limit:.3g}"]


def test_no_change_is_black_and_signs_have_colours_of_their_own():
    before = tio.ScalarImage(torch.zeros(1, *SHAPE))
    after = tio.ScalarImage(torch.zeros(1, *SHAPE))
    after.data[:, 6:] = 1  # right: left in the picture
    after.data[:, :2] = -1
    figure = plot_difference(before, after, limit=2)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    axial = [axes for axes in figure.axes if len(axes.texts) == 5][8]
    box = axial.get_window_extent()
    line = pixels[len(pixels) - round((box.y0 + 3 * box.y1) / 4)]  # a quarter from the top
    at = [line[round(box.x0 + part * (box.x1 - box.x0))] for part in (0.2, 0.5, 0.8)]
    assert at[0][0] > 2 * at[0][2]  # red: more
    np.testing.assert_array_equal(at[1], 0)
    assert at[2][2] > 2 * at[2][0]  # blue: less
    bar = next(axes for axes in figure.axes if len(axes.texts) == 2)
    assert [text.get_text() for text in bar.texts] == ["-2", "2"]


def test_a_colour_map_and_a_limit_may_be_given():
    figure = plot_difference(image(), image(1), limit=0.25, cmap="RdBu_r")
    *_, titles, planes = rows(figure)
    assert planes[-1].get_cmap().name == "RdBu_r"
    assert planes[0].get_cmap().name == "gray"
    assert planes[-1].get_clim() == (-0.25, 0.25)
    assert titles[-1].endswith("from -0.25 to 0.25")


def test_a_change_of_few_voxels_has_a_range():
    after = image()
    after.data = image().data.clone()
    after.data[0, 4, 4, 5] += 3
    assert rows(plot_difference(image(), after))[3][-1] == "after - before, from -3 to 3"
    same = rows(plot_difference(image(), image()))
    assert same[3][-1] == "after - before: no difference in these planes"
    assert not np.concatenate([c.ravel() for c in same[2]]).any()


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
def test_voxels_that_become_no_number_are_counted(odd):
    before, after = (tio.ScalarImage(torch.ones(1, *SHAPE)) for _ in range(2))
    after.data[:, 4, 4, 5] = odd  # in each of the planes, 8 * 9 + 8 * 10 + 9 * 10 voxels
    *_, change, titles, _ = rows(plot_difference(before, after))
    assert titles[-1] == (
        "after - before: no finite difference in these planes; 3 of 242 voxels not finite"
    )
    assert [np.isfinite(c).sum() for c in change] == [9 * 10 - 1, 8 * 10 - 1, 8 * 9 - 1]
    after.data[:, 0, 4, 5] = 3
    title = rows(plot_difference(before, after, limit=2))[3][-1]
    assert title == "after - before, from -2 to 2; 3 of 242 voxels not finite"
    assert rows(plot_difference(after, after))[3][-1].endswith(": no difference in these planes")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float16, torch.complex64])
def test_differences_do_not_wrap_around(dtype):
    low, high = torch.zeros(1, *SHAPE).to(dtype), torch.ones(1, *SHAPE).to(dtype)
    change = rows(plot_difference(tio.ScalarImage(high), tio.ScalarImage(low)))[2]
    assert all((c == -1).all() for c in change)


def test_voxels_whose_label_differs_are_white():
    before = tio.LabelMap(torch.zeros(1, *SHAPE, dtype=torch.uint8))
    after = tio.LabelMap(torch.zeros(1, *SHAPE, dtype=torch.uint8))
    before.data[:, 2:5, 2:5, 2:6] = 1
    after.data[:, 2:5, 2:5, 2:6] = 2
    after.data[:, 5, 2:5, 2:6] = 2
    old, _, change, titles, _ = rows(before.plot_difference(after))
    np.testing.assert_array_equal(change[2], (before.data != after.data)[0, :, :, 5].flip(0).T)
    np.testing.assert_allclose(old[2][3, 4], to_rgb("#f0e442"))  # painted
    planes = [(before.data != after.data)[0].select(axis, n // 2) for axis, n in enumerate(SHAPE)]
    count, total = (sum(f(p) for p in planes) for f in (torch.Tensor.sum, torch.Tensor.numel))
    assert titles[-1] == f"another label: {int(count)} of {total} voxels in these planes"


def test_subjects_show_an_image_with_its_own_contours():
    seg = tio.LabelMap((image(5).data > 0.8).byte())
    before = tio.Subject(seg=seg, t1=image(), t2=image(1))
    after = tio.RandomFlip(flip_probability=1, axes="LR")(before)
    figure = before.plot_difference(after, name="t2")
    old, new, change, titles, _ = rows(figure)
    np.testing.assert_allclose(change[2], new[2] - old[2])
    np.testing.assert_allclose(new[2], old[2][:, ::-1])
    assert titles[:2] == ["t2, before", "t2, after"]
    axes = [each for each in figure.axes if len(each.texts) == 5]
    assert [len(each.collections) for each in axes] == [1] * 6 + [0] * 3
    assert rows(before.plot_difference(after))[3][0] == "t1, before"
    assert rows(before.plot_difference(after, name="seg"))[3][-1].startswith("another label")


def test_other_images_of_a_subject_are_not_read(tmp_path):
    image().save(tmp_path / "t1.nii")
    unread = tio.ScalarImage(tmp_path / "t1.nii")
    series = tio.ScalarImage(torch.rand(4, *SHAPE))
    subject = tio.Subject(bold=series, t1=unread)
    figure = subject.plot_difference(subject, name="bold", channel=3)
    np.testing.assert_allclose(rows(figure)[0][2], series.data[3, :, :, 5].flip(0).T)
    plot_gallery({"bold": subject}, channel=3)
    assert not unread.loaded


def test_options_of_plots_apply(tmp_path):
    figure = plot_difference(
        image(), image(1), window=(0, 2), title="noise", figsize=(6, 6), indices=(1, 2, 3),
        output_path=tmp_path / "x.png", radiological=False,
    )  # fmt: skip
    old, _, _, _, planes = rows(figure)
    assert planes[5].get_clim() == (0, 2)
    np.testing.assert_allclose(old[2], image().data[0, :, :, 3].T)
    assert tuple(figure.get_size_inches()) == (6, 6)
    assert (tmp_path / "x.png").exists()
    with pytest.raises(TypeError, match="options of plots must be of"):
        plot_difference(image(), image(1), colour="red")


def test_the_bar_and_titles_do_not_overlap():
    figure = plot_difference(image(), image(1))
    figure.canvas.draw()
    bar = next(axes for axes in figure.axes if len(axes.texts) == 2)
    boxes = [text.get_window_extent() for text in bar.texts] + [bar.get_window_extent()]
    title = figure.texts[2].get_window_extent()
    others = [axes.get_window_extent() for axes in figure.axes if axes is not bar]
    for box in boxes:
        assert not box.overlaps(title)
        assert not any(box.overlaps(other) for other in others)
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    ("before", "after", "options", "error", "message"),
    [
        (image(), tio.ScalarImage(torch.rand(1, 8, 9, 11)), {}, ValueError, "after must lie on"),
        (image(), image(affine=np.diag([1, 1, 2, 1])), {}, ValueError, "after must lie on"),
        (image(), tio.ScalarImage(torch.rand(2, *SHAPE)), {}, ValueError, "have the 1 channels"),
        (image(), image(cls=tio.LabelMap), {}, TypeError, "both be label maps or neither"),
        (image(), tio.Subject(t1=image()), {}, TypeError, "both be images or both be subjects"),
        (image(), torch.rand(1, *SHAPE), {}, TypeError, "images or subjects, got tensor"),
        (image(), image(), {"rgb": True}, TypeError, "rgb is no option of a difference"),
        (*[image(cls=tio.LabelMap)] * 2, {"limit": 2}, ValueError, "must be left out for label"),
        (image(), image(), {"limit": 0}, ValueError, "limit must be > 0, got 0"),
        (image(), image(), {"name": "t1"}, ValueError, "name must be left out for images"),
        (tio.Subject(t1=image()), tio.Subject(t2=image()), {}, ValueError, "subjects, got 't1'"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_named(before, after, options, error, message):
    with pytest.raises(error, match=message):
        plot_difference(before, after, **options)
