"""Transforms in MONAI's Compose: seeds, traces, inverses, modes; and forgotten label_keys."""

import pickle

import numpy as np
import pytest
import torch
from monai import transforms as mt
from monai.bundle import ConfigParser
from monai.data import (
    CacheDataset,
    DataLoader,
    Dataset,
    MetaTensor,
    PersistentDataset,
    decollate_batch,
    list_data_collate,
)

import torchio_gpu as tio
from torchio_gpu.adapters.monai import adapt
from torchio_gpu.transforms import convert

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
AFFINE = np.diag([-2.0, 2, 2, 1])
KEYS, MODES = ("t1", "seg"), ("bilinear", "nearest")


def sample(seed=0, shape=(12, 13, 14)):
    generator = torch.Generator().manual_seed(seed)
    t1 = torch.rand(1, *shape, generator=generator)
    seg = (torch.rand(1, *shape, generator=generator) > 0.5).float() * 3
    affine = torch.from_numpy(AFFINE)
    return {
        "t1": MetaTensor(t1, affine=affine, meta={"patient": seed}),
        "seg": MetaTensor(seg, affine=affine),
        "number": seed,
    }


def spacing(size=1.0):
    return mt.Spacingd(KEYS, (size,) * 3, mode=MODES)


def moving():
    return tio.Compose([tio.RandomFlip("LR", p=1), tio.RandomAffine(), tio.Crop(1)])


