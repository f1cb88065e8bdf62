"""Transforms that mix samples of a batch."""
