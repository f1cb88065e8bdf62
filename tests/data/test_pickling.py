"""Pickling of batches between processes: a placeholder replaces a value that cannot be pickled."""

import copy
import os
import pickle
import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import torchio_gpu as tio
from tests.test_multiprocessing import time_limit

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
X = torch.rand(1, 4, 4, 4)


class Unpicklable:
    def __reduce__(self):
        raise ZeroDivisionError("no")


def cycle():
    values = [1, lambda: 2]
    values.append(values)
    return values


def local_classes():
    class Mine(tio.Subject):
        pass

    class MyImage(tio.LabelMap):
        pass

    return Mine(t1=MyImage(X), age=3)


BAD = {
    "lambda": lambda: lambda: 3,
    "lock": threading.Lock,
    "generator": lambda: (i for i in range(3)),
    "module": lambda: torch,
    "nested": lambda: {"a": [1, (lambda: 3, 2)], "b": X},
    "key": lambda: {(lambda: 3): 1},
    "cycle": cycle,
    "own refusal": Unpicklable,
    "graph": lambda: X.clone().requires_grad_() * 2,
}
CASES = {
    **{
        f"of the subject: {n}": lambda m=m: tio.Subject(t1=image(), bad=m()) for n, m in BAD.items()
    },
    **{f"of an image: {n}": lambda m=m: tio.Subject(t1=image(bad=m())) for n, m in BAD.items()},
    "reader": lambda: tio.Subject(t1=tio.ScalarImage(__file__, reader=lambda _: (X, None))),
    "classes": local_classes,
    "voxels of a graph": lambda: tio.Subject(t1=tio.ScalarImage(X.clone().requires_grad_() * 2)),
    "parameters of a graph": lambda: tio.Noise(std=torch.ones(1, requires_grad=True) * 2)(
        tio.Subject(t1=image())
    ),
}


def image(**metadata):
    return tio.ScalarImage(X, **metadata)


class PlainDataset(Dataset):
    """Dataset of subjects that is no SubjectsDataset."""

    def __init__(self, subject):
        self.subject = subject

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.subject


LOADERS = {
    "ours": lambda s: tio.SubjectsLoader(
        tio.SubjectsDataset([s, s]), batch_size=2, num_workers=1, timeout=30
    ),
    "torch's": lambda s: DataLoader(PlainDataset(s), batch_size=2, num_workers=1, timeout=30),
    "subjects": lambda s: DataLoader(PlainDataset(s), batch_size=None, num_workers=1, timeout=30),
    "lists": lambda s: DataLoader(PlainDataset(s), 2, num_workers=1, timeout=30, collate_fn=list),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", LOADERS)
@pytest.mark.filterwarnings("error")  # in the worker, where an error would hold the batch up
def test_batches_with_unpicklable_values_arrive(how, case):
    s = CASES[case]()
    with time_limit(60):
        outs = list(LOADERS[how](s))
    out = outs[0][0] if how == "lists" else outs[0]
    assert len(outs) == (2 if how == "subjects" else 1)
    if case != "reader" or how in ("ours", "torch's"):  # else nothing has been read yet
        assert torch.equal(out.t1.data.reshape(-1)[:64], s.t1.data.detach().reshape(-1))
    assert [type(r) for r in (out.history[0] if how in ("ours", "torch's") else out.history)] == [
        type(r) for r in s.history
    ]


def test_placeholders_name_the_value_that_they_replace(capfd):
    s = tio.Subject(
        t1=tio.ScalarImage(__file__, reader=lambda _: (X, None), lock=threading.Lock()),
        bad={"f": lambda: 3},
        good=[1],
    )
    with time_limit(60):
        batch = next(iter(LOADERS["ours"](s)))
        alone = next(iter(LOADERS["subjects"](s)))
    err = capfd.readouterr().err
    for name in ("SubjectsBatch.metadata['bad'][0]['f']", "ScalarImage.reader", "['lock']"):
        assert f"{name} cannot be pickled, the other process gets a placeholder" in err
    assert batch["good"] == [[1], [1]]
    out = batch.unbatch()[0]
    assert "lambda" in repr(out.bad["f"])
    with pytest.raises(RuntimeError, match=r"lambda.* cannot be pickled, and stayed"):
        out.bad["f"]()
    with pytest.raises(AttributeError, match=r"no attribute 'acquire'.*lock.* cannot be pickled"):
        out.t1.lock.acquire()
    with pytest.raises(OSError, match=r"reader.*lambda.* cannot be pickled, and stayed"):
        alone.t1.load()
    assert pickle.loads(pickle.dumps(out)).good == [1]


def test_copies_keep_unpicklable_values_and_plain_pickling_raises():
    s = tio.Subject(t1=tio.ScalarImage(__file__, reader=lambda _: (X, None)), f=lambda: 3)
    for again in (copy.copy(s), copy.deepcopy(s)):
        assert again.f is s.f
        assert again.t1.reader is s.t1.reader
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(s)
