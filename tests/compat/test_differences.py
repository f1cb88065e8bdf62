"""Differences from TorchIO 1.2.1 that stay: each is shown with both libraries."""

import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from torchio_gpu.compat.differences import ARGUMENTS, DIFFERENCES, NAMES, page

from .plots import (  # noqa: F401
    test_a_plot_is_returned_and_not_shown,
    test_indices_of_plots_are_voxels_of_the_image,
)

torchio = pytest.importorskip("torchio")
ROOT = Path(__file__).parents[2]


def volume(shape=(6, 7, 8), seed=0):
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed))


def subjects(x=None, affine=None, **more):
    """Return the same subject of both libraries."""
    x = volume() if x is None else x
    labels = (x > 0.5).int()
    return [
        lib.Subject(
            t1=lib.ScalarImage(tensor=x.clone(), affine=affine),
            seg=lib.LabelMap(tensor=labels.clone(), affine=affine),
            **more,
        )
        for lib in (torchio, tio)
    ]


def test_the_page_is_made_of_the_list():
    assert (ROOT / "COMING_FROM_TORCHIO.md").read_text(encoding="utf-8") == page(), (
        "run python -m torchio_gpu.compat.differences"
    )
    keys = [difference.key for difference in DIFFERENCES]
    assert len(set(keys)) == len(keys)
    assert {f"test_{key}" for key in keys} <= set(globals())


def parameters(cls):
    """Return the arguments of a constructor, with those that it hands to its bases."""
    found = {}
    for base in cls.__mro__:
        construct = vars(base).get("__init__")
        if construct is None:
            continue
        own = inspect.signature(construct).parameters.values()
        kinds = {p.kind for p in own}
        for p in own:
            if p.name != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
                found.setdefault(p.name, p)
        found |= dict.fromkeys(getattr(construct, "older_names", {}), None)
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return found


CLASSES = sorted(
    name
    for name in dir(torchio)
    if inspect.isclass(getattr(torchio, name)) and not name.startswith("_")
)


def test_all_names_are_here():
    public = [n for n in dir(torchio) if not n.startswith("_")]
    internal = {"constants", "download", "external", "types", "visualization"}
    missing = {n for n in public if not hasattr(tio, n)} - internal
    assert missing - {"torch"} == set(NAMES)
    for module in ("data", "transforms", "utils", "sampler", "inference", "datasets"):
        assert hasattr(tio, module)
    wanted = {n for n in vars(torchio.transforms) if inspect.isclass(vars(torchio.transforms)[n])}
    assert {n for n in wanted if not hasattr(tio.transforms, n)} == set()


@pytest.mark.parametrize("name", CLASSES)
def test_constructors_take_the_arguments_of_torchio(name):
    theirs, own = parameters(getattr(torchio, name)), parameters(getattr(tio, name))
    # arguments of base classes that the class itself gives another name
    inner = {"bounds_parameters"} | ({"remapping"} if name == "RemoveLabels" else set())
    for argument, parameter in theirs.items():
        if argument in inner:
            continue
        assert argument in own, f"{name} lacks {argument}"
        here = own[argument]
        if here is None or (name, argument) in ARGUMENTS:
            continue  # by an older name
        required = parameter.default is parameter.empty
        assert required or here.default == parameter.default, f"{name}({argument}=)"
    listed = {argument for cls, argument in ARGUMENTS if cls == name}
    assert listed <= set(theirs)


