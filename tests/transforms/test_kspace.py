"""k-space transforms: parameters per sample and image, and their records."""

import json

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import ASR_AFFINE, oblique_affine, random_batch, smooth, subject
from torchio_gpu import functional as F
from torchio_gpu.functional.eager import phase_encode


def test_label_maps_are_left_alone():
    s = subject()
    for transform in (tio.RandomMotion(), tio.RandomGhosting(4), tio.RandomSpike()):
        out = transform(s)
        assert torch.equal(out.seg.data, s.seg.data)
        assert not torch.equal(out.t1.data, s.t1.data)


def test_histories_hold_the_drawn_parameters():
    s = subject()
    pipeline = tio.Compose([
        tio.RandomMotion(num_transforms=3, output="magnitude"),
        tio.RandomGhosting(num_ghosts=(3, 5), restore=(0.1, 0.2)),
        tio.RandomSpike(num_spikes=2, intensity=(1, 2)),
    ])  # fmt: skip
    motion, ghosting, spike = (record.params for record in pipeline(s).history)
    assert motion.output == "magnitude"
    assert motion.axis.shape == (1, 1)
    assert motion.axis.item() in (0, 1, 2)
    assert motion.times.shape == (1, 1, 3)
    assert (np.diff(motion.times) > 0).all()
    assert motion.degrees.shape == motion.translation.shape == (1, 1, 3, 3)
    assert ghosting.num_ghosts.item() in (3, 4, 5)
    assert 0.5 <= ghosting.intensity.item() <= 1
    assert 0.1 <= ghosting.restore.item() <= 0.2
    assert spike.positions.shape == (1, 1, 2, 3)
    assert ((spike.intensity == 0) | ((spike.intensity >= 1) & (spike.intensity <= 2))).all()


def test_drawn_parameters_lie_in_their_ranges():
    batch = random_batch(3000)
    motion = tio.RandomMotion(degrees=(2, 5), translation=3, num_transforms=2).sample_params(batch)
    assert 2 <= motion.degrees.min() < 2.01 < 4.99 < motion.degrees.max() <= 5
    assert -3 <= motion.translation.min() < -2.99 < 2.99 < motion.translation.max() <= 3
    for n, middle in enumerate((1 / 3, 2 / 3)):
        times = motion.times[..., n]
        assert middle - 0.1 <= times.min() < middle - 0.09 < middle + 0.09 < times.max()
        assert times.max() <= middle + 0.1
    ghosting = tio.RandomGhosting(num_ghosts=(4, 6), axes=(0, 2), restore=0.3).sample_params(batch)
    for values, expected in ((ghosting.num_ghosts, [4, 5, 6]), (ghosting.axis, [0, 2])):
        found, counts = np.unique(values, return_counts=True)
        assert found.tolist() == expected
        assert counts.min() > 3000 / len(expected) - 4 * np.sqrt(3000 / len(expected))
    assert 0 <= ghosting.restore.min() < 0.01 < 0.29 < ghosting.restore.max() <= 0.3
    assert (tio.RandomGhosting().sample_params(batch).restore == 0).all()
    single = tio.RandomGhosting(num_ghosts=3).sample_params(batch).num_ghosts
    assert set(np.unique(single)) == {2, 3}
    spike = tio.RandomSpike(num_spikes=(1, 3), intensity=2).sample_params(batch)
    found, counts = np.unique((spike.intensity != 0).sum(-1), return_counts=True)
    assert found.tolist() == [1, 2, 3]
    assert counts.min() > 850
    assert -2 <= spike.intensity.min() < -1.99 < 1.99 < spike.intensity.max() <= 2
    assert 0 < spike.positions.min() < spike.positions.max() < 1


