"""Training with augmentation, from end to end: ``python -m benchmarks.training``.

A small U-Net learns tissues from random patches of heads of the size of the MNI template. All
contenders hold the heads in memory, so that none reads files, and give the same loop batches of
patches with their label maps, augmented by pipe6 of :mod:`benchmarks.versus.workloads`. Each has a
process of its own. The one called 'none' cuts patches and does nothing else: what the network could
do if batches cost nothing.

What is measured, after some steps that are not:

- ``steps_per_s``: steps over the time that passed.
- ``wait_ms``: what the host waits for a batch, as the median. A queue that is filled now and then
  is waited for rarely, but for long: ``mean_wait_ms`` shows that.
- ``step_ms``: a training step, forward, backward and the optimizer's, as the median. Workers that
  share the cores with it make it slower.
- ``first_batch_s``: from the making of a source, with its caches and workers, to its first batch.
- ``idle``: the share of time in which the device does not train.

  On a GPU, events in its stream mark where the kernels of a step begin and end. What lies between
  two steps is idle if the device had reached the end of the first before all the kernels and copies
  of the next batch were queued. It is ``augmenting`` if they were queued in time: then the device
  worked all along. A gap is counted as one or the other as a whole, against those who augment on
  the device. Gaps inside a step belong to the step.

  On a CPU the same cores train and augment, and nothing of it is idle. There it is the share that
  augmentation takes away: 1 - (steps x mean step of 'none') / (time that passed). If the machine
  was busy while 'none' ran, it may be below 0.

A source that prepares several batches at once is measured in whole rounds of them, or the result
would depend on when the clock stops. Before anything counts, each contender's patches are looked
at: those whose image and label map do not correspond, or that are not augmented, are refused.
"""

from __future__ import annotations

from .table import SUITE, text

__all__ = ["SUITE", "text"]
