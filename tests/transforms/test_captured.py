"""Transforms in CUDA graphs: host programs give the numbers of calls, and graphs read them.

Without a GPU, :class:`DryGraphs` takes the place of streams, graphs and asynchronous copies.
"""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.devices import interpreted, needs_gpu
from tests.transforms.test_all_transforms import REGRIDS, TRANSFORMS
from tests.volumes import batch_of, oblique_affine, subject
from torchio_gpu.functional.dispatch import backend as backends
from torchio_gpu.functional.dispatch.launch import PackedCopies
from torchio_gpu.transforms.captured import Captured
from torchio_gpu.transforms.pipeline.executor import run as run_plan
from torchio_gpu.transforms.pipeline.host import HostProgram, LaunchLog
from torchio_gpu.transforms.pipeline.record import Record

CUDA = torch.device("cuda")


def _pipeline(p: float = 1.0) -> tio.Compose:
    return tio.Compose(
        [
            tio.RandomAffine(p=p),
            # few control points, which are few blocks of rows
            tio.RandomElasticDeformation((4, 5, 6), 0.5, locked_borders=1, p=p),
            tio.RandomFlip(axes=(0, 1, 2), p=p),
            tio.RandomBiasField(p=p),
            tio.RandomGamma(p=p),
            tio.RandomNoise(p=p),
        ]
    )


def _batch(seed: int, size: int = 2, device: str = "cpu", dtype=torch.float32) -> tio.SubjectsBatch:
    generator = torch.Generator().manual_seed(7)
    t1 = torch.rand(size, 1, 2, 4, 5, generator=generator)  # kernels may be interpreted
    labels = torch.randint(0, 3, (size, 1, 2, 4, 5), generator=generator, dtype=torch.uint8)
    images = {
        "t1": tio.ImagesBatch(t1.to(device, dtype)),
        "seg": tio.ImagesBatch(labels.to(device), kind="label"),
    }
    batch = tio.SubjectsBatch(images)
    batch.streams = tio.random.Streams(np.arange(seed, seed + size))
    return batch


def _same(one: tio.SubjectsBatch, other: tio.SubjectsBatch) -> bool:
    return all(torch.equal(one[name].data, other[name].data) for name in other.images)


def _histories(batch: tio.SubjectsBatch) -> list[str]:
    """Return all that the records of the last sample hold, as text."""
    return [
        f"{r.name} {r.params.to_dict()} {r.names} {r.untouched} {r.active} {r.fuse} {r.follows} "
        f"{[(space.shape, space.affine.tolist()) for space in r.spaces]}"
        for r in batch.unbatch()[-1].history
    ]


