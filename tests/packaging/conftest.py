"""The project's scripts, which are no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="session")
def audit() -> ModuleType:
    """scripts/wheel_audit.py."""
    pytest.importorskip("elftools")
    spec = importlib.util.spec_from_file_location("wheel_audit", SCRIPTS / "wheel_audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["wheel_audit"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module
