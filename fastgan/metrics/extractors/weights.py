"""Files of published weights: found on this machine, told apart by their digest, never downloaded."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch
from torch import Tensor, nn

_CHUNK = 2**20
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Weights:
    """What a file holds.

    Args:
        state: name -> tensor, on the CPU.
        path: of the file.
        sha256: of the file, in hexadecimal.
    """

    state: Mapping[str, Tensor]
    path: Path
    sha256: str

    def fill(self, build: Callable[[], Network]) -> Network:
        """The network that build makes, of the tensors of state; torch's random numbers stay where they are.

        Raises:
            ValueError: names or shapes do not match.
        """
        with torch.device("meta"):
            network = build()
        try:
            network.load_state_dict(self.state, strict=True, assign=True)
        except RuntimeError as error:
            raise ValueError(f"{self.path} does not hold the weights of {type(network).__name__}: {error}") from None
        return network


@dataclass(frozen=True)
class WeightFile:
    """A file of weights that is known.

    Args:
        holds: what it holds, in words.
        names: under which it is known; the first is told to whom lacks it.
        sha256: of the file in hexadecimal, or as many of its first digits as are known; "": none is.
        size: in bytes; None: not known.
    """

    holds: str
    names: tuple[str, ...]
    sha256: str = ""
    size: int | None = None

    def find(self, path: Path | None = None) -> Path:
        """Where the file is.

        Args:
            path: the file itself, whatever its name, or the folder that it lies in; None: torch's folder of weights,
                $TORCH_HOME/hub/checkpoints.

        Raises:
            FileNotFoundError: it is not there; the message says where it is looked for.
        """
        folder = Path(torch.hub.get_dir(), "checkpoints") if path is None else path
        if path is not None and path.is_file():
            return path
        for name in self.names:
            if (folder / name).is_file():
                return folder / name
        if path is not None and not path.is_dir():
            raise FileNotFoundError(f"weights: there is no {path}; it should be {self._wanted()}, or a folder with it")
        raise FileNotFoundError(
            f"weights: there is none of {', '.join(self.names)} in {folder}: put there {self._wanted()}, which is not "
            "downloaded, or name its path (fastgan metrics --features)"
        )

    def load(self, path: Path | None = None) -> Weights:
        """What the file holds; read as tensors alone, once its size and its digest are those that are known.

        Args:
            path: as for `find`.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is another file, or damaged.
        """
        path = self.find(path)
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            raise ValueError(f"{path} has {size:,} bytes; expected was {self._wanted()}")
        with path.open("rb") as file:
            digest = _sha256(file)
            if not digest.startswith(self.sha256):
                raise ValueError(f"{path} has sha256 {digest}; expected was {self._wanted()}")
            file.seek(0)
            try:
                state: Any = torch.load(file, map_location="cpu", weights_only=True)
            except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
                raise ValueError(f"{path} cannot be read as tensors; expected was {self._wanted()}") from error
        if not isinstance(state, Mapping) or not all(isinstance(each, Tensor) for each in state.values()):
            raise ValueError(f"{path} is no dictionary of tensors; expected was {self._wanted()}")
        return Weights(state, path, digest)

    def _wanted(self) -> str:
        size = "" if self.size is None else f", {self.size:,} bytes"
        digest = f", sha256 {self.sha256}{'' if len(self.sha256) == 64 else '...'}" if self.sha256 else ""
        return f"{self.names[0]} ({self.holds}{size}{digest})"


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
