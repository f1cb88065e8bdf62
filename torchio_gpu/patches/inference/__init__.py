"""Volumes put together from predictions for patches."""
