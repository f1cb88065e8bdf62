"""Label transforms: agreement with TorchIO, and properties of all transforms."""

import copy
import json
import pickle
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torchio

import torchio_gpu as tio
from benchmarks.clock import waits_refused
from tests.devices import needs_gpu
from tests.volumes import batch_of, oblique_affine, smooth, subject
from torchio_gpu.transforms.labels.morphology import DilateLabels, ErodeLabels
from torchio_gpu.transforms.labels.one_hot import OneHot
from torchio_gpu.transforms.labels.regions import Contour, KeepLargestComponent
from torchio_gpu.transforms.labels.remap import RemapLabels, RemoveLabels, SequentialLabels
from torchio_gpu.transforms.labels.smooth import SmoothLabels

TRANSFORMS = {
    "OneHot": lambda **k: OneHot(12, **k),
    "RemapLabels": lambda **k: RemapLabels({0: 9, 4: 7, 7: 4, 9: 0}, **k),
    "RemapLabels, masked": lambda **k: RemapLabels({4: 5}, masking_method="Left", **k),
    "RemoveLabels": lambda **k: RemoveLabels([4, 9], background_label=7, **k),
    "SequentialLabels": lambda **k: SequentialLabels(**k),
    "SequentialLabels, masked": lambda **k: SequentialLabels(masking_method="Anterior", **k),
    "KeepLargestComponent": lambda **k: KeepLargestComponent(**k),
    "Contour": lambda **k: Contour(**k),
    "ErodeLabels": lambda **k: ErodeLabels(3, **k),
    "DilateLabels": lambda **k: DilateLabels(2, [4, 7], **k),
    "SmoothLabels": lambda **k: SmoothLabels(2, **k),
}
#: Transforms that cannot be undone.
LOST = {
    *("RemoveLabels", "KeepLargestComponent", "Contour"),
    *("ErodeLabels", "DilateLabels", "SmoothLabels"),
}
MULTIPLE = {4, 7, 9}  # labels of what is tested with, beside 0


@pytest.fixture(params=TRANSFORMS)
def make(request):
    return TRANSFORMS[request.param]


def random_labels(shape=(12, 14, 16), seed=0, dtype=torch.uint8):
    """Return labels 0, 4, 7 and 9; without 7 for odd seeds."""
    waves = smooth((1, 1, *shape), seed)[0]
    middle = 4 if seed % 2 else 7
    return torch.where(
        waves > 2, 9, torch.where(waves > 1, middle, torch.where(waves > 0.5, 4, 0))
    ).to(dtype)


def subject_with_labels(seed=0, dtype=torch.uint8, shape=(12, 14, 16)):
    """A subject with two label maps and a scalar image of the same values."""
    affine = oblique_affine()
    seg, other = random_labels(shape, seed, dtype), random_labels(shape, seed + 10, dtype)
    return tio.Subject(
        t1=tio.ScalarImage(seg.clone(), affine=affine),
        seg=tio.LabelMap(seg, affine=affine),
        other=tio.LabelMap(other, affine=affine),
        age=45,
    )


def line(*values, dtype=torch.uint8):
    return tio.LabelMap(torch.tensor(values).to(dtype).view(1, 1, 1, -1))


def labels_in(image):
    return image.data.flatten().tolist()


# What holds for every one


def test_label_maps_change_and_keep_their_type_and_scalar_images_are_not_changed(make):
    s = subject_with_labels()
    out = make()(s)
    assert torch.equal(out.t1.data, s.t1.data)
    assert out.t1.data.dtype == torch.uint8
    for name in ("seg", "other"):
        assert not torch.equal(out[name].data, s[name].data)
        assert out[name].data.dtype == torch.uint8
        assert type(out[name]) is tio.LabelMap
        np.testing.assert_array_equal(out[name].affine, s[name].affine)
    assert torch.equal(s.seg.data, random_labels())  # what came in stays
    assert s.history == []


def test_batch_equals_single_samples(make):
    subjects = [subject_with_labels(n) for n in range(4)]
    together = make()(batch_of(subjects))
    for n, each in enumerate(subjects):
        alone = make()(each)
        for name in ("seg", "other"):
            assert torch.equal(together[name].data[n], alone[name].data)


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32]
)
def test_dtypes(make, dtype):
    expected = make()(subject_with_labels()).seg.data
    out = make()(subject_with_labels(dtype=dtype)).seg.data
    assert out.dtype == dtype
    assert torch.equal(out.double(), expected.double())


