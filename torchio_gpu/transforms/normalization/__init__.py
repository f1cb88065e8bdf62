"""Intensity preprocessing of scalar images."""
