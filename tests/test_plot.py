"""Pictures: position, scale and orientation."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from torchio_gpu.plot import plot_gallery, plot_image, plot_subject

SHAPE, SPACING = (10, 12, 14), (1.0, 2.0, 3.0)
#: Where a mark at the right, front and top is drawn, as (across, up) from the bottom left.
RADIOLOGICAL = dict.fromkeys(("sagittal", "coronal", "axial"), ("left", "top"))
NEUROLOGICAL = dict.fromkeys(RADIOLOGICAL, ("right", "top"))


def mri(orientation: str = "RAS", cls: type[tio.Image] = tio.ScalarImage) -> tio.Image:
    """Return an image whose bright voxels lie at the right, front and top."""
    data = torch.zeros(1, *SHAPE)
    data[:, 6:9, 8:11, 9:12] = 1
    affine = np.diag([*SPACING, 1.0])
    order = [next(n for n, pair in enumerate(("LR", "PA", "IS")) if c in pair) for c in orientation]
    data = data.permute(0, *(1 + n for n in order))
    affine = affine[:, [*order, 3]]
    for axis, letter in enumerate(orientation):
        if letter in "LPI":
            data = data.flip(1 + axis)
            affine[:3, 3] += affine[:3, axis] * (data.shape[1 + axis] - 1)
            affine[:3, axis] *= -1
    return cls(data, affine=affine)


def inside(image: tio.Image) -> tuple[int, int, int]:
    i, j, k = (image.data[0] != 0).nonzero()[13].tolist()
    return i, j, k


def side(axes) -> tuple[str, str]:
    picture = np.asarray(axes.images[0].get_array())
    rows, columns = np.nonzero(picture)
    middle = np.array(picture.shape) / 2
    return (
        "left" if columns.mean() < middle[1] else "right",
        "bottom" if rows.mean() < middle[0] else "top",
    )


def letters(axes) -> str:
    return "".join(text.get_text() for text in axes.texts if len(text.get_text()) == 1)


def name_of(axes) -> str:
    return axes.texts[-1].get_text()


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SAL", "AIL"])
@pytest.mark.parametrize("radiological", [True, False])
def test_every_orientation_gives_the_same_picture(orientation, radiological):
    image = mri(orientation)
    assert image.orientation_str == orientation
    figure = plot_image(image, indices=inside(image), radiological=radiological)
    expected = RADIOLOGICAL if radiological else NEUROLOGICAL
    assert {name_of(axes): side(axes) for axes in figure.axes} == expected
    reference = plot_image(mri(), indices=inside(mri()), radiological=radiological)
    for axes, other in zip(figure.axes, reference.axes, strict=True):
        assert np.array_equal(axes.images[0].get_array(), other.images[0].get_array())
        assert letters(axes) == letters(other)


def test_letters_name_the_sides():
    right_at_left = [letters(axes) for axes in plot_image(mri()).axes]
    assert right_at_left == ["APIS", "RLIS", "RLPA"]  # left, right, bottom, top
    right_at_right = [letters(axes) for axes in plot_image(mri(), radiological=False).axes]
    assert right_at_right == ["PAIS", "LRIS", "LRPA"]


def test_planes_are_drawn_to_one_scale_in_mm():
    figure = plot_image(mri())
    across, up = {}, {}
    for axes in figure.axes:
        box = axes.get_window_extent()
        left, right, bottom, top = axes.images[0].get_extent()
        across[name_of(axes)], up[name_of(axes)] = right - left, top - bottom
        assert box.width / (right - left) == pytest.approx(box.height / (top - bottom))
    i, j, k = (n * mm for n, mm in zip(SHAPE, SPACING, strict=True))
    assert across == pytest.approx({"sagittal": j, "coronal": i, "axial": i})
    assert up == pytest.approx({"sagittal": k, "coronal": k, "axial": j})
    scales = {
        round(a.get_window_extent().width / a.images[0].get_extent()[1], 6) for a in figure.axes
    }
    assert len(scales) == 1


@pytest.mark.parametrize("shape", [(4, 9, 500), (500, 4, 9), (9, 500, 4), (50, 1, 500)])
def test_sheets_of_long_images_are_about_square(shape):
    figure = plot_image(tio.ScalarImage(torch.rand(1, *shape)))
    width, height = figure.get_size_inches()
    assert width == 9
    assert height < 10
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert all(box.x1 <= figure.bbox.x1 and box.y0 >= figure.bbox.y0 for box in boxes)
    extents = [axes.images[0].get_extent() for axes in figure.axes]
    scales = [box.height / extent[3] for box, extent in zip(boxes, extents, strict=True)]
    assert scales == pytest.approx([scales[0]] * len(scales))


def test_contours_run_around_the_labels():
    labels = mri(cls=tio.LabelMap)
    figure = plot_image(mri(), labels=labels, indices=inside(labels), radiological=False)
    coronal = next(axes for axes in figure.axes if name_of(axes) == "coronal")
    (contour,) = coronal.collections
    points = np.concatenate([path.vertices for path in contour.get_paths()])
    # Halfway between the voxel centres in and out of the label, that is along the voxels' edges.
    assert points.min(0) == pytest.approx([6 * 1.0, 9 * 3.0])
    assert points.max(0) == pytest.approx([9 * 1.0, 12 * 3.0])


def test_channels_of_a_label_map_are_labels():
    labels = torch.zeros(3, 8, 8, 8)
    labels[0] = 1
    labels[:, 2:6, 2:6, 2:6] = torch.tensor([0.0, 0, 1])[:, None, None, None]
    image = tio.ScalarImage(torch.rand(1, 8, 8, 8))
    with_labels = plot_image(image, labels=tio.LabelMap(labels))
    painted = plot_image(tio.LabelMap(labels))
    colour = np.asarray(painted.axes[0].images[0].get_array())[4, 4]
    assert with_labels.axes[0].collections[0].get_edgecolor()[0, :3] == pytest.approx(colour)


def test_a_single_slice_is_one_picture():
    figure = plot_image(tio.ScalarImage(torch.rand(1, 8, 9, 1)))
    assert [name_of(axes) for axes in figure.axes] == ["axial"]


def test_default_window_ignores_outliers_and_non_finite_voxels():
    data = torch.linspace(0, 1, 4096).view(1, 16, 16, 16).clone()
    data[0, 8, 8, 8], data[0, 8, 8, 9], data[0, 8, 9, 8] = 1000, torch.nan, torch.inf
    low, high = plot_image(tio.ScalarImage(data)).axes[0].images[0].get_clim()
    assert 0 <= low < high <= 1
    assert plot_image(mri(), window=(2, 3)).axes[0].images[0].get_clim() == (2, 3)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.bfloat16, torch.complex64])
def test_any_type_can_be_drawn(dtype):
    image = tio.ScalarImage(mri().data.to(dtype))
    assert side(plot_image(image, indices=(7, 9, 10)).axes[0]) == ("left", "top")


def test_a_subject_has_a_row_for_each_scalar_image():
    subject = tio.Subject(
        t1=mri(),
        t2=tio.ScalarImage(torch.rand(2, 5, 5, 5)),
        seg=mri(cls=tio.LabelMap),
        other=tio.LabelMap(torch.ones(1, 4, 4, 4)),
        age=3,
    )
    figure = subject.plot(channel=0)
    assert [text.get_text() for text in figure.texts] == ["t1", "t2", "other"]
    assert len(figure.axes) == 9
    drawn = plot_subject(tio.Subject(t1=mri(), seg=mri(cls=tio.LabelMap)), indices=(7, 9, 10))
    assert all(len(axes.collections) == 1 for axes in drawn.axes)


def test_gallery_is_saved_with_one_window_for_all(tmp_path):
    bright = tio.ScalarImage(mri().data * 3)

    def rows():
        yield "first " * 60, tio.Subject(t1=mri(), seg=mri(cls=tio.LabelMap))
        yield "second", tio.Subject(t1=bright)
        yield "third", tio.Subject(seg=mri(cls=tio.LabelMap))

    figure = plot_gallery(rows(), tmp_path / "gallery.png", indices=(7, 9, 10))
    assert len(figure.axes) == 9
    assert len({axes.images[0].get_clim() for axes in figure.axes}) == 1
    assert figure.texts[0].get_text().count("\n") == 1
    from matplotlib.image import imread

    pixels = imread(tmp_path / "gallery.png")
    assert pixels.shape[:2] == tuple(int(150 * n) for n in figure.get_size_inches()[::-1])
    assert (pixels[..., :3] > 0.5).any(-1).mean() > 0.01


def test_invalid_arguments_are_named():
    with pytest.raises(ValueError, match="labels must lie on the grid"):
        plot_image(mri(), labels=tio.LabelMap(torch.zeros(1, 4, 4, 4)))
    with pytest.raises(ValueError, match="indices must be a voxel"):
        plot_image(mri(), indices=(0, 0, 14))
    with pytest.raises(ValueError, match=r"channel must be in 0\.\.0, got 1"):
        plot_image(mri(), channel=1)
    with pytest.raises(ValueError, match="channel must be left out for a label map"):
        plot_image(tio.LabelMap(torch.zeros(3, 4, 4, 4)), channel=1)
    with pytest.raises(ValueError, match="at least one subject"):
        plot_gallery({})


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"torchio-gpu\[plot\]"):
        plot_image(mri())


def test_matplotlib_is_imported_lazily():
    code = """
