"""Intensity normalization of scalar images."""
