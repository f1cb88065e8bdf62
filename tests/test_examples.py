"""Examples, on small volumes."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch

import torchio_gpu as tio

EXAMPLES = Path(__file__).parents[1] / "examples"
AIR, GREY, WHITE, FLUID = range(4)
SEED = 2  # of two samples whose contrasts happen to differ much


@pytest.fixture(scope="module")
def synthseg():
    """Module of the example, which is in no package."""
    spec = spec_from_file_location("synthseg", EXAMPLES / "synthseg.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def head() -> tio.Subject:
    """Nested boxes at 4 mm, and an image whose intensity is the label."""
    labels = torch.zeros(1, 24, 24, 24, dtype=torch.uint8)
    for margin, label in ((3, GREY), (6, WHITE), (9, FLUID)):
        labels[:, margin:-margin, margin:-margin, margin:-margin] = label
    affine = np.diag((4.0, 4, 4, 1))
    seg = tio.LabelMap(labels, affine=affine)
    return tio.Subject(t1=tio.ScalarImage(labels.float(), affine=affine), seg=seg)


@pytest.fixture(scope="module")
def batch(head) -> tio.SubjectsBatch:
    return tio.SubjectsBatch.from_subjects([head] * 2)


@pytest.fixture(scope="module")
def result(synthseg, batch) -> tio.SubjectsBatch:
    torch.manual_seed(SEED)
    return synthseg.synthesis()(batch)


def mean_of_labels(batch: tio.SubjectsBatch, name: str) -> torch.Tensor:
    """Mean intensity of each sample's labels, [B, 4]."""
    image, seg = batch[name].data, batch.seg.data
    means = [
        torch.stack([image[n][seg[n] == label].mean() for label in range(4)])
        for n in range(len(image))
    ]
    return torch.stack(means)


def test_a_new_image_is_made_and_the_others_are_kept(result, batch):
    assert set(result.get_images_dict(intensity_only=False)) == {"t1", "seg", "synthetic"}
    synthetic = result.synthetic.data
    assert synthetic.dtype == torch.float32
    assert synthetic.shape == batch.t1.data.shape
    assert synthetic.isfinite().all()
    assert synthetic.amax((1, 2, 3, 4)).tolist() == [1, 1]
    assert "synthetic" not in batch


def test_labels_move_with_the_images(result, batch):
    moved = result.seg.data
    assert moved.dtype == batch.seg.data.dtype
    assert set(moved.unique().tolist()) == {AIR, GREY, WHITE, FLUID}
    for before, after in zip(batch.seg.data, moved, strict=True):
        assert (before != after).float().mean() > 0.05
    assert (moved[0] != moved[1]).any(), "each sample has a deformation of its own"
    # The image whose intensity is the label still shows it, but where interpolation cuts the
    # corners of boxes: it was sampled at the same places, and has no flaws.
    wrong = (result.t1.data.round() != moved).float().mean()
    assert wrong < 0.02  # 0.003 here; 0.05 if only the labels miss the elastic deformation


def test_tissues_have_random_contrasts(result):
    means = mean_of_labels(result, "synthetic")  # [B, 4]
    tissue = means[:, 1:]
    assert (means[:, AIR] < tissue.amin(1)).all(), "air is darkest"
    assert ((tissue.amax(1) - tissue.amin(1)) > 0.1).all()
    share = tissue / tissue.sum(1, keepdim=True)
    assert (share[0] - share[1]).abs().max() > 0.05, "samples differ in contrast"


def test_the_result_is_a_function_of_the_seed(synthseg, result, batch):
    torch.manual_seed(SEED)
    again = synthseg.synthesis()(batch)
    other = synthseg.synthesis()(batch)
    for name in ("t1", "seg", "synthetic"):
        assert torch.equal(again[name].data, result[name].data)
        assert not torch.equal(other[name].data, result[name].data)


def test_spatial_transforms_share_a_pass(synthseg):
    passes = synthseg.synthesis().explain().splitlines()
    assert passes[0].startswith("spatial: RandomAffine -> RandomElasticDeformation  (")
    assert [line.split(":")[0] for line in passes].count("spatial") == 2


def test_a_picture_is_saved(synthseg, head, tmp_path, monkeypatch):
    from matplotlib.image import imread

    output = tmp_path / "synthetic.png"
    monkeypatch.setattr(synthseg, "brain", lambda: head)
    monkeypatch.setattr("sys.argv", ["synthseg.py", str(output)])
    with torch.random.fork_rng(devices=[]):
        synthseg.main()
    pixels = imread(output)[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert (pixels > 0.3).any(-1).mean() > 0.1
