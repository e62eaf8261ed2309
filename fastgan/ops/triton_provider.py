"""Whether Triton's kernels can serve. Triton itself is imported where one of them is first launched."""

from __future__ import annotations

import importlib.util

# None where Triton is installed, else the reason.
unavailable = None if importlib.util.find_spec("triton") else "triton is not installed: pip install 'fastgan[triton]'"
