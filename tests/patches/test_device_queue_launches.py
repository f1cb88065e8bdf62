"""Device queue on a GPU: launches of a batch, order of streams, and the same patches as on a CPU.

Where there is no GPU, launches and streams are counted in a dry run, and kernels are interpreted.
"""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

import torchio_gpu as tio
from benchmarks.clock import waits_refused
from tests.devices import interpreted, needs_gpu
from tests.patches.streams import Recorder
from tests.volumes import subject
from torchio_gpu.functional.dispatch import launch

SIZE, BATCH, PATCHES = (2, 4, 3), 4, 2
#: Shapes of the volumes: alike, of two kinds in turn, large or small, or none like another.
SHAPES = {
    "alike": [(24, 26, 22)] * 8,
    "in turn": [(24, 26, 22), (26, 30, 24)] * 4,
    "small": [(8, 11, 7), (9, 8, 10)] * 2,
    "different": [(24 + n, 33 - n, 22 + 2 * n) for n in range(8)],
}
PIPE6 = tio.Compose(
    [
        tio.RandomAffine(scales=0.1, degrees=15, translation=2),
        tio.RandomElasticDeformation(max_displacement=0.5),
        tio.RandomFlip(axes=(0, 1, 2)),
        tio.RandomBiasField(),
        tio.RandomGamma(),
        tio.RandomNoise(),
    ]
)
PIPELINES = {
    "nothing": None,
    "noise": tio.RandomNoise(),
    "flip": tio.RandomFlip(axes=(0, 1, 2)),
    "pipe6": PIPE6,
    "sometimes": tio.Compose(
        [
            tio.RandomAffine(p=0.3),
            tio.RandomElasticDeformation(max_displacement=0.5, p=0.4),
            tio.RandomBiasField(p=0.4),
            tio.RandomGamma(p=0.3),
            tio.RandomNoise(p=0.3),
        ]
    ),
    "one of": tio.OneOf([tio.RandomAffine(), tio.RandomFlip()]),
    "padded": tio.Compose([tio.Pad(3, padding_mode=5), tio.RandomAffine(default_pad_value=7)]),
    "filled": tio.Compose([tio.Pad(3), tio.RandomAffine(default_pad_value="mean")]),
    "of volumes": tio.Compose([tio.RandomBlur(), tio.RandomFlip((0,)), tio.RandomNoise(p=0.5)]),
    "resampled": tio.Compose([tio.Resample(1.5), tio.RandomGamma()]),
}
SAMPLERS = {"uniform": tio.UniformSampler(SIZE), "label": tio.LabelSampler(SIZE, "seg")}


def queue(name, shapes="different", sampler="uniform", count=8, **options):
    subjects = [subject(shape, seed=n) for n, shape in enumerate(SHAPES[shapes][:count])]
    for n, one in enumerate(subjects):
        one["number"] = n
    options = {"device": "cpu", "seed": 3, "patches_per_volume": PATCHES, **options}
    return tio.DeviceQueue(
        subjects, SAMPLERS[sampler], PIPELINES[name], batch_size=BATCH, **options
    )


def assert_alike(batch, expected, rounding):
    """Assert that two batches hold the same patches, up to the rounding of voxels."""
    assert batch.metadata["number"] == expected.metadata["number"]
    assert batch.patch_location == expected.patch_location
    assert torch.equal(batch.metadata["location"], expected.metadata["location"])
    assert repr(batch.history) == repr(expected.history)
    assert np.array_equal(batch.streams.used, expected.streams.used)
    for name, images in batch.images.items():
        own, other = images.data.cpu(), expected.images[name].data
        assert own.dtype == other.dtype
        np.testing.assert_array_equal(images.affine, expected.images[name].affine)
        torch.testing.assert_close(own, other, atol=rounding, rtol=0)


#: Coordinates are rounded in another frame, on slopes of less than 2 a voxel.
ROUNDING = 1e-4


@interpreted
@pytest.mark.parametrize("name", [name for name in PIPELINES if name != "filled"])
def test_kernels_give_the_patches_of_volumes_of_different_shapes(name):
    def batch(backend):
        sampler = "label" if name == "pipe6" else "uniform"
        with tio.backend(backend):
            options = {"count": 3, "patches_per_volume": 1, "shuffle_subjects": False}
            # transforms of volumes are interpreted for all of their voxels
            shapes = "small" if name in ("of volumes", "resampled", "padded") else "in turn"
            return next(iter(queue(name, shapes, sampler, **options)))

    rounding = 0 if name in ("nothing", "flip") else ROUNDING
    assert_alike(batch("triton"), batch("torch"), rounding)


@interpreted
def test_gradients_reach_volumes_of_different_shapes():
    voxels = [torch.rand(1, 6 + n, 8, 7, requires_grad=True) for n in range(2)]
    subjects = [tio.Subject(t1=tio.ScalarImage(each)) for each in voxels]
    sampler = tio.UniformSampler((3, 4, 2))
    with tio.backend("triton"):
        source = tio.DeviceQueue(subjects, sampler, None, 2, device="cpu", shuffle_subjects=False)
        batch = next(iter(source))
        batch.t1.data.sum().backward()
    for each, location in zip(voxels, batch.patch_location, strict=True):
        i, j, k = location.to_slices()
        expected = torch.zeros(each.shape)
        expected[:, i, j, k] = 1
        assert torch.equal(each.grad, expected)


