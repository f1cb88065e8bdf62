"""The patch sections of TorchIO's guides, old and new, with this library's import line.

Data and patches are small; names, arguments and the order of calls are those of the guides.
"""

import pytest
import torch
from torch.utils.data import DataLoader

import torchio_gpu as tio
from tests.volumes import smooth
from torchio_gpu.loader import SubjectsLoader

SHAPE = (40, 44, 36)


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n in range(3):
        t1 = smooth((1, 1, *SHAPE), n)[0].float()
        tio.ScalarImage(t1).save(f"brain{n}.nii.gz")
        tio.LabelMap((t1 > 1).to(torch.uint8)).save(f"seg{n}.nii.gz")


def subject(n=0):
    t1, seg = tio.ScalarImage(f"brain{n}.nii.gz"), tio.LabelMap(f"seg{n}.nii.gz")
    return tio.Subject(t1=t1, seg=seg, label=tio.LabelMap(seg.path))


def criterion(output, labels):
    return torch.nn.functional.binary_cross_entropy_with_logits(output, labels.float())


class TestHowTo:
    """Guide to patches of TorchIO 2."""

    def test_dense_inference(self):
        one = tio.Subject(t1=tio.ScalarImage("brain0.nii.gz"))

        def model(x):
            return 2 * x

        sampler = tio.GridSampler(one, patch_size=16, patch_overlap=8)
        loader = SubjectsLoader(sampler, batch_size=4)
        aggregator = tio.PatchAggregator(
            spatial_shape=one.spatial_shape, overlap_mode="hann", patch_overlap=8
        )
        for batch in loader:
            input_tensor = batch.t1.data
            output = model(input_tensor)
            locations = [batch.metadata["patch_location"][i] for i in range(batch.batch_size)]
            aggregator.add_batch(output, locations)
        result = aggregator.get_output()
        torch.testing.assert_close(result, 2 * one.t1.data)

    def test_training(self):
        model = torch.nn.Conv3d(1, 1, 3, padding=1)
        sampler = tio.UniformSampler(subject(), patch_size=16, num_patches=20)
        loader = SubjectsLoader(sampler, batch_size=8)
        sizes = []
        for batch in loader:
            output = model(batch.t1.data)
            loss = criterion(output, batch.seg.data)
            loss.backward()
            sizes.append(batch.batch_size)
        assert sizes == [8, 8, 4]
        assert model.weight.grad.abs().sum() > 0

    def test_weighted(self):
        one = subject()
        weights = torch.zeros(1, *SHAPE)
        weights[0, 20, 21, 22] = 1
        one.add_image(tio.ScalarImage(weights), "sampling_weights")
        sampler = tio.WeightedSampler(
            one, patch_size=16, probability_map="sampling_weights", num_patches=5
        )
        assert [patch.patch_location.index for patch in sampler] == [(12, 13, 14)] * 5

    def test_labels(self):
        sampler = tio.LabelSampler(
            subject(),
            patch_size=16,
            label_name="seg",
            label_probabilities={0: 0.5, 1: 0.5},
            num_patches=200,
        )
        middle = [patch.seg.data[0, 8, 8, 8].item() for patch in sampler]
        assert 70 < sum(middle) < 130  # 100 and four standard deviations of 7

    def test_downsampled_outputs(self):
        aggregator = tio.PatchAggregator(
            spatial_shape=(32, 32, 24), output_shape=(16, 16, 12), overlap_mode="average"
        )
        one = tio.Subject(t1=tio.ScalarImage(torch.rand(1, 32, 32, 24)))
        for batch in SubjectsLoader(tio.GridSampler(one, 8, 4), batch_size=4):
            output = torch.nn.functional.avg_pool3d(batch.t1.data, 2)
            aggregator.add_batch(output, batch.patch_location)
        expected = torch.nn.functional.avg_pool3d(one.t1.data, 2)
        torch.testing.assert_close(aggregator.get_output(), expected)

    def test_several_outputs(self):
        aggregator = tio.PatchAggregator((16, 16, 16), patch_overlap=4)
        one = tio.Subject(t1=tio.ScalarImage(torch.rand(1, 16, 16, 16)))
        for batch in SubjectsLoader(tio.GridSampler(one, 8, 4), batch_size=4):
            seg_output, emb_output = batch.t1.data > 0.5, batch.t1.data.expand(-1, 3, -1, -1, -1)
            aggregator.add_batch(
                {"segmentation": seg_output, "embedding": emb_output}, batch.patch_location
            )
        assert torch.equal(aggregator.get_output("segmentation"), one.t1.data > 0.5)
        assert torch.equal(aggregator.get_output("embedding"), one.t1.data.expand(3, -1, -1, -1))


