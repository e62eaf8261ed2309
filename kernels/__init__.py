"""Triton kernels, one file an operator. Installed as `fastgan.kernels`."""