class TestCompose:
    def test_equals_ours_with_geometry_and_metadata(self):
        x = sample()
        for ours in (tio.Affine(degrees=(5, 10, 15)), tio.Resample(1.5), tio.ToCanonical()):
            out = mt.Compose([adapt(ours, KEYS, MODES)])(x)
            subject = tio.Subject(
                t1=tio.ScalarImage(x["t1"].as_tensor(), affine=AFFINE),
                seg=tio.LabelMap(x["seg"].as_tensor(), affine=AFFINE),
            )
            expected = ours(subject)
            for key in KEYS:
                assert type(out[key]) is MetaTensor
                torch.testing.assert_close(out[key].as_tensor(), expected[key].data)
                np.testing.assert_allclose(out[key].affine.numpy(), expected[key].affine)
            assert out["t1"].meta["patient"] == out["number"] == 0
        assert len(x["t1"].applied_operations) == 0

    def test_follows_its_random_state(self):
        chain = mt.Compose([adapt(moving(), KEYS, MODES)])
        outs = [chain.set_random_state(seed)(sample())["t1"] for seed in (1, 1, 2)]
        assert torch.equal(outs[0], outs[1])
        assert not torch.equal(outs[0], outs[2])
        assert not torch.equal(chain(sample())["t1"], outs[2])
        alone = adapt(moving(), KEYS, MODES)  # whose random state nobody set
        torch.manual_seed(3)
        first = alone(sample())["t1"]
        torch.manual_seed(3)
        assert torch.equal(alone(sample())["t1"], first)
        assert not torch.equal(alone(sample())["t1"], first)
        with tio.random.use_seed(5):
            seeded = alone(sample())["t1"]
        with tio.random.use_seed(5):
            expected = moving()({"t1": sample()["t1"]})["t1"]
        assert torch.equal(seeded, expected)

    def test_is_flattened_and_pickled(self):
        chain = mt.Compose([spacing(), mt.Compose([adapt(moving(), KEYS, MODES)])])
        assert len(chain.flatten()) == 2
        chain.set_random_state(4)
        again = pickle.loads(pickle.dumps(chain))
        assert torch.equal(chain(sample())["t1"], again(sample())["t1"])

    @pytest.mark.parametrize("lazy", [True, False])
    def test_carries_out_what_is_pending_before(self, lazy):
        ours = adapt(tio.Crop(2), KEYS, MODES)
        chain = mt.Compose([spacing(), mt.Flipd(KEYS, 0), ours, mt.Flipd(KEYS, 1)], lazy=lazy)
        out = chain(sample())
        expected = mt.Compose([spacing(), mt.Flipd(KEYS, 0)])(sample())["t1"]
        expected = mt.Flip(1)(tio.Crop(2)(expected))
        torch.testing.assert_close(out["t1"].as_tensor(), expected.as_tensor())
        assert len(out["t1"].applied_operations) == 4
        assert out["t1"].applied_operations[2]["class"] == "DictTransform"
        pending = mt.Flipd(KEYS, 0, lazy=True)(sample())
        assert pending["t1"].pending_operations
        direct = ours(pending)["t1"]
        assert torch.equal(direct.as_tensor(), sample()["t1"].flip(1)[:, 2:-2, 2:-2, 2:-2])

    def test_images_with_one_mode_and_label_maps_with_nearest(self):
        labels = adapt(tio.RandomAffine(), KEYS, MODES)(sample())["seg"]
        assert labels.unique().tolist() == [0, 3]
        bent = adapt(tio.RandomAffine(), KEYS, mode=1)(sample())["seg"]
        assert len(bent.unique()) > 2
        ours = tio.Compose([tio.Affine(degrees=20), tio.Gamma(2.0)])
        outs = [adapt(ours, "t1", mode)(sample())["t1"] for mode in ("bilinear", "bspline")]
        assert not torch.equal(*outs)
        spline = tio.Compose(
            [tio.Affine(degrees=20, image_interpolation="bspline"), tio.Gamma(2.0)]
        )
        assert torch.equal(outs[1], spline({"t1": sample()["t1"]})["t1"])
        assert ours[0].image_interpolation == "linear"
        out = adapt(tio.Gamma(2.0), KEYS, MODES)(sample())
        assert torch.equal(out["seg"], sample()["seg"])

    def test_label_keys_of_the_transform(self):
        out = adapt(tio.RandomAffine(label_keys=["seg", "other"]), KEYS)(sample())
        assert out["seg"].unique().tolist() == [0, 3]

    @pytest.mark.parametrize(
        ("mode", "message"),
        [
            ("bicubic", "mode must be one of .*, got 'bicubic'"),
            (("bilinear",), "one for each of 2"),
            (("bilinear", "bspline"), "the same for all images"),
        ],
    )
    def test_modes_that_are_wrong(self, mode, message):
        with pytest.raises(ValueError, match=message):
            adapt(tio.RandomAffine(), KEYS, mode)
        with pytest.raises(TypeError, match="transform must be a transform of torchio_gpu"):
            adapt(mt.Flipd(KEYS, 0), KEYS)

    def test_missing_keys(self):
        ours = adapt(tio.Flip(0), (*KEYS, "t2"), (*MODES, "bilinear"), allow_missing_keys=True)
        assert torch.equal(ours(sample())["t1"], sample()["t1"].flip(1))
        assert ours({"number": 3}) == {"number": 3}
        with pytest.raises(KeyError, match="t2"):
            adapt(tio.Flip(0), "t2")(sample())

    def test_images_that_the_transform_adds(self):
        ours = adapt(tio.Blur(2, keep={"t1": "sharp"}), KEYS, MODES)
        out = ours(sample())
        assert torch.equal(out["sharp"], sample()["t1"])
        assert not torch.equal(out["t1"], sample()["t1"])

    def test_lists_of_samples(self):
        crop = mt.RandCropByPosNegLabeld(KEYS, "seg", (8, 8, 8), num_samples=3)
        ours = adapt(tio.Compose([tio.RandomFlip((0, 1, 2)), tio.RandomNoise()]), KEYS, MODES)
        chain = mt.Compose([crop, ours]).set_random_state(0)
        items = chain(sample())
        assert [item["t1"].shape for item in items] == [(1, 8, 8, 8)] * 3
        noise = [item["t1"] - mt.Compose([ours]).inverse(item)["t1"] for item in items]
        assert not torch.equal(noise[0], noise[1])

    @pytest.mark.parametrize("cls", [mt.OneOf, mt.RandomOrder, mt.SomeOf])
    def test_choices_of_monai(self, cls):
        ours = [adapt(t, KEYS, MODES) for t in (tio.Flip(0), tio.Crop(2), tio.Pad(1))]
        chain = mt.Compose([cls([*ours, mt.Flipd(KEYS, 1)])])
        for seed in range(4):
            back = chain.inverse(chain.set_random_state(seed)(sample()))
            inner = (slice(None), *[slice(2, -2)] * 3)
            assert torch.equal(back["t1"].as_tensor()[inner], sample()["t1"].as_tensor()[inner])

    def test_plain_tensors_become_meta_tensors(self):
        ours = adapt(tio.Crop(2), "x", "bilinear")
        given = torch.rand(1, 8, 8, 8)
        for x in (given, given.numpy()):
            out = ours({"x": x})
            assert type(out["x"]) is MetaTensor
            assert out["x"].affine[:3, 3].tolist() == [2, 2, 2]
            assert torch.equal(ours.inverse(out)["x"][:, 2:-2, 2:-2, 2:-2], out["x"])

    def test_built_by_a_bundle(self):
        parser = ConfigParser(
            {
                "augment": {"_target_": "torchio_gpu.RandomAffine", "degrees": 10},
                "chain": {
                    "_target_": "Compose",
                    "transforms": [
                        {"_target_": "Flipd", "keys": "t1", "spatial_axis": 0},
                        {
                            "_target_": "torchio_gpu.adapters.monai.adapt",
                            "transform": "@augment",
                            "keys": ["t1", "seg"],
                            "mode": ["bilinear", "nearest"],
                        },
                    ],
                },
            }
        )
        assert isinstance(parser.get_parsed_content("augment"), tio.RandomAffine)
        chain = parser.get_parsed_content("chain")
        assert chain.inverse(chain(sample()))["t1"].shape == (1, 12, 13, 14)