def test_parameters_of_an_image_do_not_depend_on_other_images():
    x = smooth((1, 1, 8, 9, 10))[0].float()
    alone = tio.Subject(t1=tio.ScalarImage(x))
    more = tio.Subject(flair=tio.ScalarImage(x), t1=tio.ScalarImage(x))
    for transform in (tio.RandomMotion(), tio.RandomGhosting(4), tio.RandomSpike()):
        results = []
        for s in (alone, more):
            torch.manual_seed(5)
            results.append(transform(s))
        assert torch.equal(results[0].t1.data, results[1].t1.data)
        assert not torch.equal(results[1].flair.data, results[1].t1.data)


def test_anatomical_axes_are_resolved_in_each_image():
    x = smooth((1, 1, 8, 9, 10))[0].float()
    s = tio.Subject(a=tio.ScalarImage(x), b=tio.ScalarImage(x, affine=ASR_AFFINE))
    ghosts = tio.RandomGhosting(axes=("AP",))(s)
    assert ghosts.history[0].params.axis.tolist() == [[1, 0]]
    given = tio.Ghosting(3, "Anterior", 1.0)(s)
    for name, axis in (("a", 1), ("b", 0)):
        assert torch.equal(given[name].data, F.ghosting(x[None], 3, 1.0, None, axis)[0])


def test_axes_of_one_voxel_are_not_chosen():
    batch = random_batch(200, shape=(6, 7, 1))
    for transform in (tio.RandomMotion(), tio.RandomGhosting()):
        assert set(np.unique(transform.sample_params(batch).axis)) == {0, 1}
    x = torch.rand(1, 1, 1, 1)
    assert torch.equal(tio.RandomGhosting()(x), x)


def test_motion_uses_each_image_s_affine():
    s = subject(affine=oblique_affine((1, 2, 3)))
    degrees, translation, times = [(10, 0, 5)], [(1, 2, 0)], (0.3,)
    out = tio.Motion(degrees, translation, times, axis=1)(s).t1.data
    expected = F.motion(s.t1.data[None], np.array(degrees), np.array(translation),
                        np.array(times), 1, affine=s.t1.affine)  # fmt: skip
    assert torch.equal(out, expected[0])


def test_parameters_by_sample_and_by_name():
    x = smooth((2, 1, 8, 9, 10)).float()
    out = tio.Ghosting([2, 4], [0, 2], [0.5, 1], [None, 0.1][1])(x)
    expected = F.ghosting(x, np.array([2, 4]), np.array([0.5, 1]), 0.1, np.array([0, 2]))
    assert torch.equal(out, expected)
    s = tio.Subject(a=tio.ScalarImage(x[0]), b=tio.ScalarImage(x[0]))
    positions = {"a": [(0.5, 0.5, 0.7)], "b": [(0.1, 0.2, 0.3)]}
    out = tio.Spike(positions, {"a": 0.1, "b": 0.2})(s)
    for name, height in (("a", 0.1), ("b", 0.2)):
        expected = F.spike(x[:1], np.array(positions[name]), height)
        assert_close(out[name].data, expected[0], share=1e-6, reason="the same call")
    with pytest.raises(ValueError, match=r"spikes_positions must have an entry for each.*'b'"):
        tio.Spike({"a": positions["a"]}, 1.0)(s)


def test_only_the_selected_samples_are_computed(monkeypatch):
    seen = []
    plain = phase_encode.filter_lines

    def filter_lines(x, *arguments):
        seen.append(len(x))
        return plain(x, *arguments)

    monkeypatch.setattr(phase_encode, "filter_lines", filter_lines)
    x = torch.rand(64, 1, 4, 4, 4)
    out = tio.RandomGhosting((2, 2), p=0.25)(x)
    changed = (out != x).flatten(1).any(1)
    assert seen == [int(changed.sum())]
    assert 4 < seen[0] < 32


def test_records_without_entries_are_serializable():
    x = torch.rand(1, 6, 6, 6)
    s = tio.Subject(t1=tio.ScalarImage(x))
    for transform in (tio.RandomSpike(num_spikes=(0, 0)), tio.RandomSwap(2, num_iterations=0)):
        text = json.dumps(transform(s).get_composed_history()[0].to_dict())
        assert torch.equal(tio.from_dict(json.loads(text))(s).t1.data, x)


