"""upfirdn2d: up-sampling, FIR filtering and down-sampling in one pass."""