class TestInverse:
    def test_equals_that_of_a_subject(self):
        """Moved and undone voxels are those of a subject with the same parameters."""
        ours = adapt(tio.Compose([tio.RandomAffine(), tio.RandomNoise(), tio.Pad(2)]), KEYS, MODES)
        with tio.random.use_seed(7):
            back = ours.inverse(ours(sample()))
        subject = tio.Subject(
            t1=tio.ScalarImage(sample()["t1"].as_tensor(), affine=AFFINE),
            seg=tio.LabelMap(sample()["seg"].as_tensor(), affine=AFFINE),
        )
        with tio.random.use_seed(7):
            moved = ours.transform(subject)
        expected = moved.apply_inverse_transform(ignore_intensity=True)
        for key in KEYS:
            assert torch.equal(back[key].as_tensor(), expected[key].data)
            np.testing.assert_allclose(back[key].affine.numpy(), AFFINE, atol=1e-9)
            assert back[key].applied_operations == []

    def test_then_of_monai(self):
        """Flips and crops are undone exactly, between operations of MONAI before and after."""
        ours = adapt(tio.Compose([tio.RandomFlip((0, 1, 2)), tio.Crop(1)]), KEYS, MODES)
        chain = mt.Compose([mt.SpatialPadd(KEYS, (20, 20, 20)), ours, mt.Flipd(KEYS, 0)])
        back = chain.inverse(chain.set_random_state(3)(sample()))
        for key in KEYS:
            assert torch.equal(back[key].as_tensor(), sample()[key].as_tensor())
            np.testing.assert_allclose(back[key].affine.numpy(), AFFINE, atol=1e-9)

    def test_of_predictions_of_a_batch(self):
        ours = adapt(tio.Compose([tio.RandomFlip("LR", p=0.5), tio.Crop(1)]), KEYS, MODES)
        chain = mt.Compose([spacing(), ours]).set_random_state(0)
        dataset = CacheDataset([sample(n) for n in range(6)], chain, progress=False)
        (batch,) = DataLoader(dataset, batch_size=6)
        batch["pred"] = torch.cat([batch["t1"], 1 - batch["t1"]], 1)
        undo = mt.Compose([mt.Invertd("pred", chain, "t1", nearest_interp=False)])
        for n, item in enumerate(decollate_batch(batch)):
            out = undo(item)["pred"]
            assert out.shape == (2, 12, 13, 14)
            np.testing.assert_allclose(out.affine.numpy(), AFFINE, atol=1e-6)
            inner = (0, slice(2, -2), slice(2, -2), slice(2, -2))
            difference = out.as_tensor()[inner] - sample(n)["t1"].as_tensor()[inner]
            assert difference.abs().max() < 1e-4  # Spacingd by 2 and back hits voxel centres
        traces = [each[-1]["extra_info"]["records"] for each in batch["t1"].applied_operations]
        assert {len(records) for records in traces} == {1, 2}  # not all samples were flipped

    def test_of_label_maps_and_of_argmax(self):
        chain = mt.Compose([adapt(tio.RandomAffine(), KEYS, MODES)]).set_random_state(0)
        out = chain(sample())
        out["pred"] = (out["t1"] > 0.5) * 2.0
        undone = mt.Invertd("pred", chain, "t1")(out)["pred"]
        assert set(undone.unique().tolist()) == {0, 2}
        smooth = mt.Invertd("pred", chain, "t1", nearest_interp=False)(out)["pred"]
        assert len(smooth.unique()) > 2

    def test_after_augmentation_of_a_batch(self):
        ours = adapt(moving(), KEYS, MODES)
        batch = list_data_collate([spacing()(sample(n)) for n in range(3)])
        out = ours(batch)
        assert out["t1"].affine.shape == (3, 4, 4)
        for n, item in enumerate(decollate_batch(out)):
            back = ours.inverse(item)["t1"]
            assert back.shape == spacing()(sample(n))["t1"].shape
            assert len(back.applied_operations) == 1
        with pytest.raises(ValueError, match="decollate_batch"):
            ours.inverse(out)

    def test_by_a_decollating_handler(self):
        chain = mt.Compose([adapt(tio.Flip(0), KEYS, MODES)])
        batch = list_data_collate([chain(sample(n)) for n in range(2)])
        items = mt.Decollated(KEYS)(batch)
        for n, item in enumerate(items):
            assert torch.equal(chain.inverse(item)["t1"], sample(n)["t1"])

    def test_of_what_was_not_last(self):
        ours = adapt(tio.Flip(0), KEYS, MODES)
        out = mt.Flipd(KEYS, 0)(ours(sample()))
        with pytest.raises(RuntimeError, match="DictTransform"):
            ours.inverse(out)
        with pytest.raises(ValueError, match="must be a MetaTensor"):
            ours.inverse({key: torch.rand(1, 4, 4, 4) for key in KEYS})
        bare = tio.Flip(1, label_keys=["seg"])
        with pytest.raises(RuntimeError) as refused:
            mt.Compose([ours, bare]).inverse(bare(ours(sample())))
        assert isinstance(refused.value.__cause__, RuntimeError)

    def test_of_what_cannot_be_undone(self):
        ours = adapt(tio.Compose([lambda one: one]), KEYS, MODES)
        with pytest.raises(RuntimeError, match="'t1' cannot be undone: history holds <lam"):
            ours.inverse(ours(sample()))

    @pytest.mark.parametrize(
        "step",
        [
            tio.Lambda(lambda x: x + 1, types_to_apply=[tio.INTENSITY]),
            tio.Resample((2, 1, 1), antialias=True),
            tio.Pad(2, padding_mode="mean"),
            tio.Blur(1),
        ],
        ids=lambda step: step.name,
    )
    def test_what_predictions_undo_is_undone(self, step):
        """Undo what gave another grid among steps that compute on whole volumes."""
        transform = tio.Compose([tio.Flip(0), step])
        ours = adapt(transform, KEYS, MODES)
        x = sample()
        back = ours.inverse(ours(x))
        one = tio.Subject(
            t1=tio.ScalarImage(x["t1"].as_tensor(), affine=AFFINE),
            seg=tio.LabelMap(x["seg"].as_tensor(), affine=AFFINE),
        )
        expected = ours.transform(one).apply_inverse_transform(warn=False, ignore_intensity=True)
        for key in KEYS:
            assert torch.equal(back[key].as_tensor(), expected[key].data)
            assert np.allclose(back[key].affine, AFFINE)

    def test_of_images_that_a_step_left_untouched(self):
        steps = [tio.Flip(0), tio.Compose([lambda one: one], include=["t1"])]
        ours = adapt(tio.Compose(steps), KEYS, MODES, allow_missing_keys=True)
        x, out = sample(), ours(sample())
        assert torch.equal(ours.inverse({"seg": out["seg"]})["seg"], x["seg"])
        with pytest.raises(RuntimeError, match="'t1' cannot be undone"):
            ours.inverse(out)

    def test_in_worker_processes(self):
        ours = adapt(tio.RandomFlip((0, 1, 2), p=0.5), KEYS, MODES)
        chain = mt.Compose([ours]).set_random_state(2)
        dataset = Dataset([sample(n) for n in range(4)], chain)
        loader = DataLoader(dataset, batch_size=2, num_workers=2, timeout=60)
        items = [item for batch in loader for item in decollate_batch(batch)]
        for n, item in enumerate(items):
            assert torch.equal(chain.inverse(item)["t1"].as_tensor(), sample(n)["t1"].as_tensor())


