"""Functions on CT images in Hounsfield units, (B, C, I, J, K)."""