def test_label_sets_only_shrink(make):
    """Resulting labels are among the original ones, the requested ones and 0."""
    transform = make()
    out = transform(subject_with_labels())
    asked = {"OneHot": {1}, "RemapLabels": {5}, "SequentialLabels": {1, 2, 3}}
    allowed = {0, *MULTIPLE} | asked.get(transform.name, set())
    assert set(out.seg.data.unique().tolist()) <= allowed


def test_history_replays_exactly_from_text_too(make):
    s = subject_with_labels()
    out = make()(s)
    history = out.get_composed_history()
    text = json.dumps([recorded.to_dict() for recorded in history])
    from_text = tio.Compose([tio.from_dict(record) for record in json.loads(text)])
    for again in (history(s), from_text(s), history(batch_of([s, s])).unbatch()[1]):
        for name in ("seg", "other"):
            assert torch.equal(again[name].data, out[name].data)


def test_inverse_undoes(make):
    transform = make()
    s = subject_with_labels()
    out = transform(s)
    if not transform.is_invertible():
        assert transform.name in LOST
        with pytest.warns(RuntimeWarning, match=f"{transform.name} cannot be undone and is skip"):
            out.apply_inverse_transform()
        return
    text = json.dumps([record.to_dict() for record in out.get_composed_history()])
    from_text = tio.Compose([tio.from_dict(record).inverse() for record in json.loads(text)])
    for back in (out.apply_inverse_transform(), from_text(out)):
        for name in ("seg", "other"):
            assert torch.equal(back[name].data, s[name].data)
            assert back[name].data.dtype == torch.uint8
    (recorded,) = out.get_composed_history()
    twice = recorded.inverse().inverse()(s)
    assert torch.equal(twice.seg.data, out.seg.data)


def test_pickles_and_copies(make):
    s = subject_with_labels()
    transform = make()
    expected = transform(s).seg.data
    for again in (pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)):
        assert torch.equal(again(s).seg.data, expected)
        assert repr(again) == repr(transform)


def test_p_decides_per_sample(make):
    subjects = [subject_with_labels(n % 2) for n in range(30)]
    if make().name == "OneHot":
        with pytest.raises(ValueError, match="OneHot must keep the shape of 'seg' when it leaves"):
            make(p=0.5)(batch_of(subjects))
        return
    out = make(p=0.5)(batch_of(subjects))
    always = make()(batch_of(subjects))
    changed = [len(out.history[n]) > 0 for n in range(30)]
    assert 4 < sum(changed) < 26
    for n, each in enumerate(subjects):
        expected = always.seg.data[n] if changed[n] else each.seg.data
        assert torch.equal(out.seg.data[n], expected)


def test_include_and_exclude(make):
    s = subject_with_labels()
    for arguments in ({"include": ["seg"]}, {"exclude": ["other"]}):
        out = make(**arguments)(s)
        assert torch.equal(out.other.data, s.other.data)
        assert torch.equal(out.seg.data, make()(s).seg.data)


def test_dicts_name_their_label_maps(make):
    s = subject_with_labels()
    x = {"t1": s.t1.data, "seg": s.seg.data, "age": 45}
    out = make(label_keys=["seg"])(x)
    assert torch.equal(out["t1"], s.t1.data)
    expected = make()(tio.LabelMap(s.seg.data)).data
    assert torch.equal(out["seg"], expected)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 7), (2, 3, 4)])
def test_small_and_flat_volumes(make, shape):
    x = torch.randint(0, 2, (1, *shape)) * 4
    out = make()(tio.LabelMap(x)).data
    assert out.shape[1:] == shape


def test_runs_on_the_meta_device(make):
    """On the meta device every look at a value raises: no such look means no wait on a GPU."""
    data = torch.empty(4, 1, 8, 9, 10, device="meta", dtype=torch.int16)
    batch = tio.SubjectsBatch({"seg": tio.ImagesBatch(data, kind="label")})
    out = make()(batch).seg.data
    assert out.is_meta
    assert out.dtype == torch.int16
    assert out.shape == (4, 12 if make().name == "OneHot" else 1, 8, 9, 10)