class TestReference:
    """Examples of the reference of classes."""

    def test_grid(self):
        one = subject()
        sampler = tio.GridSampler(one, patch_size=16, patch_overlap=8)
        loader = DataLoader(sampler, batch_size=4)
        aggregator = tio.PatchAggregator(one.spatial_shape, overlap_mode="hann")
        for batch in loader:
            aggregator.add_batch(batch.t1.data, batch.patch_location)
        torch.testing.assert_close(aggregator.get_output(), one.t1.data)

    def test_uniform(self):
        sampler = tio.UniformSampler(subject(), patch_size=16, num_patches=10)
        loader = DataLoader(sampler, batch_size=8)
        assert [batch.batch_size for batch in loader] == [8, 2]

    def test_queue(self):
        subjects = [subject(n) for n in range(3)]
        queue = tio.Queue(
            subjects,
            patch_sampler=tio.UniformSampler(subjects[0], patch_size=16),
            max_length=30,
            patches_per_volume=10,
            num_workers=4,
        )
        loader = SubjectsLoader(queue, batch_size=16)
        assert [tuple(batch.t1.data.shape) for batch in loader] == [
            (16, 1, 16, 16, 16),
            (14, 1, 16, 16, 16),
        ]
        assert (queue.num_subjects, queue.patches_per_epoch) == (3, 30)
        assert queue.max_memory == 30 * 16**3 * (4 + 1 + 1)
        assert queue.max_memory_pretty == "720.0 KiB"

    def test_location(self):
        location = tio.PatchLocation(index=(2, 4, 6), size=(8, 8, 4), subject_index=3)
        assert location.index_ini == (2, 4, 6)
        assert location.index_fin == (10, 12, 10)
        assert torch.rand(16, 16, 16)[location.to_slices()].shape == (8, 8, 4)
        assert location.scaled(0.5) == tio.PatchLocation((1, 2, 3), (4, 4, 2), 3)


class TestUserGuide:
    """Sections on patches of the user guide of TorchIO 1."""

    def test_grid_sampler(self, capsys):
        one = subject()
        grid_sampler = tio.GridSampler(subject=one, patch_size=16, patch_overlap=8)
        print(f"Number of patches: {len(grid_sampler)}")
        for i, patch in enumerate(grid_sampler):
            if i < 3:
                print(f"Patch {i}: {patch.t1.shape}, Location: {patch[tio.LOCATION]}")
        aggregator = tio.GridAggregator(grid_sampler)
        for patch in grid_sampler:
            prediction = patch.t1.data
            aggregator.add_batch(prediction, patch[tio.LOCATION])
        output_tensor = aggregator.get_output_tensor()
        assert torch.equal(output_tensor, one.t1.data)
        assert capsys.readouterr().out.splitlines()[:2] == [
            "Number of patches: 80",
            "Patch 0: (1, 16, 16, 16), Location: tensor([ 0,  0,  0, 16, 16, 16])",
        ]

    def test_uniform_sampler(self):
        uniform_sampler = tio.UniformSampler(patch_size=16)
        places = {uniform_sampler(subject()).patch_location for _ in range(10)}
        assert len(places) > 5

    def test_weighted_sampler(self):
        weighted_sampler = tio.WeightedSampler(patch_size=16, probability_map="label")
        for _ in range(10):
            patch = weighted_sampler(subject())
            assert (patch.label.data > 0).sum() > 0
            assert patch.label.data[0, 8, 8, 8] > 0

    def test_queue(self):
        transforms = tio.Compose([tio.RandomAffine(), tio.RandomNoise()])
        subjects_dataset = tio.SubjectsDataset([subject(n) for n in range(3)], transform=transforms)
        patches_queue = tio.Queue(
            subjects_dataset=subjects_dataset,
            max_length=30,
            samples_per_volume=10,
            sampler=tio.UniformSampler(patch_size=16),
            num_workers=4,
            shuffle_subjects=True,
            shuffle_patches=True,
        )
        assert len(patches_queue) == 30
        for i, patch in enumerate(patches_queue):
            if i >= 5:
                break
            assert patch.t1.shape == (1, 16, 16, 16)

    def test_training(self):
        preprocessing = tio.Compose(
            [tio.Resample(1.0), tio.CropOrPad((32, 32, 32)), tio.ZNormalization()]
        )
        augmentation = tio.Compose(
            [
                tio.RandomAffine(scales=(0.9, 1.1), degrees=10, p=0.75),
                tio.RandomElasticDeformation(p=0.5, max_displacement=1),
                tio.RandomBiasField(p=0.5),
                tio.RandomNoise(std=(0, 0.05), p=0.5),
            ]
        )
        train_transform = tio.Compose([preprocessing, augmentation])
        train_queue = tio.Queue(
            subjects_dataset=tio.SubjectsDataset(
                [subject(n) for n in range(3)], transform=train_transform
            ),
            max_length=50,
            samples_per_volume=5,
            sampler=tio.UniformSampler(patch_size=16),
            num_workers=4,
            shuffle_subjects=True,
            shuffle_patches=True,
        )
        train_loader = DataLoader(train_queue, batch_size=8)
        model = torch.nn.Conv3d(1, 2, kernel_size=3, padding=1)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        batches = 0
        for batch in train_loader:
            inputs = batch["t1"][tio.DATA]
            targets = batch["label"][tio.DATA].long()
            outputs = model(inputs)
            loss = torch.nn.functional.cross_entropy(outputs, targets.squeeze(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            batches += 1
        assert batches == 2

    def test_small_queue(self):
        small_patch_sampler = tio.UniformSampler(patch_size=8)
        small_queue = tio.Queue(
            subjects_dataset=tio.SubjectsDataset([subject()]),
            max_length=20,
            samples_per_volume=5,
            sampler=small_patch_sampler,
        )
        assert len(list(small_queue)) == 5
