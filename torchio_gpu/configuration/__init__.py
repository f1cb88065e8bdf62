"""Pipelines in files: YAML or JSON, in a short form, or in the long forms of other tools."""

from .pipelines import load_pipeline, save_pipeline
from .schema import schema

__all__ = ["load_pipeline", "save_pipeline", "schema"]
