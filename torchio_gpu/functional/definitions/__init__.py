"""Formulas of the operations in plain, slow torch (float64), which tests hold implementations to."""
