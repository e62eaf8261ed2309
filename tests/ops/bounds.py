"""Files of upper bounds: version of a compiler -> kernel -> numbers, and what they were found of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def write(path: Path, version: str, table: Mapping[str, Sequence[int | str]]) -> None:
    """Enter what one version gives, a kernel a line; other versions stay."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known[version] = table
    rows = ",\n".join(
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in entries.items())
        + "\n  }"
        for name, entries in sorted(known.items())
    )
    path.write_text(f"{{\n{rows}\n}}\n")
