"""MRI artifacts of k-space. Each image of a subject is acquired by itself."""
