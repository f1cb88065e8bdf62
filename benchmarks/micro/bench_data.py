"""Subjects and batches: what a loader does beside reading files."""

from __future__ import annotations

import pickle

import torch

import torchio_gpu as tio

IMAGE = torch.rand(1, 32, 32, 32)
SUBJECT = tio.Subject(t1=tio.ScalarImage(IMAGE), seg=tio.LabelMap(IMAGE.byte()), age=45)
BATCH = tio.SubjectsBatch.from_subjects([SUBJECT] * 8)


def bench_a_subject_is_made(benchmark):
    benchmark(lambda: tio.Subject(t1=tio.ScalarImage(IMAGE), seg=tio.LabelMap(IMAGE.byte())))


def bench_a_batch_is_made_of_eight_subjects(benchmark):
    benchmark(tio.SubjectsBatch.from_subjects, [SUBJECT] * 8)


def bench_a_batch_becomes_eight_subjects(benchmark):
    benchmark(BATCH.unbatch)


def bench_a_subject_is_pickled(benchmark):
    benchmark(lambda: pickle.loads(pickle.dumps(SUBJECT)))
