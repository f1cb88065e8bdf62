"""Choice of the backend, checks of arguments, and calls of the kernels."""
