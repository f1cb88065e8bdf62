"""Transforms that move content."""
