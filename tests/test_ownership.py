"""In-place functions and writes to results do not change stored voxels."""

import copy

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import torchio_gpu as tio
from torchio_gpu.transforms.parameters.params import Params


def subject_of_ones() -> tio.Subject:
    ones = torch.ones(1, 16, 16, 16)
    return tio.Subject(t1=tio.ScalarImage(ones), seg=tio.LabelMap(ones.byte()))


def double(subject):
    subject.t1.data.mul_(2)
    subject.seg.data.mul_(2)
    return subject


def double_all(batches):
    for batch in batches:
        double(batch)


PATCH = (8, 16, 16)  # neighbours in memory: a view of it would be contiguous
SAMPLERS = {
    "uniform": tio.UniformSampler(PATCH),
    "whole": tio.UniformSampler(16),
    "weighted": tio.WeightedSampler(PATCH, "t1"),
    "label": tio.LabelSampler(PATCH, "seg"),
}
WRITERS = {
    "item": lambda s: double(tio.SubjectsDataset([s])[0]),
    "transform": lambda s: tio.SubjectsDataset([s], double)[0],
    "loader of one": lambda s: double_all(tio.SubjectsLoader(tio.SubjectsDataset([s]))),
    "loader of two": lambda s: double_all(
        tio.SubjectsLoader(tio.SubjectsDataset([s] * 2), batch_size=2)
    ),
    "torch's loader": lambda s: double_all(DataLoader(tio.SubjectsDataset([s]))),
    "loader with a function": lambda s: list(tio.SubjectsLoader(tio.SubjectsDataset([s], double))),
    "batch of one": lambda s: double(tio.SubjectsBatch.from_subjects([s])),
    "images of one": lambda s: tio.ImagesBatch.from_images([s.t1]).data.mul_(2),
    "Lambda": lambda s: tio.Lambda(lambda v: v.mul_(2))(s),
    "Lambda, batched": lambda s: tio.Lambda(lambda v: v.mul_(2), batched=True)(s),
    "Lambda in a pipeline": lambda s: tio.Compose(
        [tio.RandomNoise(p=0), tio.Lambda(lambda v: v.mul_(2))]
    )(s),
    "masking method": lambda s: tio.Mask(lambda v: v.mul_(2) > 0)(s),
    "masking method of statistics": lambda s: tio.RescaleIntensity(
        masking_method=lambda v: v.mul_(2) > -1
    )(s),
    "queue": lambda s: double_all(
        tio.Queue(tio.SubjectsDataset([s]), 4, 2, tio.UniformSampler(PATCH), num_workers=0)
    ),
    "queue with a function": lambda s: list(
        tio.Queue(
            tio.SubjectsDataset([s]), 4, 2, tio.UniformSampler(PATCH), transform=double
        )
    ),
    "device queue": lambda s: double_all(
        tio.DeviceQueue([s], tio.UniformSampler(PATCH), device="cpu")
    ),
    "grid": lambda s: double(tio.GridSampler(s, PATCH)[0]),
    "grid of one patch": lambda s: double(tio.GridSampler(s, 16)[0]),
    "crop": lambda s: double(tio.Crop((4, 0, 0, 0, 0, 0))(s)),
    **{
        f"{name} sampler": lambda s, sampler=sampler: double(sampler(s))
        for name, sampler in SAMPLERS.items()
    },
    **{
        f"{name} sampler, several": lambda s, sampler=sampler: double_all(sampler(s, 2))
        for name, sampler in SAMPLERS.items()
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*are all the same")
@pytest.mark.parametrize("name", WRITERS)
def test_writing_to_a_result_does_not_change_stored_voxels(name):
    subject = subject_of_ones()
    before = [image.data.data_ptr() for image in subject.get_images(intensity_only=False)]
    WRITERS[name](subject)
    assert (subject.t1.data == 1).all()
    assert (subject.seg.data == 1).all()
    assert [i.data.data_ptr() for i in subject.get_images(intensity_only=False)] == before


def test_in_place_functions_see_the_same_voxels_at_every_read():
    dataset = tio.SubjectsDataset([subject_of_ones()], double)
    assert [dataset[0].t1.data.mean().item() for _ in range(3)] == [2, 2, 2]


def test_an_affine_that_is_written_to_is_of_one_image():
    image = tio.ScalarImage(torch.ones(1, 4, 4, 4))
    subject = tio.Subject(t1=image)
    out = tio.RandomNoise()(subject)
    batch = tio.SubjectsBatch.from_subjects([subject])
    others = (image, copy.copy(image), tio.ScalarImage(image), batch.unbatch()[0].t1, out.t1)
    for n, one in enumerate(others):
        one.affine[0, 3] = 7 + n
    assert [one.affine[0, 3] for one in others] == [7, 8, 9, 10, 11]
    assert [one.origin[0] for one in others] == [7, 8, 9, 10, 11]
    assert batch.t1.affine[0, 0, 3] == 0
    image.affine = np.diag([2.0, 2, 2, 1])
    assert image.spacing == (2, 2, 2)


def test_an_affine_of_a_file_that_is_written_to_is_kept(tmp_path):
    tio.ScalarImage(torch.rand(1, 4, 4, 4)).save(tmp_path / "x.nii")
    image = tio.ScalarImage(tmp_path / "x.nii")
    image.affine[0, 3] = 7
    image.load()
    assert image.affine[0, 3] == 7
    assert image[1:].affine[0, 3] == 8
    image.unload()
    assert image.affine[0, 3] == 0


def test_library_transforms_receive_voxels_without_a_copy():
    """No copy is made for transforms that do not write to their input."""
    seen = []

    noise = tio.RandomNoise()
    noise.register_forward_pre_hook(lambda _, given: seen.append(given[0].t1.data.data_ptr()))
    subject = subject_of_ones()
    tio.SubjectsDataset([subject], noise)[0]
    assert seen == [subject.t1.data.data_ptr()]
    list(tio.SubjectsLoader(tio.SubjectsDataset([subject] * 2, noise), batch_size=2))
    assert set(seen) == {subject.t1.data.data_ptr()}


def test_attribute_and_item_access_to_a_batch_agree():
    batch = tio.SubjectsBatch.from_subjects([subject_of_ones(), subject_of_ones()])
    other = tio.ImagesBatch(torch.zeros(2, 1, 16, 16, 16))
    batch.t1 = other
    assert batch["t1"] is batch.t1 is batch.images["t1"] is other
    assert (tio.Lambda(lambda v: v + 1)(batch).t1.data == 1).all()
    batch["t2"] = other
    assert batch.t2 is batch["t2"] is other
    batch["age"] = [1, 2]
    batch.age = [3, 4]
    assert batch.metadata["age"] == [3, 4]
    assert batch.age.tolist() == batch["age"].tolist() == [3, 4]
    with pytest.raises(TypeError, match="'t1' must be an ImagesBatch, got Tensor"):
        batch.t1 = torch.zeros(2, 1, 4, 4, 4)
    with pytest.raises(ValueError, match="must have the 2 samples of the batch, got 3"):
        batch.t1 = tio.ImagesBatch(torch.zeros(3, 1, 4, 4, 4))


def no_op_transforms():
    """Return transforms that may return their input."""
    return {
        "none": None,
        "p": tio.RandomNoise(std=(1, 1), p=0.0),
        "Compose": tio.Compose([]),
        "RandomFlip": tio.RandomFlip(flip_probability=0),
        "ToCanonical": tio.ToCanonical(),
        "CropOrPad": tio.CropOrPad(4),
        "OneOf": tio.OneOf([tio.RandomNoise()], p=0),
        "Writing": InPlaceTransform(),
    }


class InPlaceTransform(tio.VolumeTransform):
    """User-defined transform that writes to its input."""

    def draw(self, context, u):
        return Params()

    def voxels(self, images, name, params):
        return images[name].data.add_(1)


@pytest.mark.parametrize("name", no_op_transforms())
def test_writing_to_samples_does_not_change_the_dataset(name):
    ones = torch.ones(1, 4, 4, 4)
    dataset = tio.SubjectsDataset(
        [tio.Subject(t1=tio.ScalarImage(ones))] * 2, no_op_transforms()[name]
    )
    for _ in range(2):
        dataset[0].t1.data.sub_(7)
    for batch in tio.SubjectsLoader(dataset, batch_size=1, collate_fn=list):
        batch[0].t1.data.sub_(7)
    for batch in tio.SubjectsLoader(dataset, batch_size=1):
        batch.t1.data.sub_(7)
    assert (ones == 1).all()


def test_values_of_a_batch_hold_one_value_per_sample():
    batch = tio.SubjectsBatch.from_subjects([subject_of_ones()] * 2)
    batch.age = [40, 50]
    assert [s.age for s in batch.unbatch()] == batch["age"].tolist() == [40, 50]
    with pytest.raises(ValueError, match="'age' must hold one value for each of 2 samples, got 5"):
        batch.age = 5