import sys, torch, torchio_gpu as tio, torchio_gpu.cli, torchio_gpu.datasets, torchio_gpu.plot
heavy = {"matplotlib", "nilearn", "nibabel", "SimpleITK"} & set(sys.modules)
assert not heavy, heavy
tio.datasets.mni152().t1[90:98, 90:98, 90:98].plot()
assert "matplotlib" in sys.modules
assert not {"matplotlib.pyplot", "nilearn"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SAL"])
@pytest.mark.parametrize("radiological", [True, False])
def test_points_lie_on_the_voxels_that_they_name(orientation, radiological):
    """A point at a bright voxel is drawn on it; those off the plane or outside are not drawn."""
    image = mri(orientation)
    image.data.zero_()
    at = tuple(n // 2 + 1 for n in image.spatial_shape)
    image.data[0, at[0], at[1], at[2]] = 1
    off = np.array([at, at, at, at]) + [[0, 0, 0], [2, 2, 2], [-30, 0, 0], [0, 0, np.nan]]
    points = tio.Points(off, axes="IJK", affine=image.affine).to_axes("LPS")
    subject = tio.Subject(t1=image, tips=points, none=tio.Points([]))
    for figure in (
        subject.plot(indices=at, radiological=radiological),
        plot_image(image, points=[points], indices=at, radiological=radiological),
    ):
        for axes in figure.axes:
            picture = np.asarray(axes.images[0].get_array())
            (row,), (column,) = np.nonzero(picture)
            _, width, _, height = axes.images[0].get_extent()
            middle = (column + 0.5) / picture.shape[1], (row + 0.5) / picture.shape[0]
            (place,) = axes.collections[0].get_offsets()
            assert np.asarray(place) == pytest.approx([middle[0] * width, middle[1] * height])
    near = tio.Points(off[:1] + 0.9, axes="IJK", affine=image.affine)
    far = tio.Points(off[:1] + 1.1, axes="IJK", affine=image.affine)
    figure = plot_image(image, points=[near, far], indices=at)
    for axes in figure.axes:
        assert [len(dots.get_offsets()) for dots in axes.collections] == [1, 0]


def test_a_plot_of_a_batch_has_the_first_samples():
    subjects = [tio.Subject(t1=tio.ScalarImage(torch.rand(1, 6, 7, 8))) for _ in range(6)]
    batch = tio.SubjectsBatch.from_subjects(subjects)
    assert [text.get_text() for text in batch.plot().texts] == [f"sample {n}" for n in range(4)]
