"""Parameters of transforms: values of samples, ranges, axes, masks."""