@pytest.mark.parametrize("name", CLASSES)
def test_the_order_of_positional_arguments_is_that_of_torchio(name):
    cls, other = getattr(tio, name), getattr(torchio, name)
    construct = other.__init__
    theirs = [
        p.name
        for p in list(inspect.signature(construct).parameters.values())[1:]
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    own = [
        p.name
        for p in list(inspect.signature(cls.__init__).parameters.values())[1:]
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    if name in ("Queue", "SubjectsLoader", "LabelSampler", "UniformSampler", "WeightedSampler"):
        return  # told apart by the type of the first arguments, or listed; tested on their own
    older = getattr(cls.__init__, "older_names", {})
    theirs = [older.get(each, each) for each in theirs]
    if theirs[:1] == ["path"]:
        theirs[0] = "source"
    if issubclass(other, torchio.Transform):
        theirs = [each for each in theirs if each in own]
        own = [each for each in own if each in theirs]
    assert own[: len(theirs)] == theirs


def test_a_called_sampler_returns_one_patch():
    old, new = subjects()
    patches = torchio.UniformSampler(3)(old)
    assert next(patches).shape == (1, 3, 3, 3)
    patch = tio.UniformSampler(3)(new)
    assert patch.shape == (1, 3, 3, 3)
    with pytest.raises(TypeError, match=r"sampler\(subject, n\) iterates over n"):
        next(patch)
    assert [p.shape for p in tio.UniformSampler(3)(new, 2)] == [(1, 3, 3, 3)] * 2


def test_errors_have_other_types():
    with pytest.raises(RuntimeError):
        torchio.Resample(None)(subjects()[0])
    with pytest.raises((TypeError, ValueError)):
        tio.Resample(None)(subjects()[1])
    with pytest.raises(AssertionError):
        torchio.RandomLabelsToImage(label_key="seg", mean=[0], used_labels=[0, 1])
    with pytest.raises(ValueError, match="mean must have 2 entries"):
        tio.RandomLabelsToImage(label_key="seg", mean=[0], used_labels=[0, 1])


def test_random_numbers_are_others():
    outs = []
    for lib, subject in zip((torchio, tio), subjects(), strict=True):
        torch.manual_seed(3)
        outs.append(lib.RandomNoise()(subject).t1.data)
    assert not torch.allclose(*outs)
    torch.manual_seed(3)
    assert torch.equal(tio.RandomNoise()(subjects()[1]).t1.data, outs[1])


def test_a_history_names_the_transforms_that_were_called():
    old, new = (lib.RandomAffine()(s) for lib, s in zip((torchio, tio), subjects(), strict=True))
    assert old.history[0].name == "Affine"
    assert new.history[0].name == "RandomAffine"
    assert new.history[0].name.removeprefix("Random") == "Affine"
    assert str(new.history[0]).startswith("RandomAffine(scales=[[")
    assert torch.equal(new.history[0](subjects()[1]).t1.data, new.t1.data)


def test_arguments_are_kept_as_given():
    assert torchio.RandomAffine(degrees=10).degrees == 3 * (-10, 10)
    assert tio.RandomAffine(degrees=10).degrees == 10


def test_subjects_and_batches_are_no_dicts():
    old, new = subjects()
    assert isinstance(old, dict)
    assert isinstance(old.t1, dict)
    batch = tio.SubjectsBatch.from_subjects([new])
    for each in (new, new.t1, batch):
        assert not isinstance(each, dict)
        assert dict(each).keys() == set(each.keys()) == set(each)
        assert list(each.items()) == list(zip(each.keys(), each.values(), strict=True))


def test_names_of_attributes_are_refused():
    old, new = subjects()
    old["copy"] = 3
    with pytest.raises(ValueError, match="'copy'"):
        new["copy"] = 3


def test_an_unknown_mask_name_raises():
    old, new = subjects()
    with pytest.warns(RuntimeWarning):
        torchio.CropOrPad(4, mask_name="absent")(old)
    with pytest.raises(KeyError, match="absent"):
        tio.CropOrPad(4, mask_name="absent")(new)


def test_labels_are_padded_with_zero():
    old, new = (
        lib.Pad(1, padding_mode=5)(s) for lib, s in zip((torchio, tio), subjects(), strict=True)
    )
    assert old.seg.data.max() == 5
    assert old.t1.data[0, 0, 0, 0] == new.t1.data[0, 0, 0, 0] == 5
    assert new.seg.data[0, 0, 0, 0] == 0
    assert new.seg.data.max() == 1


def test_several_spikes_do_not_compound():
    positions = np.array([[0.3, 0.4, 0.45], [0.6, 0.3, 0.4]])
    strongest = []
    for lib, subject in zip((torchio, tio), subjects(volume((16, 16, 16))), strict=True):
        before = torch.fft.fftn(subject.t1.data[0]).abs().max()
        out = lib.Spike(positions, 3)(subject)
        strongest.append(float(torch.fft.fftn(out.t1.data[0]).abs().max() / before))
    assert strongest[0] > 1.5 * strongest[1]
    single = [
        lib.Spike(positions[:1], 3)(s).t1.data
        for lib, s in zip((torchio, tio), subjects(volume((16, 16, 16))), strict=True)
    ]
    torch.testing.assert_close(*single, atol=1e-3, rtol=1e-3)


def test_ghosts_are_counted_from_the_centre_of_k_space():
    weakened = []
    for lib, subject in zip((torchio, tio), subjects(volume((10, 10, 10))), strict=True):
        out = lib.Ghosting(4, 1, 1, restore=0)(subject)
        planes = [torch.fft.fftshift(torch.fft.fftn(x.t1.data[0])) for x in (subject, out)]
        before, after = (k.abs().sum((0, 2)) for k in planes)
        weakened.append((after < 0.9 * before).nonzero()[:, 0].tolist())
    assert weakened == [[0, 2, 4, 6, 8], [1, 9]]  # the real part mirrors planes of the first


def test_control_points_follow_the_voxel_axes():
    points = np.random.default_rng(0).uniform(-1.5, 1.5, (5, 5, 5, 3))
    affine = np.array([[0, -2.0, 0, 3], [1, 0, 0, 4], [0, 0, -1.5, 5], [0, 0, 0, 1]])
    x = torch.nn.functional.avg_pool3d(volume((16, 15, 14))[None], 5, 1, 2)[0]
    old, new = subjects(x, affine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of folding, in either
        wanted = torchio.ElasticDeformation(points, (2, 2, 2))(old).t1.data
        converted = tio.compat.elastic_control_points(points, new.t1)
        found = tio.ElasticDeformation(converted)(new).t1.data
        other = tio.ElasticDeformation(points)(new).t1.data
    inside = (slice(None), *[slice(3, -3)] * 3)
    torch.testing.assert_close(found[inside], wanted[inside], atol=1e-5, rtol=0)
    assert (other - wanted)[inside].abs().max() > 1e-2


def test_one_centre_for_all_images_of_a_subject():
    x = volume((8, 8, 8))
    moved = np.eye(4)
    moved[0, 3] = 50
    outs = []
    for lib in (torchio, tio):
        subject = lib.Subject(
            a=lib.ScalarImage(tensor=x), b=lib.ScalarImage(tensor=x.clone(), affine=moved)
        )
        outs.append(lib.Affine(1, (0, 0, 10), 0)(subject))
    torch.testing.assert_close(outs[0].a.data, outs[0].b.data, atol=1e-4, rtol=0)
    assert not torch.allclose(outs[1].a.data, outs[1].b.data)


def test_halves_follow_the_orientation():
    x = torch.zeros(1, 8, 4, 4)
    x[:, :4] = 1
    x += 0.01 * volume((8, 4, 4))
    outs = [
        lib.ZNormalization("Left")(lib.ScalarImage(tensor=x, affine=np.diag([-1.0, 1, 1, 1]))).data
        for lib in (torchio, tio)
    ]
    # the first voxels along I are on the right of a grid that grows towards the left
    assert abs(outs[0][:, :4].mean()) < 1e-4
    assert abs(outs[1][:, 4:].mean()) < 1e-4


def test_a_constant_image_is_normalized_to_zero():
    old, new = subjects(torch.ones(1, 3, 3, 3))
    with pytest.raises(RuntimeError):
        torchio.ZNormalization()(old)
    with pytest.warns(RuntimeWarning, match="becomes 0"):
        assert not tio.ZNormalization()(new).t1.data.any()


def test_transforms_of_the_user_are_recorded_once():
    names = []
    for lib, subject in zip((torchio, tio), subjects(), strict=True):

        class Own(lib.Transform):
            def apply_transform(self, subject, lib=lib):
                return lib.Flip(0)(subject)

        names.append([t.name for t in Own()(subject).get_applied_transforms()])
    assert names == [["Flip", "Own"], ["Own"]]


def test_helpers_of_transforms_are_not_here():
    for name in ("parse_params", "parse_bounds", "get_mask_from_masking_method"):
        assert hasattr(torchio.RandomNoise(), name)
        assert not hasattr(tio.RandomNoise(), name)
    for lib in (torchio, tio):
        noise = lib.RandomNoise()
        assert [image.type for image in noise.get_images(subjects()[lib is tio])] == ["intensity"]
        assert 1 <= noise.sample_uniform(1, 2) <= 2


def test_an_inverse_needs_the_history_where_arguments_do_not_suffice():
    with pytest.warns(RuntimeWarning):
        assert len(torchio.Compose([torchio.RandomAffine()]).inverse()) == 0
    with pytest.raises(RuntimeError, match="cannot be undone from its arguments alone"):
        tio.Compose([tio.RandomAffine()]).inverse()
    for lib in (torchio, tio):
        x = volume()
        flip = lib.Flip(0)
        assert torch.equal(lib.Compose([flip]).inverse()(flip(x)), x)


def test_more_can_be_undone():
    shapes = []
    for lib, subject in zip((torchio, tio), subjects(), strict=True):
        out = lib.Resample(2)(subject)
        shapes.append(out.apply_inverse_transform(warn=False).spatial_shape)
    assert shapes == [(3, 3, 4), (6, 7, 8)]


def test_neighbours_share_a_sampling():
    x = volume((16, 16, 16))
    angles = [(0, 0, 20), (0, 0, -20)]
    old = torchio.Compose([torchio.Affine(1, a, 0) for a in angles])(x)
    new = tio.Compose([tio.Affine(1, a, 0) for a in angles])(x)
    apart = tio.Compose([tio.Affine(1, a, 0) for a in angles], fuse=False)(x)
    inside = (slice(None), *[slice(5, -5)] * 3)
    torch.testing.assert_close(apart[inside], old[inside], atol=1e-4, rtol=0)
    torch.testing.assert_close(new[inside], x[inside], atol=1e-4, rtol=0)
    assert (old - x)[inside].abs().mean() > 0.05


def test_a_two_dimensional_image_stays_three_dimensional_in_sitk():
    x = volume((4, 5, 1))
    assert torchio.ScalarImage(tensor=x).as_sitk().GetDimension() == 2
    assert tio.ScalarImage(tensor=x).as_sitk().GetDimension() == 3
    assert tio.ScalarImage(tensor=x).as_sitk(force_3d=False).GetDimension() == 2


def test_files_of_one_image_must_share_an_affine(tmp_path):
    paths = [tmp_path / "a.nii", tmp_path / "b.nii"]
    for n, path in enumerate(paths):
        affine = np.diag([1.0 + n, 1, 1, 1])
        tio.ScalarImage(tensor=volume(), affine=affine).save(path)
    with pytest.warns(RuntimeWarning):
        assert torchio.ScalarImage(paths).data.shape[0] == 2
    with pytest.raises(ValueError, match="corners"):
        tio.ScalarImage(paths).load()


def test_a_loader_takes_the_arguments_of_torch():
    _, new = subjects()
    assert list(inspect.signature(torchio.SubjectsLoader).parameters)[1] == "collate_fn"
    loader = tio.SubjectsLoader(tio.SubjectsDataset([new, new]), 2)
    assert loader.batch_size == 2
    named = tio.SubjectsLoader(tio.SubjectsDataset([new]), collate_fn=tio.utils.history_collate)
    assert next(iter(named)).batch_size == 1


def test_a_queue_is_iterated():
    old, new = subjects()
    queue = torchio.Queue(torchio.SubjectsDataset([old]), 4, 2, torchio.UniformSampler(3))
    assert queue[0].shape == (1, 3, 3, 3)
    dataset = tio.SubjectsDataset([new])
    queue = tio.Queue(dataset, 4, 2, tio.UniformSampler(3), start_background=False)
    assert [patch.shape for patch in queue] == [(1, 3, 3, 3)] * 2
    with pytest.raises(TypeError, match="taken by a loop over it"):
        queue[0]


def test_padding_modes_are_names_and_numbers():
    def pad(vector, width, *_):
        vector[: width[0]] = 7

    old, new = subjects()
    assert torchio.Pad(1, padding_mode=pad)(old).t1.data[0, 0, 0, 0] == 7
    with pytest.raises(TypeError, match="padding_mode must be a number or a string"):
        tio.Pad(1, padding_mode=pad)(new)
    assert set(tio.Pad.PADDING_MODES) == set(torchio.Pad.PADDING_MODES)


def test_float64_stays_float64_in_an_aggregator():
    outs = []
    for lib, subject in zip((torchio, tio), subjects(volume((6, 6, 6))), strict=True):
        sampler = lib.GridSampler(subject, 4, 2)
        aggregator = lib.GridAggregator(sampler, "hann")
        for n in range(len(sampler)):
            patch = sampler[n]
            aggregator.add_batch(patch.t1.data[None].double(), patch[lib.LOCATION][None])
        outs.append(aggregator.get_output_tensor())
    assert [out.dtype for out in outs] == [torch.float32, torch.float64]
    torch.testing.assert_close(outs[0].double(), outs[1], atol=1e-5, rtol=0)
