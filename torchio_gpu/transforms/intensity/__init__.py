"""Transforms of the intensities of scalar images."""