def test_only_deterministic_transforms_are_cached():
    random, fixed = adapt(moving(), KEYS, MODES), adapt(tio.Crop(1), KEYS, MODES)
    noisy = [tio.RandomNoise(), tio.Crop(1, p=0.5), tio.OneOf([tio.Flip(0), tio.Flip(1)])]
    assert all(isinstance(adapt(t, KEYS), mt.Randomizable) for t in noisy)
    assert not isinstance(fixed, mt.Randomizable)
    chain = mt.Compose([fixed, random]).set_random_state(0)
    dataset = CacheDataset([sample()], chain, progress=False)
    assert dataset[0]["t1"].shape == (1, 8, 9, 10)
    assert not torch.equal(dataset[0]["t1"], dataset[0]["t1"])


def test_a_cache_on_disk_keeps_what_undoes(tmp_path):
    chain = mt.Compose([adapt(tio.Compose([tio.Flip(0), tio.Crop(1)]), KEYS, MODES)])
    how = {"cache_dir": tmp_path, "track_meta": True, "weights_only": False}
    dataset = PersistentDataset([sample()], chain, **how)
    for _ in range(2):  # written, and read
        item = dataset[0]
        back = chain.inverse(item)["t1"]
        inner = (slice(None), *[slice(1, -1)] * 3)
        assert torch.equal(back.as_tensor()[inner], sample()["t1"].as_tensor()[inner])


