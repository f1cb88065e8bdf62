"""Kernels in numba for CPUs: imported, and numba with them, at the first call that needs one."""