def test_gradients_reach_the_parameters():
    x = smooth((2, 1, 4, 5, 4)) + 3
    degrees, translation = (
        torch.rand(2, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    assert torch.autograd.gradcheck(
        lambda d, t: tio.Motion(d, t, (0.3, 0.7), output="magnitude")(x), (degrees, translation)
    )
    height = torch.tensor([[0.2], [0.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h: tio.Spike([(0.5, 0.2, 0.7)], h)(x), height)
    strength = torch.tensor([0.2, 0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: tio.Ghosting(2, 1, s)(x), strength)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tio.RandomGhosting(num_ghosts=1), "num_ghosts must be a range"),
        (lambda: tio.RandomGhosting(num_ghosts=(1, 4)), "num_ghosts must be >= 2"),
        (lambda: tio.RandomGhosting(num_ghosts=(2.5, 4)), "num_ghosts must be made of whole num"),
        (lambda: tio.RandomGhosting(intensity=(-1, 1)), "intensity must be >= 0"),
        (lambda: tio.RandomGhosting(restore=1.5), "restore must be <= 1, got 1.5"),
        (lambda: tio.RandomGhosting(axes=3), "axes must be 0, 1, 2 or anatomical names"),
        (lambda: tio.Ghosting(1, 0, 1), "num_ghosts must be >= 2"),
        (lambda: tio.Ghosting(2, 0, -1), "intensity must be >= 0"),
        (lambda: tio.Ghosting(2, 0, 1, 2), "restore must be between 0 and 1"),
        (lambda: tio.Ghosting(2, "X", 1), "ax[ei]s must be 0, 1, 2 or anatomical names"),
        (lambda: tio.Ghosting(2.5, 0, 1), "num_ghosts must be whole numbers"),
        (lambda: tio.Ghosting(2, 1.0, 1), "axis must be 0, 1, 2, an anatomical name"),
        (lambda: tio.Ghosting(2, ["LR", "AP"], 1), "axis must be 0, 1, 2, an anatomical name"),
        (lambda: tio.Spike([(0.5, 0.5, 0.5)], (1, 2)), r"intensity must have shape \(1,\)"),
        (lambda: tio.Motion(float("nan"), 0, (0.5,)), "degrees must be finite"),
        (lambda: tio.RandomMotion(num_transforms=True), "num_transforms must be an integer"),
        (lambda: tio.RandomSpike(num_spikes=-1), "num_spikes"),
        (lambda: tio.RandomSpike(num_spikes=1.5), "num_spikes must be made of whole numbers"),
        (
            lambda: tio.RandomSpike(torch.distributions.Poisson(1.0)),
            "num_spikes must have an upper",
        ),
        (lambda: tio.Spike([(0.5, 0.5)], 1), "spikes_positions must have shape"),
        (lambda: tio.Spike([(0.5, 0.5, 1.5)], 1), "spikes_positions must be between 0 and 1"),
        (lambda: tio.RandomMotion(num_transforms=0), "num_transforms must be a whole number >= 1"),
        (lambda: tio.RandomMotion(degrees=(3, 1)), "degrees must be a range"),
        (lambda: tio.RandomMotion(output="abs"), "output must be one of real, magnitude"),
        (lambda: tio.RandomMotion(image_interpolation="x"), "image_interpolation must be one of"),
        (lambda: tio.Motion([(1, 0, 0)], [(1, 0, 0)], (1.2,)), "times must increase and lie"),
        (lambda: tio.Motion([(1, 0, 0)], 0, (0.2, 0.1)), "times must increase and lie"),
        (lambda: tio.Motion([(1, 0)], 0, (0.2,)), r"degrees must have shape \(1, 3\)"),
        (lambda: tio.Motion(0, [(1, 0, 0)] * 2, (0.2,)), r"translation must have shape \(1, 3\)"),
        (lambda: tio.Motion(0, 0, 0.5), r"times must have shape \(P,\) or \(B, P\)"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
