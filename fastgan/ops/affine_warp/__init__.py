"""Images under affine maps and colour matrices: the geometry of adaptive augmentation."""
