"""Samplers of patches, and their locations."""
