"""Fill values that are kept with voxels: what they travel with, and when they are forgotten."""

import copy
import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.data import DataLoader

import torchio_gpu as tio
from tests.devices import needs_gpu
from tests.volumes import subject
from torchio_gpu import functional as F
from torchio_gpu.data.dataset import collate
from torchio_gpu.functional.dispatch import backend
from torchio_gpu.functional.dispatch.launch import PackedCopies

SHAPE = (12, 14, 16)
AUGMENT = tio.Compose([
    tio.RandomAffine(), tio.RandomElasticDeformation(max_displacement=1),
    tio.RandomFlip((0, 1, 2)), tio.RandomBiasField(), tio.RandomGamma(), tio.RandomNoise(),
])  # fmt: skip
#: Two steps that cannot be sampled at once.
TWO_PASSES = tio.Compose([tio.RandomAffine(), tio.RandomBlur(), tio.RandomAffine()])
DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int8,
    torch.int16, torch.int32, torch.int64, torch.bool,
]  # fmt: skip
SPECIAL = {
    "negative": -3.0, "NaN": np.nan, "infinite": np.inf, "negative and infinite": -np.inf,
    "beyond float16": -1e5,
}  # fmt: skip


class Minima(TorchDispatchMode):
    """List the shapes of volumes whose minimum is computed."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in ("aten::amin", "aten::aminmax", "aten::min"):
            self.shapes += [tuple(x.shape) for x in tree_flatten(args)[0] if torch.is_tensor(x)]
        return func(*args, **(kwargs or {}))


def minima(function, *args):
    """Return the shapes of volumes whose minimum a call computes."""
    with Minima() as mode:
        function(*args)
    return [shape for shape in mode.shapes if len(shape) == 5]


def voxels(dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(2, *SHAPE, generator=generator) * 100 + 5).to(dtype)


def collated(*images):
    """Batch as a loader makes it of samples of one image each, two channels by default."""
    given = images or (voxels(seed=0), voxels(seed=1), voxels(seed=2))
    return collate([tio.Subject(t1=tio.ScalarImage(x)) for x in given])


def check_known(images):
    """Check that the minimum is known, and that it is what the voxels give."""
    expected = F.fill_value(images.data, "minimum")
    assert minima(images.fill_value, "minimum") == []
    found = images.fill_value("minimum")
    assert found.device == images.device
    assert found.tolist() == expected.tolist()


def loader(workers, **kwargs):
    subjects = [subject(SHAPE, seed=n) for n in range(3)]
    return tio.SubjectsLoader(
        tio.SubjectsDataset(subjects), batch_size=3, num_workers=workers, seed=1, **kwargs
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_no_minimum_is_computed_of_a_batch_of_the_loader(workers):
    (batch,) = loader(workers)
    assert minima(AUGMENT, batch) == []
    check_known(batch.t1)


def test_a_plain_data_loader_knows_minima_too():
    dataset = tio.SubjectsDataset([subject(SHAPE, seed=n) for n in range(2)])
    (batch,) = DataLoader(dataset, batch_size=2)
    assert minima(AUGMENT, batch) == []


def test_patches_of_a_queue_know_their_minima():
    dataset = tio.SubjectsDataset([subject(SHAPE)])
    queue = tio.Queue(dataset, 4, 2, tio.UniformSampler(8), start_background=False)
    for batch in tio.SubjectsLoader(queue, batch_size=2):
        assert minima(tio.RandomAffine(), batch) == []


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain torch"])
def test_no_minimum_is_computed_as_on_a_gpu(kernels, monkeypatch):
    monkeypatch.setattr(backend, "_why_no_triton", lambda _: None if kernels else "left out")
    monkeypatch.setattr(backend, "_warn_once", lambda _: None)
    (batch,) = loader(0)
    batch = batch.to("meta")
    with backend.rehearsing(torch.device("cuda")), PackedCopies().running() as copies:
        assert minima(AUGMENT, batch) == []
        minimum = batch.t1.fill_value("minimum")
    assert (minimum.shape, minimum.device.type) == ((3, 1), "meta")
    assert len(copies.buffers[-1]) >= 12  # three numbers, sent without a wait


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_minima_are_those_of_the_voxels(dtype):
    batch = collated(voxels(dtype), voxels(dtype, 1) if dtype != torch.bool else voxels(dtype) * 0)
    check_known(batch.t1)
    check_known(batch.t1.floating())
    check_known(batch.t1.to(torch.float16))
    assert minima(tio.RandomAffine(), batch) == []


@pytest.mark.parametrize("kind", SPECIAL)
def test_fills_are_finite(kind):
    x, y = voxels(), voxels(seed=1)
    x[1, 2, 3, 4] = SPECIAL[kind]
    y[0] = SPECIAL[kind]
    images = collated(x, y).t1
    check_known(images)
    check_known(images.to(torch.float16))
    check_known(images.to(torch.bfloat16))
    assert images.to(torch.float16).fill_value("minimum").isfinite().all()


def through_a_queue(images):
    return pickle.loads(ForkingPickler.dumps(images))


MOVES = {
    "pickled": lambda images: pickle.loads(pickle.dumps(images)),
    "sent to a process": through_a_queue,
    "copied": copy.copy,
    "copied deeply": copy.deepcopy,
    "to its device": lambda images: images.to("cpu"),
    "to another place": lambda images: images.to("cpu", copy=True),
    "to another layout": lambda images: images.to(memory_format=torch.channels_last_3d),
    "to half": lambda images: images.to(torch.float16),
    "to double": lambda images: images.to(torch.float64),
    "to half and back": lambda images: images.to(torch.float16).to(torch.float32),
    "one": lambda images: images.rows([1]),
    "some": lambda images: images.rows([0, 2]),
    "flipped": tio.Flip((0, 2)),
    "flipped or not": tio.RandomFlip((0, 1, 2)),
    "canonical": tio.ToCanonical(),
    "transposed": tio.Transpose(),
    "flipped back": lambda images: tio.Flip(1)(tio.Flip(1)(images)),
    "padded, and not at all": tio.Pad(0),
}


@pytest.mark.parametrize("how", MOVES)
def test_minima_go_along(how):
    affine = np.diag([-1.0, 1, -2, 1])
    images = collated().t1
    images.affine = affine[None].repeat(3, 0)
    check_known(MOVES[how](images))
    check_known(images)


@needs_gpu
@pytest.mark.gpu
def test_minima_go_to_a_gpu():
    (batch,) = loader(1, pin_memory=True)
    moved = batch.to("cuda", non_blocking=True)
    check_known(batch.t1)
    check_known(moved.t1)
    assert minima(AUGMENT, moved) == []
    with torch.cuda.stream(torch.cuda.Stream()):
        check_known(moved.t1)
    moved.t1.data.neg_()
    assert len(minima(moved.t1.fill_value, "minimum")) == 1
    check_known(moved.t1)
    with torch.cuda.stream(torch.cuda.Stream()):
        assert len(minima(moved.t1.fill_value, "minimum")) == 1  # known on one stream alone


def write_in_inference_mode(images):
    with torch.inference_mode():
        images.data[0, 0, 1, 1, 1] = -7


def set_item(images):
    images["data"] = images.data - 20


WRITES = {
    "element": lambda images: images.data.__setitem__((0, 0, 1, 1, 1), -7),
    "sub_": lambda images: images.data.sub_(20),
    "copy_": lambda images: images.data.copy_(images.data.clone() * -1),
    "view": lambda images: images.data[1].transpose(1, 2).fill_(-7),
    "detached": lambda images: images.data.detach().neg_(),
    "out": lambda images: torch.neg(images.data.clone(), out=images.data),
    "under inference mode": write_in_inference_mode,
    "attribute": lambda images: setattr(images, "data", images.data - 20),
    "item": set_item,
}


@pytest.mark.parametrize("travelled", [None, "pickled", "to another place", "to half", "some"])
@pytest.mark.parametrize("how", WRITES)
def test_writes_are_noticed(how, travelled):
    images = collated().t1
    images = images if travelled is None else MOVES[travelled](images)
    before = images.fill_value("minimum").tolist()
    WRITES[how](images)
    expected = F.fill_value(images.data, "minimum")
    assert expected.tolist() != before
    assert torch.equal(images.to(torch.float64).fill_value("minimum"), expected.double())
    assert torch.equal(images.fill_value("minimum"), expected)
    check_known(images)


def test_writes_to_one_copy_are_noticed_by_the_other():
    images = collated().t1
    other = copy.copy(images)
    images.data.neg_()
    assert torch.equal(other.fill_value("minimum"), F.fill_value(images.data, "minimum"))


CHANGES = {
    "moved by whole voxels": tio.Affine(translation=2, default_pad_value=-1),
    "cropped": tio.Crop(3),
    "padded": tio.Pad(2, padding_mode=-1),
    "cropped and padded": tio.Compose([tio.Crop(3), tio.Pad(3, padding_mode=-1)]),
    "flipped and clamped": tio.Compose([tio.Flip(0), tio.Clamp(out_min=50)]),
    "rotated": tio.Affine(degrees=10, default_pad_value=-1),
    "converted": tio.Lambda(lambda x: -x, batched=True),
    "converted one by one": tio.Lambda(lambda x: -x),
}


@pytest.mark.parametrize("how", CHANGES)
def test_changed_voxels_have_other_minima(how):
    images = collated().t1
    changed = CHANGES[how](images)
    expected = F.fill_value(changed.data, "minimum")
    assert not torch.equal(expected, images.fill_value("minimum"))
    assert torch.equal(changed.fill_value("minimum"), expected)


def test_a_batch_that_is_where_it_should_be_keeps_all_its_fills():
    images = collated().t1
    mean = images.fill_value("mean")
    assert images.to("cpu").fill_value("mean") is mean


def test_other_voxels_have_other_minima():
    images = collated().t1
    other = images.with_data(images.data - 20)
    assert torch.equal(other.fill_value("minimum"), images.fill_value("minimum") - 20)
    assert torch.equal(images.data.amin((2, 3, 4)), images.fill_value("minimum"))


def test_integers_that_cannot_hold_the_voxels_have_other_minima():
    images = collated(voxels() * 10).t1
    whole = images.to(torch.uint8)  # larger numbers wrap around
    assert torch.equal(whole.fill_value("minimum"), F.fill_value(whole.data, "minimum"))


@pytest.mark.parametrize("rule", ["minimum", "mean", "otsu"])
def test_memory_of_numpy_is_looked_at_each_time(rule):
    array = np.random.default_rng(0).random((2, 1, *SHAPE), np.float32)
    images = tio.ImagesBatch(torch.from_numpy(array))
    images.fill_value(rule)
    array -= 1
    assert torch.equal(images.fill_value(rule), F.fill_value(images.data, rule))


def test_a_write_by_numpy_is_noticed_once_voxels_are_set():
    images = collated().t1
    images.data.numpy()[0, 0, 1, 1, 1] = -7
    images.data = images.data
    assert images.fill_value("minimum")[0, 0] == -7


def test_nothing_is_kept_where_torch_counts_no_writes():
    with torch.inference_mode():
        images = collated().t1
        images.fill_value("minimum")
        images.data.neg_()
        assert torch.equal(images.fill_value("minimum"), F.fill_value(images.data, "minimum"))
        check_voxels = pickle.loads(pickle.dumps(images)).fill_value("minimum")
    assert torch.equal(check_voxels, F.fill_value(images.data, "minimum"))


@pytest.mark.parametrize("rule", ["minimum", "mean", "otsu"])
def test_a_fill_is_computed_once_for_several_calls(rule):
    images = tio.ImagesBatch(torch.rand(2, 1, *SHAPE))
    transform = tio.RandomAffine(default_pad_value=rule)
    expected = F.fill_value(images.data, rule)
    transform(images)
    assert minima(transform, images) == []
    assert torch.equal(images.fill_value(rule), expected)
    assert images.fill_value(rule) is images.fill_value(rule)
    images.data.add_(1)
    assert torch.equal(images.fill_value(rule), F.fill_value(images.data, rule))


def test_the_minimum_of_a_tensor_is_computed_once_a_call():
    x = torch.rand(2, 1, *SHAPE)
    assert minima(tio.RandomAffine(), x) == [(2, 1, *SHAPE)]
    assert minima(TWO_PASSES, x) == [(2, 1, *SHAPE)] * 2  # of two volumes
    # labels are sampled early, by which this crop finds its place
    steps = [tio.RandomAffine(), tio.CropOrPad(8, mask_name="seg"), tio.RandomAffine()]
    given = {"t1": x, "t2": x + 1, "seg": (x > 0.5).int()}
    assert len(minima(tio.Compose(steps, label_keys=["seg"]), given)) <= 4


def test_one_minimum_for_two_names_of_one_image():
    (batch,) = loader(0)
    assert minima(tio.RandomAffine(keep={"t1": "before"}), batch) == []


def test_a_fill_keeps_its_gradient():
    known, raw = collated(), tio.ImagesBatch(torch.stack([voxels(seed=n) for n in range(3)]))
    transform = tio.Affine(degrees=20, translation=4)
    gradients = []
    for images in (known.t1, raw):
        images.data.requires_grad_()
        transform(images).data.square().sum().backward()
        gradients.append(images.data.grad)
        transform(images).data.sum().backward()  # not through the same fill again
    least = raw.data.detach().amin((2, 3, 4), keepdim=True) == raw.data
    assert torch.equal(*gradients)
    assert (gradients[0][least] > 10 * gradients[0].abs().mean()).all()


def test_results_do_not_depend_on_what_is_known():
    known, unknown = loader(0), loader(0, collate_fn=tio.SubjectsBatch.from_subjects)
    for transform in (AUGMENT, TWO_PASSES):
        (one,), (other,) = known, unknown
        assert minima(other.t1.fill_value, "minimum")
        known.set_epoch(0)
        unknown.set_epoch(0)
        one, other = transform(one), transform(other)
        assert torch.equal(one.t1.data, other.t1.data)
        assert torch.equal(one.seg.data, other.seg.data)


def test_the_minimum_of_labels_and_complex_voxels_is_not_computed():
    complex_image = tio.ScalarImage(torch.rand(1, *SHAPE, dtype=torch.complex64))
    sample = tio.Subject(seg=tio.LabelMap(torch.ones(1, *SHAPE)), t1=complex_image)
    assert minima(collate, [sample, sample]) == []
    assert collate([sample]).t1.fill_value("minimum") == 0


def test_voxels_that_require_a_gradient_are_collated():
    x = voxels().requires_grad_()
    batch = collated(x)
    tio.RandomAffine()(batch).t1.data.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_known_fill_has_the_dtype_of_the_voxels(dtype):
    images = tio.ImagesBatch(torch.rand(2, 1, 3, 3, 3).to(dtype))
    expected = images.fill_value("minimum")
    for other in (pickle.loads(pickle.dumps(images)), copy.deepcopy(images)):
        found = other.fill_value("minimum")
        assert found.dtype == expected.dtype == dtype
        assert torch.equal(found, expected)
