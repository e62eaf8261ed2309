"""Calibration: every form of every operator on the user's own device, first proved, then timed."""

from fastgan.calibration.course import calibrate

__all__ = ["calibrate"]
