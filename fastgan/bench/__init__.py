"""Timings of the operators beside their baselines, in one run on one machine: what `fastgan bench` runs."""
