"""Members of samplers by the names of TorchIO 1."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ... import random
from ...data import Subject
from ...shapes import Triple, TripleLike, check_triple


class OlderSampler:
    """Base of samplers: patches at given places, as in TorchIO 1."""

    patch_size: Triple

    def extract_patch(self, subject: Subject, index_ini: TripleLike) -> Subject:
        """Cut the patch that begins at a voxel of a subject.

        Args:
            subject: The subject.
            index_ini: First voxel of the patch along I, J, K; it is outside where there is padding.

        Raises:
            ValueError: The patch does not lie in the volume, or in the padded one.
        """
        sampler: Any = self
        first, last = sampler.room(subject.spatial_shape)
        corner = np.array(check_triple(index_ini, "index_ini", least=int(first.min())))
        if not ((corner >= first) & (corner <= last)).all():
            raise ValueError(
                f"index_ini must be from {tuple(first.tolist())} to {tuple(last.tolist())}, "
                f"got {index_ini!r}"
            )
        padded, before = sampler.padded(subject)
        streams = subject.streams or random.streams_for(1)
        patch: Subject = sampler.cut(padded, before, corner, int(streams.offspring(1)[0, 0]))
        return patch

    def crop(self, subject: Subject, index_ini: TripleLike, patch_size: TripleLike) -> Subject:
        """Cut a patch of another size; see :meth:`extract_patch`."""
        other = copy.copy(self)
        other.patch_size = check_triple(patch_size, "patch_size")
        return other.extract_patch(subject, index_ini)


__all__ = ["OlderSampler"]
