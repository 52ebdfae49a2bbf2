"""How a server and its child processes talk: JSON objects, each after its length."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

LENGTH = struct.Struct("<I")
MAX_FRAME = 64 * 1024 * 1024


def pack(message: Mapping[str, Any]) -> bytes:
    """One frame."""
    data = json.dumps(message).encode()
    return LENGTH.pack(len(data)) + data


def unpack(data: bytes) -> dict[str, Any]:
    """The message of a frame's content; ValueError where it is not a JSON object."""
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("not a message")  # noqa: TRY004 - one error type for whatever is broken
    return message


def read(source: BinaryIO) -> dict[str, Any] | None:
    """The next message; None at the end, also in the middle of a frame."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    length = LENGTH.unpack(head)[0]
    data = source.read(length)
    return unpack(data) if len(data) == length else None


def write(target: BinaryIO, message: Mapping[str, Any]) -> None:
    """One message, at once."""
    target.write(pack(message))
    target.flush()
