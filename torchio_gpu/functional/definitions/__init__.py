"""Formulas of the operations in plain, slow torch (float64), imported by tests alone."""
