"""Queues of patches for training, on the host and on a device."""
