"""Transforms of CT images in Hounsfield units."""
