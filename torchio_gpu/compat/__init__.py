"""Modules of TorchIO 1 by their names: ``utils``, ``io``, ``sampler`` and ``inference``.

They resolve as ``torchio_gpu.utils`` and so on, as attributes and as imports.
"""