# As TorchIO


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (OneHot(), torchio.OneHot()),
        (OneHot(15), torchio.OneHot(15)),
        (RemapLabels({4: 7, 7: 4, 9: 1}), torchio.RemapLabels({4: 7, 7: 4, 9: 1})),
        (RemapLabels({4: 1}, "Left"), torchio.RemapLabels({4: 1}, masking_method="Left")),
        (RemapLabels({4: 1}, "other"), torchio.RemapLabels({4: 1}, masking_method="other")),
        (
            RemapLabels({4: 1, 0: 2}, lambda x: x > 4),
            torchio.RemapLabels({4: 1, 0: 2}, masking_method=lambda x: x > 4),
        ),
        (RemoveLabels([4, 9]), torchio.RemoveLabels([4, 9])),
        (RemoveLabels([4, 9], 3, "Superior"), torchio.RemoveLabels([4, 9], 3, "Superior")),
        (SequentialLabels(), torchio.SequentialLabels()),
    ],
    ids=lambda transform: transform.name,
)
def test_agrees_with_torchio(ours, theirs):
    images = {"seg": random_labels(), "other": random_labels(seed=1)}
    mine = tio.Subject(**{name: tio.LabelMap(x) for name, x in images.items()})
    other = torchio.Subject(**{name: torchio.LabelMap(tensor=x) for name, x in images.items()})
    out, expected = ours(mine), theirs(other)
    for name in images:
        assert torch.equal(out[name].data, expected[name].data)


@pytest.mark.parametrize("name", ["KeepLargestComponent", "Contour"])
def test_agrees_with_torchio_on_masks(name):
    x = (smooth((1, 1, 20, 21, 22), seed=3)[0] > 0.7).byte()
    expected = getattr(torchio, name)()(torchio.LabelMap(tensor=x)).data
    out = TRANSFORMS[name]()(tio.LabelMap(x)).data
    assert torch.equal(out, expected)
    assert not torch.equal(out, x)


# One by one


def test_halves_merge_and_split_again():
    """Labels of the right half are merged with those of the left, and split again."""
    image = tio.LabelMap(torch.tensor([2, 4, 0, 0, 1, 3]).view(1, 6, 1, 1))  # I runs to the right
    s = tio.Subject(seg=image)
    merged = RemapLabels({1: 2, 3: 4}, masking_method="Right")(s)
    assert labels_in(merged.seg) == [2, 4, 0, 0, 2, 4]
    assert labels_in(merged.apply_inverse_transform().seg) == [2, 4, 0, 0, 1, 3]


def test_the_inverse_restores_the_labels_of_a_prediction():
    s = tio.Subject(seg=line(10, 20, 30))
    out = RemapLabels({10: 0, 20: 1, 30: 2})(s)
    out.add_image(line(2, 2, 0), "prediction")
    assert labels_in(out.apply_inverse_transform().prediction) == [30, 30, 10]
    merged = RemapLabels({10: 0, 20: 0})(s)
    assert not merged.history[0].transform.is_invertible()
    with pytest.raises(NotImplementedError, match="RemapLabels cannot be undone"):
        merged.history[0].transform.invert(merged.history[0].params)


def test_each_label_map_of_each_sample_has_its_sequence():
    batch = tio.SubjectsBatch({
        "a": tio.ImagesBatch(torch.stack([line(7, 11, 99, 7).data, line(0, 0, 5, 0).data]),
                             kind="label"),
        "b": tio.ImagesBatch(torch.stack([line(3, 3, 3, 3).data, line(1, 2, 3, 4).data]).float(),
                             kind="label"),
    })  # fmt: skip
    out = SequentialLabels()(batch)
    assert out.a.data.flatten(1).tolist() == [[0, 1, 2, 0], [0, 0, 1, 0]]
    assert out.b.data.flatten(1).tolist() == [[0, 0, 0, 0], [0, 1, 2, 3]]
    params = out.records[0].params
    assert params.old.shape == params.new.shape == (2, 2, 4)
    back = out.apply_inverse_transform()
    assert torch.equal(back.a.data, batch.a.data)
    assert torch.equal(back.b.data, batch.b.data)


def test_sequence_of_labels_of_any_kind():
    x = line(-4, 2**60 + 1, 0, 2**60, dtype=torch.int64)
    out = SequentialLabels()(tio.Subject(seg=x))
    assert labels_in(out.seg) == [0, 3, 1, 2]
    assert labels_in(out.apply_inverse_transform().seg) == labels_in(x)
    x = tio.LabelMap(torch.tensor([0.5, -1, 0.25]).view(1, 1, 1, 3))
    out = SequentialLabels()(tio.Subject(seg=x))
    assert labels_in(out.seg) == [2, 0, 1]
    assert labels_in(out.apply_inverse_transform().seg) == labels_in(x)
    x = tio.LabelMap(torch.arange(-128, 128).to(torch.int8).view(1, 4, 8, 8))
    with pytest.raises(
        ValueError, match=r"SequentialLabels of 'default_image_name'.*torch.int8 can hold, got"
    ):
        SequentialLabels()(x)


def test_one_hot_counts_the_labels_of_the_batch():
    batch = batch_of([tio.Subject(seg=line(0, 1)), tio.Subject(seg=line(0, 2))])
    out = OneHot()(batch)
    assert out.seg.data.shape == (2, 3, 1, 1, 2)
    assert torch.equal(out.apply_inverse_transform().seg.data, batch.seg.data)


