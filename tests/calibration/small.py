"""Imported by the processes of a calibration: trials that take no time."""

from fastgan.calibration import trials

trials.CHECKED[:] = [(1, 2, 3, 5)]
trials.TIMED["cpu"][:] = [(1, 8, 4, 4)]
