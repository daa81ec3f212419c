"""Pictures as part of the page."""

import base64
import struct
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """A PNG as a data address, with its size in pixels and what it shows."""

    address: str
    width: int
    height: int
    text: str


def picture(path: Path, text: str) -> Picture | None:
    """The PNG at ``path``; None where there is none."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of the header chunk, which comes first
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", width, height, text)