# Host programs


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Kernels are chosen as on a GPU, for voxels on ``meta``."""
    monkeypatch.setattr(backends, "_why_no_triton", lambda device: None)


def _on_meta(seed: int, size: int = 3, shift: float = 0.0) -> tio.SubjectsBatch:
    """Return samples without voxels, each with an affine of its own if they are shifted."""
    origins = [(-11.0 + shift * n, 7.0, 23.0) for n in range(size)]
    subjects = [
        subject((6, 8, 9), oblique_affine(origin=origin), n) for n, origin in enumerate(origins)
    ]
    batch = batch_of(subjects, [100 * seed + n for n in range(size)]).to("meta")
    return batch


def _called(transform, batch):
    """Return the launches and the copied bytes of a call, and its result."""
    copies, log = PackedCopies(), LaunchLog()
    with backends.rehearsing(CUDA), copies.running(), log:
        out = run_plan(transform.plan(), batch)
    parts = [np.empty(0, np.uint8), *(buffer.numpy() for buffer in copies.buffers)]
    return log.lines, np.concatenate(parts), out


#: Those that bring numbers to the device in another way than a packed copy.
NOT_CAPTURED = {
    *(
        "B0Distortion",
        "RandomDiffeomorphism",
        "Displacement",
        "Diffeomorphism",
        "AffineElasticDeformation",
    ),
    *("RandomGamma, rescaled", "Gamma, rescaled", "RandomContrast", "RandomContrast, by channel"),
    *("Contrast", "Mask", "ChemicalShift, half"),
}


@pytest.mark.filterwarnings("ignore:max_displacement should stay below")
@pytest.mark.parametrize("p", [1.0, 0.5])
@pytest.mark.parametrize("name", [*TRANSFORMS, *REGRIDS])
def test_a_program_gives_the_numbers_of_calls(name, p, as_on_a_gpu):
    transform = {**TRANSFORMS, **REGRIDS}[name](p=p)
    if name in REGRIDS and p < 1:
        pytest.skip("a batch must have one grid")
    program = HostProgram(transform.plan(), _on_meta(0), CUDA)
    if name in NOT_CAPTURED:
        with pytest.raises(RuntimeError, match="cannot be captured"):
            program.call(_on_meta(0), _on_meta(0).streams)
        return
    for seed in range(6):
        batch = _on_meta(seed, shift=seed // 3)
        lines, content, expected = _called(transform, _on_meta(seed, shift=seed // 3))
        call = program.call(batch, batch.streams)
        assert (program.untraceable is None) == ("Lambda" not in name)
        assert call.outcome.launches[3] == tuple(lines)
        np.testing.assert_array_equal(call.content(), content)
        out = call.result(batch, {n: each.data for n, each in expected.images.items()})
        assert out.kinds == expected.kinds
        for one, other in zip(out.images.values(), expected.images.values(), strict=True):
            np.testing.assert_array_equal(one.affine, other.affine)
        assert len(out.records) == len(expected.records)
        assert _histories(out) == _histories(expected)
        assert batch.streams.used.tolist() == [transform.plan().positions] * 3
        assert out.metadata == expected.metadata == {"age": [45, 45, 45]}


def test_affines_are_inputs_of_a_program(as_on_a_gpu):
    """Patches of volumes have an affine each: no call of theirs is traced anew."""
    transform = _pipeline()
    program = HostProgram(transform.plan(), _on_meta(0, shift=1), CUDA)
    for seed in range(1, 8):
        batch = _on_meta(seed, shift=seed / 7)
        _, content, _ = _called(transform, _on_meta(seed, shift=seed / 7))
        np.testing.assert_array_equal(program.call(batch, batch.streams).content(), content)
    assert program.traces == 1


def test_decisions_select_the_trace(as_on_a_gpu):
    transform = _pipeline(p=0.5)
    program = HostProgram(transform.plan(), _on_meta(0, 1), CUDA)
    launches = set()
    for seed in range(40):
        batch = _on_meta(seed, 1)
        lines, content, _ = _called(transform, _on_meta(seed, 1))
        call = program.call(batch, batch.streams)
        assert call.outcome.launches[3] == tuple(lines)
        np.testing.assert_array_equal(call.content(), content)
        launches.add(call.outcome.launches)
    assert len(launches) > 8
    before = program.traces
    for seed in range(40):
        program.call(_on_meta(seed, 1), _on_meta(seed, 1).streams)
    assert program.traces == before


@dataclass(frozen=True)
class OwnParams(tio.Params):
    matrix: np.ndarray


class Own(tio.RandomTransform, tio.SpatialTransform):
    """Transform of a user, who writes to arrays of numpy and draws other numbers."""

    draws = 2

    def draw(self, context, u):
        matrix = np.eye(4)[None].repeat(len(u), 0)
        for sample in range(len(u)):
            matrix[sample, 0, 3] = float(u[sample, 0])
        matrix[:, 1, 3] = self.offset
        self.offset += 1
        return OwnParams(matrix)

    def maps(self, params, context):
        out = np.zeros_like(params.matrix)
        out[...] = params.matrix
        return (tio.SpatialMap(out),)


def test_a_class_of_a_user_is_called_each_time(as_on_a_gpu):
    own, reference = Own(), Own()
    own.offset = 0
    program = HostProgram(own.plan(), _on_meta(0), CUDA)
    for seed in range(4):
        batch = _on_meta(seed)
        own.offset = reference.offset = seed
        if seed == 0:
            program.call(_on_meta(seed), _on_meta(seed).streams)  # the one that is traced
            own.offset = seed
        call = program.call(batch, batch.streams)
        _, content, _ = _called(reference, _on_meta(seed))
        np.testing.assert_array_equal(call.content(), content)
    assert program.untraceable is None
    assert program.traces == 1


def test_what_cannot_be_recorded_is_made_each_time(as_on_a_gpu):
    factors = iter((2, 3))
    transform = tio.Lambda(lambda x: x * next(factors), ["intensity"], batched=True)
    program = HostProgram(transform.plan(), _on_meta(0), CUDA)
    launches = [program.call(_on_meta(0), _on_meta(0).streams).outcome.launches for _ in range(2)]
    assert "function of the user" in program.untraceable
    assert launches[0] != launches[1]


def test_points_follow(as_on_a_gpu):
    transform = tio.RandomAffine()
    batch, other = _on_meta(0), _on_meta(0)
    for each in (batch, other):
        each.metadata = {"marks": [tio.Points(torch.rand(2, 3)) for _ in range(3)]}
    batch.metadata = other.metadata
    voxels = {name: each.data for name, each in batch.images.items()}
    program = HostProgram(transform.plan(), batch, CUDA)
    out = program.call(batch, batch.streams).result(batch, voxels)
    _, _, expected = _called(transform, other)
    for one, two in zip(out.metadata["marks"], expected.metadata["marks"], strict=True):
        assert torch.equal(one.data, two.data)


def test_late_records_are_records(as_on_a_gpu):
    transform = _pipeline()
    batch = _on_meta(3)
    _, _, expected = _called(transform, _on_meta(3))
    program = HostProgram(transform.plan(), batch, CUDA)
    voxels = {name: each.data for name, each in batch.images.items()}
    out = program.call(batch, batch.streams).result(batch, voxels)
    program.call(_on_meta(4), _on_meta(4).streams).content()  # of other numbers
    assert [record.name for record in out.records] == [record.name for record in expected.records]
    copied = pickle.loads(pickle.dumps(out.records[0]))
    assert type(copied) is Record
    np.testing.assert_array_equal(copied.params.degrees, expected.records[0].params.degrees)
    assert repr(out.records) == repr(expected.records)
    assert all(type(record) is Record for record in out.records)


# Graphs


def _late(as_on_a_gpu) -> tuple[HostProgram, tio.SubjectsBatch, Record, Record]:
    """A program, a batch, a late record of a call on it, and the record that it must become."""
    transform, batch = tio.RandomAffine(), _on_meta(3)
    program = HostProgram(transform.plan(), batch, CUDA)
    voxels = {name: images.data for name, images in batch.images.items()}
    for _ in range(2):  # the second call replays the first
        call = program.call(batch, tio.random.Streams(batch.streams.seeds.copy()))
    record = call.result(batch, voxels).records[-1]
    expected = _called(transform, _on_meta(3))[2].records[-1]
    return program, batch, record, expected


def test_late_records_do_not_read_arrays_of_the_caller(as_on_a_gpu):
    _, batch, record, expected = _late(as_on_a_gpu)
    for images in batch.images.values():
        images.affine[:] = 5
    assert repr(record) == repr(expected)


def test_threads_look_at_late_records_at_once(as_on_a_gpu):
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            _, _, record, expected = _late(as_on_a_gpu)
            with ThreadPoolExecutor(4) as pool:
                seen = list(pool.map(lambda _, r=record: repr(r), range(8)))
            assert set(seen) == {repr(expected)}
    finally:
        sys.setswitchinterval(before)


def test_launches_differ_with_determinism(as_on_a_gpu):
    transform, batch = tio.RandomAffine(), _on_meta(3)
    keys = set()
    for flag in (False, True):
        torch.use_deterministic_algorithms(flag)
        try:
            program = HostProgram(transform.plan(), batch, CUDA)
            streams = tio.random.Streams(batch.streams.seeds.copy())
            keys.add(program.call(batch, streams).outcome.launches)
        finally:
            torch.use_deterministic_algorithms(False)
    assert len(keys) == 2


class DryGraphs:
    """Streams that do nothing until they are told to, on the CPU."""

    type = "cpu"

    def __init__(self) -> None:
        self.current, self.queues, self.graphs = "first", {}, 0

    @contextmanager
    def on(self, stream: str):
        before, self.current = self.current, stream
        yield
        self.current = before

    def stream(self, device):
        return self.current

    def stage(self, content):
        return torch.from_numpy(content.copy())

    def copy(self, target, source):
        self._enqueue(lambda: target.copy_(source))

    def capture(self, launch, device):
        self.graphs += 1
        outputs = launch()

        def replay():
            for name, voxels in launch().items():
                outputs[name].copy_(voxels)

        return lambda: self._enqueue(replay), outputs

    def _enqueue(self, work) -> None:
        self.queues.setdefault(self.current, []).append(work)

    def step(self, stream: str) -> None:
        self.queues[stream].pop(0)()

    def finish(self, *streams: str) -> None:
        """Execute what is queued, one entry of each stream in turn."""
        while any(self.queues.get(stream) for stream in streams):
            for stream in streams:
                if self.queues.get(stream):
                    self.step(stream)


def _dry(transform, inputs=None):
    graphs = DryGraphs()

    class Dry(Captured):
        _graph_device = staticmethod(lambda: graphs)

    return Dry(transform, inputs), graphs


def _pointwise() -> tio.Compose:
    """Return a pipeline whose kernel the interpreter runs quickly."""
    return tio.Compose([tio.RandomGamma(), tio.RandomNoise()])


@interpreted
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_replays_give_the_voxels_and_histories_of_calls(p):
    augment = _pipeline(p)
    with tio.backend("triton"):
        captured, graphs = _dry(augment)
        for seed in (4, 5, 8)[: 2 if p == 1 else 3]:
            got = captured(_batch(seed))
            graphs.finish("first")
            expected = augment(_batch(seed))
            assert _same(got, expected)
            assert _histories(got) == _histories(expected)
            assert got.streams.used.tolist() == expected.streams.used.tolist()
    assert graphs.graphs == 1 if p == 1 else graphs.graphs > 1


@interpreted
def test_types_come_back_and_torch_seeds_are_used():
    augment = _pointwise()
    x = _batch(0).t1.data
    with tio.backend("triton"):
        captured, graphs = _dry(augment)
        for given in (x, x[0], tio.Subject(t1=tio.ScalarImage(x[0])), {"t1": x}):
            torch.manual_seed(3)
            got = captured(given)
            graphs.finish("first")
            torch.manual_seed(3)
            expected = augment(given)
            assert type(got) is type(expected)
            if isinstance(given, torch.Tensor):
                assert torch.equal(got, expected)
    assert isinstance(got, dict)
    assert torch.equal(got["t1"], expected["t1"])


@interpreted
def test_a_call_before_the_one_before_it_is_done():
    """Numbers of a call must not overwrite those that an earlier copy still reads."""
    augment = _pointwise()
    with tio.backend("triton"):
        captured, graphs = _dry(augment)
        captured(_batch(0))
        first = captured(_batch(1))
        second = captured(_batch(2))
        assert first.t1.data is second.t1.data
        for _ in range(2 * len(graphs.queues["first"]) // 3):  # of three calls, which are alike
            graphs.step("first")
        assert _same(first, augment(_batch(1)))
        graphs.finish("first")
        assert _same(second, augment(_batch(2)))
        assert _histories(first) == _histories(augment(_batch(1)))


@interpreted
def test_streams_have_outputs_of_their_own():
    augment = _pointwise()
    with tio.backend("triton"):
        captured, graphs = _dry(augment)
        outs = {}
        for seed, stream in ((1, "first"), (2, "second")):
            with graphs.on(stream):
                outs[seed] = captured(_batch(seed))
        graphs.finish("second", "first")
        assert all(_same(out, augment(_batch(seed))) for seed, out in outs.items())
    assert graphs.graphs == 2


@interpreted
def test_inputs_of_the_caller():
    augment = _pointwise()
    inputs = _batch(0)
    with tio.backend("triton"):
        captured, graphs = _dry(augment, inputs)
        for seed in (1, 2):
            graphs.copy(inputs.t1.data, _batch(0).t1.data * seed)  # as a prefetcher does
            inputs.streams = tio.random.Streams(np.arange(seed, seed + 2))
            copies = len(graphs.queues["first"])
            got = captured()
            assert len(graphs.queues["first"]) == copies + 2  # the numbers and the graph
            graphs.finish("first")
            other = _batch(seed)
            other["t1"] = tio.ImagesBatch(_batch(0).t1.data * seed)
            assert _same(got, augment(other))
        other = _batch(5)
        got = captured(other)  # copied to the inputs
        graphs.finish("first")
        assert torch.equal(inputs.t1.data, other.t1.data)
        assert _same(got, augment(_batch(5)))


def test_inputs_are_checked_early():
    with pytest.raises(ValueError, match="CUDA device"):
        tio.Captured(tio.RandomFlip(), torch.rand(1, 1, 4, 4, 4))
    captured, _ = _dry(tio.RandomFlip(), _batch(0))
    for other in (_batch(0, 3), _batch(0, dtype=torch.float16)):
        with pytest.raises(ValueError, match="must be as those of inputs"):
            captured(other)
    with pytest.raises(TypeError, match="without inputs"):
        _dry(tio.RandomFlip())[0]()


def test_probabilities_may_change():
    augment = tio.Compose([tio.RandomNoise(p=0.01), tio.RandomGamma()])
    batch = _on_meta(0)
    captured, _ = _dry(augment)
    one = captured._program(batch, CUDA)
    assert captured._program(_on_meta(1), CUDA) is one
    augment[0].p = 0.99
    assert captured._program(batch, CUDA) is not one


def test_copies_outside_the_packed_ones_are_refused():
    # plain torch brings the seeds of noise to the device by itself
    batch = _batch(1, dtype=torch.float64)
    program = HostProgram(tio.RandomNoise().plan(), batch, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="cannot be captured"):
        program.call(batch, batch.streams)


def test_host_numbers_in_a_launch_are_part_of_the_key():
    crop = tio.OneOf([tio.Crop((1, 0, 0, 0, 0, 0)), tio.Crop((0, 1, 0, 0, 0, 0))])
    program = HostProgram(crop.plan(), _batch(0, 1), torch.device("cpu"))
    calls = [program.call(_batch(seed, 1), _batch(seed, 1).streams) for seed in range(6)]
    assert len({call.outcome.launches for call in calls}) == 2


def test_images_without_launches_are_part_of_the_key():
    unchanged = tio.RandomFlip(p=0)

    def called(batch):
        program = HostProgram(unchanged.plan(), batch, torch.device("cpu"))
        return program.call(batch, batch.streams)

    call = called(_batch(1))
    assert call.outcome.launches == called(_batch(2)).outcome.launches
    assert call.content().shape == (0,)
    other, renamed = _batch(1), _batch(1)
    other.images["seg"] = tio.ImagesBatch(torch.zeros(2, 2, 2, 4, 5, dtype=torch.uint8))
    renamed.images["t2"] = renamed.images.pop("t1")
    keys = {called(batch).outcome.launches for batch in (_batch(1), other, renamed)}
    assert len(keys) == 3


def test_voxels_on_the_host_are_refused():
    with pytest.raises(ValueError, match="CUDA device"):
        tio.Captured(tio.RandomFlip())(torch.rand(1, 1, 4, 4, 4))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_replays_equal_calls(p):
    augment = _pipeline(p)
    captured = tio.Captured(augment)
    for seed in range(12):
        got = captured(_batch(seed, 4, "cuda"))
        expected = augment(_batch(seed, 4, "cuda"))
        assert _same(got, expected)
        assert _histories(got) == _histories(expected)


@pytest.mark.gpu
@needs_gpu
def test_calls_ahead_of_the_device_on_two_streams():
    augment = _pipeline()
    captured = tio.Captured(augment)
    streams = [torch.cuda.Stream() for _ in range(2)]
    for stream in streams:
        with torch.cuda.stream(stream):
            captured(_batch(0, 4, "cuda"))  # captures
    torch.cuda.synchronize()
    batches = {seed: _batch(seed, 4, "cuda") for seed in range(1, 21)}
    torch.cuda.synchronize()
    kept = {}
    for seed, batch in batches.items():
        with torch.cuda.stream(streams[seed % 2]):
            torch.cuda._sleep(1_000_000)
            out = captured(batch)
            kept[seed] = {name: each.data.clone() for name, each in out.images.items()}
    torch.cuda.synchronize()
    for seed, voxels in kept.items():
        expected = augment(_batch(seed, 4, "cuda"))
        assert all(torch.equal(voxels[name], expected[name].data) for name in voxels)


@pytest.mark.gpu
@needs_gpu
def test_inputs_of_the_caller_on_a_gpu():
    augment = _pipeline()
    inputs = _batch(0, 4, "cuda")
    captured = tio.Captured(augment, inputs)
    for seed in range(1, 4):
        inputs.t1.data.copy_(_batch(0, 4).t1.data * seed, non_blocking=True)
        inputs.streams = tio.random.Streams(np.arange(seed, seed + 4))
        got = captured()
        other = _batch(seed, 4, "cuda")
        other["t1"] = tio.ImagesBatch(_batch(0, 4, "cuda").t1.data * seed)
        assert _same(got, augment(other))
