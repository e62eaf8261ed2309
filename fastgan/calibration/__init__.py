"""Calibration: every form of every operator on the user's own device, first proved, then timed."""

from fastgan.calibration.calibrate import calibrate

__all__ = ["calibrate"]
