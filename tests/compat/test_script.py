"""A script for TorchIO 1 runs under both imports, with equal results."""

import importlib
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

pytest.importorskip("torchio")


def script(library, folder):
    """Run a script of TorchIO 1 and return what it saw: shapes, affines, voxels, names."""
    tio = importlib.import_module(library)
    augmentation = importlib.import_module(f"{library}.transforms.augmentation")
    seen = {}

    class Invert(tio.IntensityTransform):
        def apply_transform(self, subject):
            for image in self.get_images(subject):
                image.set_data(image.data.max() - image.data)
            return subject

    class RandomShift(augmentation.RandomTransform, tio.SpatialTransform):
        def __init__(self, largest, **kwargs):
            super().__init__(**kwargs)
            self.largest = largest

        def apply_transform(self, subject):
            shift = torch.randint(1, self.largest, (1,)).item()
            return tio.Affine(scales=1, degrees=0, translation=(shift, 0, 0))(subject)

    subjects = []
    for number in range(4):
        subject = tio.Subject(
            t1=tio.ScalarImage(folder / f"t1_{number}.nii.gz"),
            seg=tio.LabelMap(folder / f"seg_{number}.nii.gz"),
            age=40 + number,
            name=f"Jo{number}",
        )
        subjects.append(subject)
    paths = [subject.t1.path for subject in subjects]
    landmarks = tio.HistogramStandardization.train(paths, progress=False)
    seen["landmarks"] = landmarks[:1], landmarks[-1:]
    preprocess = tio.Compose(
        [
            tio.ToCanonical(),
            tio.Resample(1.25),
            tio.CropOrPad((12, 12, 12), mask_name="seg"),
            tio.ZNormalization(masking_method=tio.ZNormalization.mean),
            tio.Lambda(lambda x: x.float() * 2, types_to_apply=[tio.INTENSITY]),
            Invert(include=["t1"]),
        ]
    )
    dataset = tio.SubjectsDataset(subjects, transform=preprocess)
    first = dataset[0]
    seen["prepared"] = first.t1.data, first.seg.data, first.t1.affine, first.spatial_shape
    standard = tio.HistogramStandardization({"t1": landmarks})(subjects[0])
    seen["standard"] = standard.t1.shape, len(standard), sorted(standard.keys())
    seen["slices"] = first[2:5, :, 4:]["t1"].data, first[:, 4:10]["seg"].affine, first.t1[3].data
    seen["items"] = [key for key, _ in first.items()], first["age"], "t1" in first, first.t1["stem"]
    augment = tio.OneOf({tio.RandomNoise(std=(0.1, 0.2)): 0.5, RandomShift(4): 0.5})
    augmented = augment(first)
    applied = augmented.get_applied_transforms()
    repeated = augmented.get_composed_history()(subjects[0])
    seen["augmented"] = augmented.t1.shape, augmented.t1.affine, len(applied) >= 1, repeated.shape
    first.clear_history()
    flipped = tio.Compose([tio.Flip(axes=(0, 2)), tio.Crop(1)])(first)
    undone = flipped.apply_inverse_transform(warn=False)
    seen["undone"] = flipped.t1.data, undone.t1.data, undone.seg.affine, len(undone.history)
    loader = DataLoader(dataset, batch_size=2, collate_fn=tio.utils.history_collate)
    batch = tio.utils.get_first_item(loader)
    seen["batch"] = batch["t1"][tio.DATA], batch["seg"][tio.AFFINE], batch["age"], batch["name"]
    restored = tio.utils.get_subjects_from_batch(batch)
    tio.utils.add_images_from_batch(restored, batch["t1"][tio.DATA] > 0, tio.LabelMap)
    seen["restored"] = restored[1].prediction.data, restored[1].prediction.affine, restored[1].age
    queue = tio.Queue(
        dataset, max_length=8, samples_per_volume=2, sampler=tio.data.UniformSampler(6),
        num_workers=0, shuffle_subjects=False,
    )  # fmt: skip
    patches = [patch["t1"][tio.DATA].shape for patch in DataLoader(queue, batch_size=4)]
    seen["queue"] = patches, len(queue), queue.num_subjects
    sampler = tio.inference.GridSampler(first, patch_size=6, patch_overlap=2)
    aggregator = tio.inference.GridAggregator(sampler, overlap_mode="hann")
    for patch_batch in DataLoader(sampler, batch_size=3):
        output = patch_batch["t1"][tio.DATA] * 3 + 1
        aggregator.add_batch(output, patch_batch[tio.LOCATION])
    seen["aggregated"] = aggregator.get_output_tensor(), len(sampler)
    return seen


def equal(a, b):
    """Assert that what two scripts saw is equal."""
    if isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            equal(one, other)
    elif isinstance(a, (torch.Tensor, np.ndarray)):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-4)
    else:
        assert a == b


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subjects")
    tio = importlib.import_module("torchio_gpu")
    generator = torch.Generator().manual_seed(0)
    affine = np.diag([-1.0, 1, 1.5, 1]) + np.array([[0] * 3 + [5]] * 3 + [[0] * 4])
    for number in range(4):
        x = torch.rand(1, 20, 25, 15, generator=generator)
        x = 100 * torch.nn.functional.avg_pool3d(x[None], 5, 1, 2)[0]
        tio.ScalarImage(tensor=x, affine=affine).save(folder / f"t1_{number}.nii.gz")
        labels = torch.zeros(1, 20, 25, 15, dtype=torch.uint8)
        labels[:, 5:13, 6:20, 3:11] = 1 + number % 2
        tio.LabelMap(tensor=labels, affine=affine).save(folder / f"seg_{number}.nii.gz")
    results = []
    for library in ("torchio", "torchio_gpu"):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchIO warns of its own deprecated calls
            results.append(script(library, folder))
    return results


KEYS = (
    *("landmarks", "prepared", "standard", "slices", "items", "augmented", "undone", "batch"),
    *("restored", "queue", "aggregated"),
)


@pytest.mark.parametrize("key", KEYS)
def test_a_script_sees_the_same_under_both_imports(both, key):
    old, new = both
    assert set(old) == set(new) == set(KEYS)
    equal(old[key], new[key])
