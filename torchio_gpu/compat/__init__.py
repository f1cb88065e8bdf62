"""Modules of TorchIO 1 by their names: ``utils``, ``io``, ``sampler`` and ``inference``.

They resolve as ``torchio_gpu.utils`` and so on, as attributes and as imports. What stays different
is listed in :mod:`.differences`.
"""

from .elastic import elastic_control_points

__all__ = ["elastic_control_points"]
