"""Pictures of images: Pillow, GIF, PNG and JPEG, and other programs."""

import os
import sys
import time

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine

PIL = pytest.importorskip("PIL.Image")
posix = pytest.mark.skipif(os.name != "posix", reason="a shell script")


def flat(channels=1, dtype=torch.float32):
    return tio.ScalarImage((torch.rand(channels, 6, 8, 1) * 300 - 20).to(dtype))


# Pillow


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("transpose", [True, False])
def test_pillow_images_are_those_of_torchio(channels, transpose):
    torchio = pytest.importorskip("torchio")
    x = flat(channels)
    ours, theirs = (
        image.as_pil(transpose=transpose) for image in (x, torchio.ScalarImage(tensor=x.data))
    )
    assert ours.mode == theirs.mode
    assert ours.size == ((6, 8) if transpose else (8, 6))
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_only_2d_images_with_colours_become_pillow_images():
    with pytest.raises(RuntimeError, match=r"must be 2D, with shape \(I, J, 1\), got \(2, 3, 4\)"):
        tio.ScalarImage(torch.rand(1, 2, 3, 4)).as_pil()
    with pytest.raises(RuntimeError, match="must have 1, 3 or 4 channels, got 2"):
        flat(2).as_pil()
    with pytest.raises(TypeError, match="transpose must be True or False, got 1"):
        flat().as_pil(transpose=1)


@pytest.mark.parametrize("name", ["as_pil", "to_gif"])
def test_without_pillow_the_error_says_what_to_install(monkeypatch, tmp_path, name):
    monkeypatch.setitem(sys.modules, "PIL", None)
    arguments = () if name == "as_pil" else (0, 1, tmp_path / "x.gif")
    with pytest.raises(ImportError, match="pip install pillow"):
        getattr(flat(), name)(*arguments)


# GIF


def frames(path, mode="L"):
    with PIL.open(path) as gif:
        found = []
        for n in range(gif.n_frames):
            gif.seek(n)
            found.append(np.asarray(gif.convert(mode)))
        return np.stack(found), gif.info


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_frames_are_those_of_torchio(tmp_path, axis, channels):
    torchio = pytest.importorskip("torchio")
    x = tio.ScalarImage(torch.rand(channels, 5, 6, 7))
    mode = "L" if channels == 1 else "RGB"
    x.to_gif(axis, 1.4, tmp_path / "ours.gif")
    torchio.ScalarImage(tensor=x.data).to_gif(axis, 1.4, tmp_path / "theirs.gif")
    (ours, info), (theirs, other) = (
        frames(tmp_path / f"{name}.gif", mode) for name in ("ours", "theirs")
    )
    np.testing.assert_array_equal(ours, theirs)
    assert info["duration"] == pytest.approx(other["duration"], abs=10)  # PIL cuts 279.99 off
    assert info["loop"] == other["loop"] == 0


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SAL"])
def test_frames_look_alike_in_every_orientation(tmp_path, orientation):
    """As in plots: a bright voxel at the right, front and top is at the upper left."""
    voxels = torch.linspace(0, 0.1, 210).view(1, 5, 6, 7).clone()  # no two frames are the same
    voxels[0, -1, -1, -1] = 1
    image = tio.ToOrientation(orientation)(tio.ScalarImage(voxels))
    for axis, letter in enumerate(orientation):
        image.to_gif(axis, 1, tmp_path / "x.gif")
        shown, _ = frames(tmp_path / "x.gif")
        assert len(shown) == image.spatial_shape[axis]
        last = -1 if letter in "RAS" else 0
        assert shown[last, 0, 0] == shown.max() == 255
        assert (shown > 50).sum() == 1