class Count(TorchDispatchMode):
    """Count what operators do on the device; those that allocate alone are left out."""

    _FREE = ("empty", "empty_like", "new_empty", "empty_strided", "detach")

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [v for v in tree_flatten((args, kwargs, out))[0] if isinstance(v, Tensor)]
        name = func._schema.name.partition("::")[2]
        if any(t.is_meta for t in tensors) and name not in self._FREE:
            kind = "views" if func.is_view else "copies" if name == "_to_copy" else name
            self.found[kind] += 1
        return out


def counted(monkeypatch, *given, **options):
    """Return what a batch costs on average, once the subjects are on the device."""
    recorder = Recorder()
    with recorder.running(monkeypatch):
        source = queue(*given, device="meta", **options)
        list(source)  # subjects are copied, and fill values computed
        packed = launch._active.get().buffers
        before = len(packed)
        with Count() as count:
            number = len(list(source))
        count.found["packed copies"] = len(packed) - before
    assert not recorder.faults
    return {name: times / number for name, times in count.found.items() if times}


@pytest.mark.parametrize("shapes", ["alike", "in turn", "different"])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nothing", {"gather_patches": 2}),
        ("noise", {"gather_patches": 2, "pointwise": 1, "packed copies": 1, "views": 4}),
        ("flip", {"gather_patches": 2, "warp": 2, "packed copies": 2, "views": 7}),
        (
            "pipe6",
            {
                "gather_patches": 2,
                "cat": 1,  # fill values of the samples
                "columns": 1,
                "warp_pair": 1,
                "packed copies": 1,
                "views": 14,
            },
        ),
    ],
)
def test_launches_of_a_batch(name, expected, shapes, sampler, monkeypatch):
    """One gather an image, whatever the number of patches and the shapes of their volumes."""
    assert counted(monkeypatch, name, shapes, sampler) == expected


class TestStreams:
    @pytest.mark.parametrize("streams", [1, 3])
    @pytest.mark.parametrize("memory", [0, 10**6, 10**9])
    @pytest.mark.parametrize("sampler", SAMPLERS)
    @pytest.mark.parametrize("name", ["nothing", "pipe6", "filled"])
    def test_order(self, name, sampler, memory, streams, monkeypatch):
        """Copies come first, memory is known to be in use, and the host never waits."""
        recorder = Recorder()
        with recorder.running(monkeypatch):
            consumers = [recorder.current, *(recorder.Stream() for _ in range(streams - 1))]
            source = queue(name, sampler=sampler, device="meta", memory=memory)
            for _ in range(2):
                batches = iter(source)
                for n in range(len(source)):
                    with recorder.stream(consumers[n % streams]):
                        next(batches)
        assert not recorder.faults
        assert {stream for stream, *_ in recorder.copies} == {"copies"}

    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_of_volume_transforms(self, sampler, monkeypatch):
        """Labels that these leave alone are still known on the host."""
        recorder = Recorder()
        with recorder.running(monkeypatch):
            batches = iter(queue("of volumes", sampler=sampler, device="meta"))
            for stream in (recorder.Stream(), recorder.Stream(), recorder.current):
                with recorder.stream(stream):
                    next(batches)
        assert not recorder.faults

    def test_prefetched_subjects_are_not_waited_for(self, monkeypatch):
        recorder = Recorder()
        with recorder.running(monkeypatch):
            source = queue("nothing", device="meta", memory=0, shuffle_subjects=False)
            list(source)
            recorder.copies.clear()
            batches = iter(source)
            next(batches)
            images, group = 2, BATCH
            assert len(recorder.copies) == 2 * images * group  # of this batch and of the next
            (copies,) = [s for s in recorder.current.seen if s.name == "copies"]
            last, latest = (recorder.copies[n][1] for n in (images * group - 1, -1))
            assert last <= recorder.current.seen[copies] < latest
            for _ in range(PATCHES):
                next(batches)
            assert len(recorder.copies) == 2 * images * group  # nothing is copied twice
            assert recorder.current.seen[copies] >= latest

    def test_faults_are_found(self, monkeypatch):
        recorder = Recorder()
        with recorder.running(monkeypatch):
            copies = recorder.Stream()
            with recorder.stream(copies):
                x = torch.ones(3).to("meta")
                arrival = copies.record_event()
            x + 1
            recorder.current.wait_event(arrival)
            x + 1
            arrival.synchronize()
        assert recorder.faults == [
            "a copy of 12 bytes blocks the host",
            "aten::add reads on stream default before a write",
            "the host waits for an event",
            "memory may be reused while stream default reads it",
        ]


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "sampler", "memory"),
    [
        ("nothing", "uniform", 0),
        ("pipe6", "label", 0),
        ("pipe6", "label", None),
        ("filled", "uniform", 0),
    ],
)
def test_on_a_gpu_the_patches_are_those_on_the_cpu(name, sampler, memory):
    """On several streams, with prefetched copies, and without a wait of the host."""
    with tio.backend("torch"):
        expected = list(queue(name, sampler=sampler))
    source = queue(name, sampler=sampler, device="cuda", memory=memory)
    list(source)  # kernels are compiled
    source.set_epoch(0)
    streams = [torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.Stream()]
    batches, found = iter(source), []
    with waits_refused():
        for n in range(len(source)):
            with torch.cuda.stream(streams[n % 3]):
                found.append(next(batches))
    torch.cuda.synchronize()
    for batch, other in zip(found, expected, strict=True):
        assert_alike(batch, other, 0 if name == "nothing" else ROUNDING)
