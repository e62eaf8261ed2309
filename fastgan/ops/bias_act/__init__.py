"""bias_act: bias, activation, gain and clamp in one pass."""
