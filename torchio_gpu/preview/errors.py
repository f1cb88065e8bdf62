"""Errors of requests of the page."""

from __future__ import annotations


class StepError(ValueError):
    """Error of one step of a pipeline.

    Args:
        message: The sentence.
        step: Position of the step among those of the page.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class StaleError(Exception):
    """Raised where a newer request has made an answer superfluous."""


__all__ = ["StaleError", "StepError"]