class TestOursWithoutAnAdapter:
    def test_planes_are_refused(self):
        plane = MetaTensor(torch.rand(1, 8, 9))
        for x in (plane, {"x": plane}):
            with pytest.raises(ValueError, match=r"got a plane of shape \(1, 8, 9\)"):
                tio.RandomAffine()(x)
        with pytest.raises(ValueError, match="'x' must be a volume"):
            tio.Flip(0, include=["x"])({"x": plane, "y": torch.rand(1, 4, 4, 4)})
        planes = list_data_collate([plane, plane])
        for x in (planes, {"x": planes}):
            with pytest.raises(ValueError, match=r"got planes of shape \(2, 1, 8, 9\)"):
                tio.RandomAffine()(x)
        assert tio.Flip(0)(plane[..., None]).shape == (1, 8, 9, 1)

    def test_pending_operations_are_carried_out_in_a_compose(self):
        chain = mt.Compose([mt.Flipd("t1", 0), tio.Crop(2)], lazy=True)
        out = chain({"t1": sample()["t1"]})["t1"]
        assert torch.equal(out.as_tensor(), sample()["t1"].flip(1)[:, 2:-2, 2:-2, 2:-2])


class TestForgottenLabelKeys:
    @pytest.fixture(autouse=True)
    def _forget(self, monkeypatch):
        monkeypatch.setattr(convert, "_taken", set())

    @pytest.mark.parametrize(
        ("key", "dtype", "reason"),
        [
            ("seg", torch.float32, "the word 'seg'"),
            ("image_seg", torch.float32, "the word 'seg'"),
            ("label_a", torch.float32, "the word 'label'"),
            ("imageMask", torch.float32, "the word 'mask'"),
            ("GT", torch.uint8, "the word 'gt'"),
            ("y", torch.int64, "its dtype int64"),
            ("y", torch.bool, "its dtype bool"),
        ],
    )
    def test_are_noticed_once(self, key, dtype, reason):
        x = {"t1": torch.rand(1, 6, 6, 6), key: (torch.rand(1, 6, 6, 6) > 0.5).to(dtype)}
        with pytest.warns(RuntimeWarning, match=f"'{key}' is taken .* of {reason}.*label_keys="):
            out = tio.Affine(degrees=30)(x)[key]
        assert out.dtype == dtype
        assert out.unique().tolist() == [0, 1]
        tio.Affine(degrees=30)(x)  # without a warning
        assert torch.equal(out, tio.Affine(degrees=30, label_keys=[key])(x)[key])
        numpy = {name: value.numpy() for name, value in x.items()}
        np.testing.assert_array_equal(tio.Affine(degrees=30)(numpy)[key], out)

    @pytest.mark.parametrize("key", ["t1", "segway", "smaskp", "legt", "image", "y"])
    def test_other_names_are_images(self, key):
        x = {key: torch.ones(1, 6, 6, 6, dtype=torch.int16)}
        assert len(tio.RandomAffine()(x)[key].unique()) > 2

    @pytest.mark.parametrize("compose", [False, True])
    def test_given_in_any_form_they_decide(self, compose):
        x = {"t1": torch.rand(1, 6, 6, 6), "seg": (torch.rand(1, 6, 6, 6) > 0.5).float()}
        for keys, number in (((), 3), (["t1"], 3)):
            ours = tio.Affine(degrees=30, label_keys=keys)
            ours = tio.Compose([ours, tio.Flip(0)]) if compose else ours
            assert len(ours(x)["seg"].unique()) >= number
            assert ours.label_keys == tuple(keys)

    def test_kinds_of_images_are_known(self):
        x = {"seg": tio.ScalarImage(torch.rand(1, 6, 6, 6)), "mask": np.array([1, 2])}
        assert len(tio.Affine(degrees=30)(x)["seg"].data.unique()) > 2

    def test_on_every_path(self):
        x = {"t1": torch.rand(1, 6, 6, 6), "seg": (torch.rand(1, 6, 6, 6) > 0.5).float()}
        fixed = tio.Affine(degrees=30)
        with pytest.warns(RuntimeWarning, match="'seg' is taken"):
            expected = fixed(x)["seg"]
        for path in (
            torch.compile(lambda d: fixed(d), backend="eager"),
            adapt(fixed, KEYS),
            tio.Compose([fixed]),
        ):
            convert._taken.clear()
            with pytest.warns(RuntimeWarning, match="'seg' is taken"):
                out = path(x)["seg"]
            assert torch.equal(torch.as_tensor(out), expected)

    def test_no_voxel_is_looked_at(self):
        x = {"mask": torch.empty(1, 6, 6, 6, device="meta")}
        with pytest.warns(RuntimeWarning, match="'mask' is taken"):
            assert tio.Flip(0)(x)["mask"].shape == (1, 6, 6, 6)


