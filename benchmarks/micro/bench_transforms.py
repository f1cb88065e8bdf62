"""Calls of transforms on volumes so small that only the host counts; history and inverse."""

from __future__ import annotations

import pytest
import torch

import torchio_gpu as tio

from ..versus.peers.torchio_gpu import PIPE6

X = torch.rand(8, 1, 8, 8, 8)
NAMES = ["RandomAffine", "RandomFlip", "RandomBiasField", "RandomGamma", "RandomNoise"]


@pytest.mark.parametrize("name", NAMES)
def bench_call(benchmark, name):
    benchmark(getattr(tio, name)(), X)


def bench_call_of_pipe6(benchmark):
    benchmark(PIPE6, X)


def bench_call_of_pipe6_on_a_subject(benchmark):
    subject = tio.Subject(t1=tio.ScalarImage(X[0]), seg=tio.LabelMap(X[0].byte()))
    benchmark(PIPE6, subject)


def bench_inverse_of_an_affine(benchmark):
    moved = tio.RandomAffine()(tio.Subject(t1=tio.ScalarImage(X[0])))
    benchmark(moved.apply_inverse_transform)


def bench_history_is_composed(benchmark):
    moved = PIPE6(tio.Subject(t1=tio.ScalarImage(X[0])))
    benchmark(moved.get_composed_history)
