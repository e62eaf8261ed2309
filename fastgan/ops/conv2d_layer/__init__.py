"""A convolution layer as one operator: modulation, resampling, convolution, demodulation, noise, bias, activation."""