class TestMonaiInOurCompose:
    def subject(self):
        x = sample()
        return tio.Subject(
            t1=tio.ScalarImage(x["t1"].as_tensor(), affine=AFFINE),
            seg=tio.LabelMap(x["seg"].as_tensor(), affine=AFFINE),
        )

    def test_one_sample_in_a_list(self):
        crop = mt.RandCropByPosNegLabeld(KEYS, "seg", (6, 6, 6), num_samples=1)
        out = tio.Compose([crop, tio.RandomFlip()])(self.subject())
        assert out.spatial_shape == (6, 6, 6)
        array = tio.MonaiAdapter(mt.RandSpatialCropSamples((4, 4, 4), 1), include=["t1"])
        assert array(self.subject()).t1.spatial_shape == (4, 4, 4)
        several = mt.RandCropByPosNegLabeld(KEYS, "seg", (6, 6, 6), num_samples=2)
        with pytest.raises(TypeError, match="must return one sample, got 2"):
            tio.Compose([several])(self.subject())

    def test_random_states_follow_the_seeds_of_samples(self):
        augment = tio.Compose([mt.RandShiftIntensityd("t1", 1.0, prob=1), tio.RandomNoise()])
        subjects = [self.subject() for _ in range(3)]

        def run(size, workers=0):
            loader = tio.SubjectsLoader(
                tio.SubjectsDataset(subjects, augment), seed=5, batch_size=size,
                num_workers=workers,
            )  # fmt: skip
            return torch.cat([batch.t1.data for batch in loader])

        expected = run(1)
        assert torch.equal(run(3), expected)
        assert torch.equal(run(2, 1), expected)
        assert not torch.equal(expected[0], expected[1])
        batch = tio.SubjectsBatch.from_subjects(subjects)
        outs = []
        for _ in range(2):
            torch.manual_seed(3)
            outs.append(augment(batch).t1.data)
        assert torch.equal(*outs)
        assert not torch.equal(augment(batch).t1.data, outs[0])

    def test_two_draw_different_numbers(self):
        shift = mt.RandShiftIntensityd("t1", 1.0, prob=1)
        s = self.subject()
        with tio.random.use_seed(1):
            once = tio.Compose([shift])(s).t1.data - s.t1.data
        with tio.random.use_seed(1):
            twice = tio.Compose([shift, shift])(s).t1.data - s.t1.data
        assert not torch.allclose(2 * once, twice, atol=1e-3)

    def test_is_not_undone(self):
        out = tio.Compose([mt.Flipd(KEYS, 0), tio.Flip(1)])(self.subject())
        with pytest.warns(RuntimeWarning, match="MonaiAdapter cannot be undone and is skipped"):
            back = out.apply_inverse_transform()
        assert torch.equal(back.t1.data, self.subject().t1.data.flip(1))