def test_options_of_gifs(tmp_path):
    voxels = torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 3, 2) * 100
    image = tio.ScalarImage(voxels)
    image.to_gif(0, 2, tmp_path / "x.gif", loop=3, rescale=False, reverse=True)
    shown, info = frames(tmp_path / "x.gif")
    assert shown[:, 0, 0].tolist() == [255, 200, 100, 0]
    assert (info["loop"], info["duration"]) == (3, 500)
    image.to_gif(0, 2, tmp_path / "x.gif")
    assert frames(tmp_path / "x.gif")[0][:, 0, 0].tolist() == [0, 85, 170, 255]
    constant = tio.ScalarImage(torch.full((1, 4, 3, 2), 7.0))
    constant.to_gif(0, 2, tmp_path / "x.gif")
    assert not frames(tmp_path / "x.gif")[0].any()


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_not_finite_leave_the_others_visible(tmp_path, odd):
    voxels = torch.tensor([odd, 100, 0, 200]).view(1, 4, 1, 1).expand(1, 4, 3, 2)
    tio.ScalarImage(voxels).to_gif(0, 2, tmp_path / "x.gif")
    shown = frames(tmp_path / "x.gif")[0][:, 0, 0].tolist()
    assert shown == [255 if odd == torch.inf else 0, 127, 0, 255]


def test_a_gif_of_complex_values_shows_their_magnitude(tmp_path):
    voxels = torch.tensor([0, 2j, -4]).view(1, 3, 1, 1).expand(1, 3, 3, 2)
    tio.ScalarImage(voxels).to_gif(0, 2, tmp_path / "x.gif")
    assert frames(tmp_path / "x.gif")[0][:, 0, 0].tolist() == [0, 127, 255]


def test_the_whole_takes_the_duration(tmp_path):
    tio.ScalarImage(torch.rand(1, 7, 3, 2)).to_gif(0, 1, tmp_path / "x.gif")
    with PIL.open(tmp_path / "x.gif") as gif:
        each = [(gif.seek(n), gif.info["duration"])[1] for n in range(gif.n_frames)]
    assert sum(each) == 1000
    assert set(each) == {140, 150}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_gif_runs_through_the_channels_of_a_slice(tmp_path, axis):
    """Frames are the slices of GIFs of each channel by itself."""
    x = tio.ScalarImage((torch.rand(5, 4, 6, 3) * 255).byte(), affine=oblique_affine())
    x.to_gif(axis, 1, tmp_path / "x.gif", rescale=False, index=2)
    shown, _ = frames(tmp_path / "x.gif")
    for channel in range(5):
        tio.ScalarImage(x.data[channel][None], affine=x.affine).to_gif(
            axis, 1, tmp_path / "one.gif", rescale=False
        )
        np.testing.assert_array_equal(shown[channel], frames(tmp_path / "one.gif")[0][2])
    x.to_gif(axis, 1, tmp_path / "x.gif", rescale=False, index=2, reverse=True)
    np.testing.assert_array_equal(frames(tmp_path / "x.gif")[0], shown[::-1])
    with pytest.raises(ValueError, match=r"index must be in 0\.\.\d, got 6"):
        x.to_gif(axis, 1, tmp_path / "x.gif", index=6)
    with pytest.raises(ValueError, match="got 5: give index, a slice"):
        x.to_gif(axis, 1, tmp_path / "x.gif")


def test_gifs_that_are_too_fast_are_slowed_down(tmp_path):
    image = tio.ScalarImage(torch.rand(1, 5, 4, 3))
    with pytest.warns(RuntimeWarning, match=r"duration must be at least 0\.05 s for 5 slices"):
        image.to_gif(0, 0.001, tmp_path / "x.gif")
    assert frames(tmp_path / "x.gif")[1]["duration"] == 10


@pytest.mark.parametrize(
    ("channels", "axis", "duration", "message"),
    [
        (1, 3, 1, "axis must be 0, 1 or 2, got 3"),
        (1, 0, 0, "duration must be > 0, got 0"),
        (2, 0, 1, "must have 1 or 3 channels for GIF, got 2"),
    ],
)
def test_impossible_gifs_are_refused(tmp_path, channels, axis, duration, message):
    with pytest.raises(ValueError, match=message):
        tio.ScalarImage(torch.rand(channels, 2, 3, 4)).to_gif(axis, duration, tmp_path / "x.gif")
    assert not list(tmp_path.iterdir())


