"""Transforms of B-mode images of ultrasound."""
