"""Workers, forks and threads: nothing hangs, and results are equal."""

import copy
import os
import pickle
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.distributions import (
    Beta,
    Categorical,
    Exponential,
    Gamma,
    InverseGamma,
    MixtureSameFamily,
    Normal,
    Poisson,
    StudentT,
)

import torchio_gpu as tio
from torchio_gpu.transforms.parameters.quantiles import Quantile

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@contextmanager
def time_limit(seconds):
    """Fail rather than hang."""

    def stop(*_):
        raise TimeoutError(f"no end after {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def subjects(n=4):
    return [tio.Subject(t1=tio.ScalarImage(torch.full((1, 6, 6, 6), float(i)))) for i in range(n)]


UNPICKLABLE = {
    "Lambda": lambda: tio.Lambda(lambda x: x + 1),
    "Lambda in Compose": lambda: tio.Compose([tio.RandomFlip(), tio.Lambda(lambda x: x + 1)]),
    "Lambda in OneOf": lambda: tio.OneOf([tio.Lambda(lambda x: x + 1)]),
    "masking method": lambda: tio.RescaleIntensity(masking_method=lambda x: x >= 0),
    "Mask": lambda: tio.Mask(lambda x: x >= 0),
}


@needs_fork
@pytest.mark.filterwarnings("ignore:.*leaves image")
@pytest.mark.parametrize("method", ["loader", "torch's loader", "queue"])
@pytest.mark.parametrize("name", UNPICKLABLE)
def test_lambdas_run_in_workers(name, method):
    dataset = tio.SubjectsDataset(subjects(), UNPICKLABLE[name]())
    with time_limit(60):
        if method == "loader":
            batches = list(tio.SubjectsLoader(dataset, batch_size=2, num_workers=2))
        elif method == "queue":
            queue = tio.Queue(dataset, 4, 2, tio.UniformSampler(4), num_workers=0)
            batches = list(tio.SubjectsLoader(queue, batch_size=2, num_workers=2))
        else:
            batches = list(torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=2))
    assert sum(batch.batch_size for batch in batches) in (4, 8)
    history = batches[0].history[0]
    assert any("lambda" in repr(record.transform) for record in history)
    lost = next(record for record in history if "lambda" in repr(record.transform))
    again = batches[0].unbatch()[0].get_composed_history()
    with pytest.raises(RuntimeError, match=f"{lost.transform.name} cannot be applied again"):
        again(batches[0].unbatch()[0])


def test_histories_with_lambdas_can_be_replayed_in_one_process():
    """Histories of copies and of pickled subjects can be replayed."""
    subject = tio.Lambda(lambda x: x + 1)(subjects(1)[0])
    again = copy.deepcopy(subject)
    assert (again.get_composed_history()(subjects(1)[0]).t1.data == 1).all()
    subject = tio.RandomFlip(p=1)(subjects(1)[0])
    there = pickle.loads(pickle.dumps(subject))
    assert there.history[0].transform.name == "RandomFlip"
    assert torch.equal(there.get_composed_history()(subjects(1)[0]).t1.data, subject.t1.data)


def augmented(seed):
    torch.manual_seed(seed)
    x = torch.rand(2, 1, 48, 48, 48)
    return tio.Compose([tio.RandomAffine(), tio.RandomBlur(2)])(x).double().mean().item()


@needs_fork
def test_fork_after_use_of_the_thread_pool():
    """The threads of torch's pool do not exist in a forked child."""
    code = """
import multiprocessing, torch
from concurrent.futures import ProcessPoolExecutor
from tests.test_multiprocessing import augmented
torch.set_num_threads(2)
expected = [augmented(n) for n in range(3)]  # the pool is there
context = multiprocessing.get_context("fork")
with ProcessPoolExecutor(2, context) as pool:
    found = list(pool.map(augmented, range(3)))
print(max(abs(a - b) for a, b in zip(expected, found)) < 1e-6)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, encoding="utf-8", timeout=60, env=environment,
    )  # fmt: skip
    assert done.stdout.strip() == "True", done.stderr


MIXTURE = MixtureSameFamily(
    Categorical(torch.tensor([0.3, 0.7])),
    Normal(torch.tensor([-2.0, 1.0]), torch.tensor([1.0, 0.5])),
)
DISTRIBUTIONS = {
    "Normal": Normal(1.0, 2.0),
    "Gamma": Gamma(2.5, 1.5),
    "small Gamma": Gamma(0.2, 3.0),
    "Poisson": Poisson(4.2),
    "Beta": Beta(2.0, 0.7),
    "StudentT": StudentT(5.0),
    "mixture": MIXTURE,
    # whose distribution functions know no numbers below 0
    "InverseGamma": InverseGamma(torch.tensor(8.0), torch.tensor(2.0)),
    "mixture of Exponential": MixtureSameFamily(
        Categorical(torch.ones(2)), Exponential(torch.tensor([1.0, 2.0]))
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_quantiles_of_any_distribution(name):
    """Quantiles are increasing functions, and their moments are those of the distribution."""
    distribution = DISTRIBUTIONS[name]
    u = (np.arange(20_000) + 0.5) / 20_000
    state = torch.get_rng_state()
    quantile = Quantile(distribution)
    values = quantile(u)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.diff(values) >= 0).all()
    np.testing.assert_array_equal(quantile(u[::-1].copy())[::-1], values)
    np.testing.assert_array_equal(quantile(u.reshape(2, -1)).ravel(), values)
    mean, std = distribution.mean.item(), distribution.stddev.item()
    assert abs(values.mean() - mean) < 0.02 * std
    assert abs(values.std() - std) < 0.03 * std
    if name == "Poisson":
        assert (values == values.round()).all()
        assert abs((values == 4).mean() - distribution.log_prob(torch.tensor(4.0)).exp()) < 1e-3


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_queue_does_not_depend_on_the_number_of_threads(name):
    """Threads do not seed torch's global generator."""
    noise = tio.Compose([tio.RandomNoise(mean=DISTRIBUTIONS[name], std=0.0)])
    found = []
    for workers in (0, 1, 3):
        queue = tio.Queue(
            tio.SubjectsDataset(subjects(8), noise), 16, 2, tio.UniformSampler(4),
            num_workers=workers, seed=3,
        )  # fmt: skip
        found.append(torch.stack([patch.t1.data for patch in queue]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
