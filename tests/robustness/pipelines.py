"""Random pipelines on images of any shape: finite, equal in a batch, or refused."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import torch

import torchio_gpu as tio
from tests.transforms.test_all_transforms import REGRIDS, TRANSFORMS

MAKERS = {n: m for n, m in {**TRANSFORMS, **REGRIDS}.items() if not n.startswith("Lambda")}
DTYPES = (torch.float32, torch.float64, torch.float16, torch.int16, torch.uint8)


def prepare(_: Path | None = None) -> None:
    """Prepare nothing."""


def make(number: int, seed: int) -> tuple[tio.Subject, tio.Compose, str]:
    """Return a subject, a pipeline and a description."""
    chance = random.Random(f"{number} {seed}")
    shape = tuple(chance.choice((1, 2, 3, 7, 12)) for _ in range(3))
    dtype = chance.choice(DTYPES)
    generator = torch.Generator().manual_seed(chance.randrange(2**31))
    t1 = (torch.rand(chance.randint(1, 3), *shape, generator=generator) * 100).to(dtype)
    labels = torch.randint(0, 4, (1, *shape), generator=generator).to(torch.uint8)
    affine = torch.diag(torch.tensor([chance.choice((0.5, 1.0, 3.0)) for _ in range(3)] + [1.0]))
    subject = tio.Subject(
        t1=tio.ScalarImage(t1, affine=affine), seg=tio.LabelMap(labels, affine=affine)
    )
    names = [chance.choice(list(MAKERS)) for _ in range(chance.randint(1, 4))]
    pipeline = tio.Compose([MAKERS[name](p=chance.choice((1, 0.5))) for name in names])
    return subject, pipeline, f"{names} on {shape} {dtype}"


def run(number: int, seed: int) -> tuple[str, str]:
    """Run one pipeline on a subject, and on a batch of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subject, pipeline, words = make(number, seed)
        torch.manual_seed(number)
        try:
            out = pipeline(subject)
        except (ValueError, RuntimeError, KeyError) as error:
            own = "\n" not in str(error) and " must " in str(error)
            return "refused" if own else "bad: unnamed", f"{words}: {type(error).__name__}: {error}"
        except Exception as error:
            return "bad: error", f"{words}: {type(error).__name__}: {error}"
        for name, image in out.get_images_dict(intensity_only=False).items():
            if not image.data.isfinite().all() and image.dtype != torch.float16:
                return "bad: not finite", f"{words}: {name}"
            if 0 in image.shape or image.data.is_complex():
                return "bad: shape", f"{words}: {name} {tuple(image.shape)}"
        torch.manual_seed(number)
        again = pipeline(tio.SubjectsBatch.from_subjects([subject]))
        if not torch.equal(again["t1"].data[0], out.t1.data):
            return "bad: batch", f"{words}: a batch of one differs"
    return "right", ""