def test_soft_predictions_become_labels():
    s = OneHot(3)(tio.Subject(seg=line(0, 2, dtype=torch.float32)))
    shares = torch.tensor([[0.2, 0.3], [0.5, 0.3], [0.3, 0.4]]).view(3, 1, 1, 2)
    s.add_image(tio.LabelMap(shares), "prediction")
    assert labels_in(s.apply_inverse_transform().prediction) == [1, 2]


def test_string_keys_from_json_are_labels():
    assert RemapLabels({"3": 4, "-1": 0}).remapping == {3: 4, -1: 0}
    assert RemapLabels({np.int16(3): np.uint8(4)}).remapping == {3: 4}
    assert repr(RemoveLabels([1, 2])) == "RemoveLabels(labels=(1, 2))"


@pytest.mark.gpu
@needs_gpu
def test_gpu_agrees_with_cpu_without_synchronizing(make):
    subjects = [subject_with_labels(n) for n in range(3)]
    expected = make()(batch_of(subjects))
    batch = batch_of(subjects).to("cuda")
    looks = make().name in ("SequentialLabels", "KeepLargestComponent")
    with nullcontext() if looks else waits_refused():
        out = make()(batch)
    assert out.seg.data.is_cuda
    assert torch.equal(out.seg.data.cpu(), expected.seg.data)
    assert torch.equal(out.other.data.cpu(), expected.other.data)


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda s: OneHot(1.5), TypeError, "num_classes must be an integer, got 1.5"),
        (lambda s: OneHot(-2), ValueError, "num_classes must be -1, or from 1 to 65536, got -2"),
        (lambda s: OneHot(2)(s), ValueError, "OneHot of 'seg': num_classes must be above every"),
        (lambda s: OneHot()(OneHot()(s)), ValueError, "OneHot of 'seg': x must have one channel"),
        (lambda s: RemapLabels([1, 2]), TypeError, "remapping must be a dict, got"),
        (lambda s: RemapLabels({1: 0.5}), TypeError, "remapping must hold integers, got 0.5"),
        (lambda s: RemapLabels({1.0: 2}), TypeError, "remapping must hold integers, got 1.0"),
        (lambda s: RemapLabels({"a": 2}), TypeError, "remapping must hold integers, got 'a'"),
        (lambda s: RemapLabels({1: True}), TypeError, "remapping must hold integers, got True"),
        (lambda s: RemapLabels({1: 2}, 3.5), TypeError, "masking_method must be None, the name"),
        (lambda s: RemapLabels({1: 2}, "x")(s), KeyError, "masking_method must name a label map"),
        (
            lambda s: RemapLabels({1: 300})(s),
            ValueError,
            r"RemapLabels of 'seg': remapping must lead to labels that torch.uint8 .* \[300\]",
        ),
        (lambda s: RemoveLabels(3), TypeError, "labels must be a sequence, got 3"),
        (lambda s: RemoveLabels("34"), TypeError, "labels must be a sequence"),
        (lambda s: RemoveLabels([0.5]), TypeError, "labels must hold integers"),
        (lambda s: RemoveLabels([1], 0.5), TypeError, "background_label must be an integer"),
        (
            lambda s: RemoveLabels([1], -1)(s),
            ValueError,
            r"RemoveLabels of 'seg': background_label must lead to labels that torch.uint8",
        ),
        (lambda s: SequentialLabels(4.5), TypeError, "masking_method must be None, the name"),
        (lambda s: Contour()(OneHot()(s)), ValueError, "Contour of 'seg': x must have one chan"),
        (
            lambda s: KeepLargestComponent()(OneHot()(s)),
            ValueError,
            "KeepLargestComponent of 'seg': x must have one channel, got 3",
        ),
    ],
)
def test_bad_arguments_are_named(run, error, message):
    with pytest.raises(error, match=message):
        run(subject())


def test_in_a_pipeline_with_others():
    pipeline = tio.Compose([
        tio.RandomAffine(degrees=10), SequentialLabels(), Contour(), tio.RandomFlip((0, 1, 2)),
    ])  # fmt: skip
    torch.manual_seed(1)
    out = pipeline(subject_with_labels())
    assert set(out.seg.data.unique().tolist()) <= {0, 1, 2, 3}
    again = out.get_composed_history()(subject_with_labels())
    assert torch.equal(again.seg.data, out.seg.data)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Contour cannot be undone")
        back = out.apply_inverse_transform()
    assert set(back.seg.data.unique().tolist()) <= {0, *MULTIPLE}
