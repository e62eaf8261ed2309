"""filtered_lrelu: bias, up-sampling FIR, leaky ReLU, clamp and down-sampling FIR in one pass."""
