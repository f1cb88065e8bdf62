"""MRI artifacts of k-space, with parameters of its own for each image of a subject."""
