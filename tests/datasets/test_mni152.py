"""MNI152 brain: values of nilearn's files, at their world coordinates."""

import nibabel
import numpy as np
import pytest
import torch

import torchio_gpu as tio
from torchio_gpu.datasets import mni, mni152


@pytest.fixture(scope="module")
def brain() -> tio.Subject:
    return mni152()


def test_images_equal_the_files(brain):
    folder = mni._folder()
    for name, file in (("t1", "t1"), ("grey", "gm"), ("white", "wm")):
        oracle = nibabel.load(folder / f"mni_icbm152_{file}_tal_nlin_sym_09a_converted.nii.gz")
        image = brain[name]
        assert image.shape == (1, 197, 233, 189)
        assert image.data.dtype == torch.float32
        assert np.array_equal(image.affine, oracle.affine)
        # One division in float32.
        assert np.allclose(image.numpy()[0], np.asarray(oracle.dataobj) / 255, rtol=1e-6, atol=0)
        assert 0 <= image.data.min() < image.data.max() == 1


def test_labels_are_the_most_probable_tissue(brain):
    assert isinstance(brain.seg, tio.LabelMap)
    assert brain.seg.data.dtype == torch.uint8
    brain.check_consistent_space()
    step = (slice(None), slice(None, None, 5), slice(None, None, 5), slice(None, None, 5))
    grey, white = brain.grey.data[step], brain.white.data[step]
    oracle = torch.cat([1 - grey - white, grey, white]).argmax(0, keepdim=True)
    assert torch.equal(brain.seg.data[step].long(), oracle)
    assert torch.equal(oracle.unique(), torch.tensor([0, 1, 2]))


@pytest.mark.parametrize(
    ("place", "label", "where"),
    [
        ("corpus callosum", 2, (0, 26, 8)),
        ("white matter, right", 2, (26, -30, 30)),
        ("caudate nucleus, left", 1, (-12, 14, 8)),
        ("lateral ventricle, right", 0, (12, -34, 16)),
        ("beyond the skull", 0, (0, -128, 0)),
    ],
)
def test_anatomy_lies_at_its_mni_coordinates(brain, place, label, where):
    i, j, k, _ = np.linalg.solve(brain.seg.affine, [*where, 1]).round().astype(int)
    assert brain.seg.data[0, i, j, k] == label, place


def test_without_nilearn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(mni, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "torchio-gpu\[demo\]"'):
        mni152()