# PNG and JPEG of fractions, and 2D files


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_fractions_are_saved_with_a_warning(tmp_path, dtype, suffix):
    x = torch.linspace(0, 255, 48, dtype=dtype).view(1, 6, 8, 1)
    with pytest.warns(RuntimeWarning, match=rf"{suffix} holds no fractions: {dtype} is saved"):
        tio.ScalarImage(x).save(tmp_path / f"x{suffix}")
    torchio = pytest.importorskip("torchio")
    with pytest.warns(RuntimeWarning, match="Casting"):
        torchio.ScalarImage(tensor=x.float()).save(tmp_path / f"y{suffix}")
    ours, theirs = (np.asarray(PIL.open(tmp_path / f"{name}{suffix}")) for name in "xy")
    np.testing.assert_array_equal(ours, theirs)


def test_fractions_beyond_bytes_are_clamped(tmp_path):
    x = torch.tensor([-5.0, 3.9, 300, torch.nan, torch.inf, -torch.inf]).view(1, 6, 1, 1)
    with pytest.warns(RuntimeWarning, match="clamped"):
        tio.ScalarImage(x).save(tmp_path / "x.png")
    assert tio.ScalarImage(tmp_path / "x.png").data.flatten().tolist() == [0, 3, 255, 0, 255, 0]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("squeeze", [None, False, True])
def test_slices_are_saved_as_2d_images_on_demand(tmp_path, suffix, squeeze):
    x = flat(dtype=torch.int16)
    x.save(tmp_path / f"x{suffix}", squeeze=squeeze)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(tmp_path / f"x{suffix}"))
    reader.ReadImageInformation()
    assert reader.GetDimension() == (2 if squeeze else 3)
    again = tio.ScalarImage(tmp_path / f"x{suffix}")
    assert torch.equal(again.data, x.data)
    volume = tio.ScalarImage(torch.rand(1, 4, 5, 6))
    volume.save(tmp_path / f"x{suffix}", squeeze=squeeze)
    assert torch.equal(tio.ScalarImage(tmp_path / f"x{suffix}").data, volume.data)


def test_slices_become_2d_images_of_simpleitk():
    x = tio.ScalarImage(torch.rand(1, 6, 8, 1), spacing=(1, 2, 3))
    assert x.as_sitk().GetDimension() == 3
    image = x.as_sitk(force_3d=False)
    assert image.GetSize() == (6, 8)
    assert image.GetSpacing() == (1, 2)
    assert torch.equal(tio.ScalarImage.from_sitk(image).data, x.data)
    with pytest.raises(ValueError, match="across the third axis"):
        tio.ScalarImage(x.data, affine=oblique_affine()).as_sitk(force_3d=False)


# Other programs


@posix
@pytest.mark.parametrize("cls", [tio.ScalarImage, tio.LabelMap])
@pytest.mark.parametrize("how", ["argument", "environment"])
def test_an_image_is_handed_to_a_viewer(tmp_path, monkeypatch, cls, how):
    viewer, seen = tmp_path / "viewer", tmp_path / "seen"
    viewer.write_text(f'#!/bin/sh\ncp "$1" "{seen}.part"\necho "$1" > "{seen}.name"\n'
                      f'mv "{seen}.part" "{seen}.mha"\n')  # fmt: skip
    viewer.chmod(0o755)
    image = cls((torch.rand(1, 4, 5, 6) * 9).to(torch.uint8), affine=oblique_affine())
    if how == "argument":
        image.show(viewer)
    else:
        monkeypatch.setenv("SITK_SHOW_COMMAND", str(viewer))
        image.show()
    for _ in range(200):
        if (tmp_path / "seen.mha").exists():
            break
        time.sleep(0.05)
    name = (tmp_path / "seen.name").read_text().strip()
    assert name.endswith(".seg.nrrd") == (cls is tio.LabelMap)
    kind = ".nrrd" if cls is tio.LabelMap else ".mha"
    (tmp_path / "seen.mha").rename(tmp_path / f"copy{kind}")
    again = cls(tmp_path / f"copy{kind}")
    assert torch.equal(again.data, image.data)
    np.testing.assert_allclose(again.affine, image.affine, atol=1e-9)


def test_a_missing_viewer_is_named(tmp_path, monkeypatch):
    image = tio.ScalarImage(torch.rand(1, 4, 5, 6))
    with pytest.raises(
        RuntimeError, match=r"viewer_path must be a program, there is no '.*nothing"
    ):
        image.show(tmp_path / "nothing")
    monkeypatch.delenv("SITK_SHOW_COMMAND", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match="no program was found that displays images"):
        image.show()
