"""Parameters of transforms: values per sample, ranges, axes, masks."""
