"""Locations of patches, and patches cut out of volumes."""
