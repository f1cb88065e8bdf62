"""What each library can do, found by trying it: ``python -m benchmarks.features``.

A feature is a question of :mod:`~benchmarks.features.questions`. Each library has a module in
``libraries`` with a function, a probe, for each question that it can be asked. Probes run in the
library's own interpreter, on tiny volumes, and look at the numbers that come out.
"""

from .table import SUITE, asked, brief, text

__all__ = ["SUITE", "asked", "brief", "text"]
