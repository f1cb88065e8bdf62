"""Random numbers of samples: the generator, seeds and uniform numbers, normal numbers."""

from .gaussian import normal_groups, normals, patch_normals
from .philox import MASK, philox, philox_pairs
from .streams import (
    Layout,
    Streams,
    fresh_seeds,
    offspring,
    sample_seeds,
    streams_for,
    to_seeds,
    uniforms,
    use_seed,
    visits,
)

__all__ = [
    "MASK",
    "Layout",
    "Streams",
    "fresh_seeds",
    "normal_groups",
    "normals",
    "offspring",
    "patch_normals",
    "philox",
    "philox_pairs",
    "sample_seeds",
    "streams_for",
    "to_seeds",
    "uniforms",
    "use_seed",
    "visits",
]
