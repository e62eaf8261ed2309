"""A configuration file, as `--config` names it: the config.json of a run, or a part of one that a user wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fastgan.train.config import RunConfig
from fastgan.train.folder import resume_command

# How the text goes on where JSON stops making sense -> what is to be told; the first that fits counts.
_FAULTS = {
    r"(//|/\*|#)": "JSON has no comments",
    r"'": "JSON writes names and texts between double quotes",
    r"(True|False|None)\b": "JSON writes true, false and null",
    r"[A-Za-z_]": "JSON writes names and texts between double quotes",
}


def read_config(path: Path, cfg: str | None) -> RunConfig:
    """The configuration that a file describes; what it leaves out takes the defaults of its model's family.

    Args:
        path: a JSON file, or the folder of a run, which holds a config.json.
        cfg: the family of a file that names none; None is stylegan2.

    Raises:
        ValueError: there is no such file, it is none of JSON, or not a configuration; the message names the file and,
            as far as there is one, the line or the section and the field.
    """
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        what = f"{path} is a folder without a config.json" if path.is_dir() else f"{path} does not exist"
        raise ValueError(f"--config: {what}; expected a run's config.json, a part of one, or the folder of a run")
    tree = _parse(file)
    config = RunConfig.from_json(tree, str(file), model=cfg or "stylegan2")
    if cfg not in (None, config.model):
        raise ValueError(f"--cfg {cfg}: {file} describes a {config.model}; leave --cfg out, or --config")
    return config


def _parse(file: Path) -> Any:
    data = file.read_bytes()
    if file.suffix == ".safetensors" or data[8:9] == b"{" and b"\0" in data[:8]:  # begins with the header's length
        raise ValueError(
            f"--config: {file} is a checkpoint; to go on from it: {resume_command(file)}; for a new run like its own: "
            f"--config {file.parent / 'config.json'}"
        )
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: is no text in UTF-8 (byte {error.start}); expected JSON") from error
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}: line {error.lineno}: not valid JSON: {_fault(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not valid JSON: {error}") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in pairs:
        if name in tree:
            raise ValueError(f"{name!r} stands twice in one object; leave one out")
        tree[name] = value
    return tree


def _fault(error: json.JSONDecodeError) -> str:
    """What is wrong in words, where it can be told from the text; else those of Python."""
    before, rest = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    if not error.doc.strip():
        return 'the file is empty; expected an object like {"training": {"batch": 16}}'
    if (before.endswith(",") or rest.startswith(",")) and rest.lstrip(", \t\r\n")[:1] in ("}", "]"):
        return "a comma before } or ]; remove it"
    told = next((words for pattern, words in _FAULTS.items() if re.match(pattern, rest)), None)
    return f"{told}; got {rest.splitlines()[0][:40]!r}" if told else f"{error.msg} (column {error.colno})"
