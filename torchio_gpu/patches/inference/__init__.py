"""Aggregation of predictions for patches to volumes."""
