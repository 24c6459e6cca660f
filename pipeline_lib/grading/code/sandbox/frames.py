"""Messages on a descriptor: four bytes of length, then JSON."""

import json
import os
import struct
from typing import Any

_LENGTH = struct.Struct(">I")
# A forged message may hold more objects than an honest one of the same length: what its parsing may cost is bounded here.
_MAX_PARTS = 4_000_000
# Larger integers cross as hexadecimal text: reading decimal digits takes quadratic time.
_MAX_INTEGER_DIGITS = 20


class ChannelClosed(Exception):
    """The other end is gone."""


class FrameTooLarge(Exception):
    """A message is longer than allowed."""


def encode_frame(message: Any) -> bytes:
    """The bytes of one message."""
    payload = json.dumps(message).encode()
    return _LENGTH.pack(len(payload)) + payload


def write_frame(fd: int, message: Any) -> None:
    """Send one message, waiting until it is taken. Raises ChannelClosed."""
    view = memoryview(encode_frame(message))
    try:
        while view:
            view = view[os.write(fd, view) :]
    except (BrokenPipeError, ConnectionResetError) as error:
        raise ChannelClosed from error


def read_frame(fd: int, max_bytes: int) -> Any:
    """The next message. Raises ChannelClosed, FrameTooLarge, or ValueError or RecursionError when it is not proper JSON."""
    (length,) = _LENGTH.unpack(_read_exactly(fd, _LENGTH.size))
    if length > max_bytes:
        raise FrameTooLarge(f"a message of {length} bytes, more than {max_bytes}")
    return parse_payload(_read_exactly(fd, length))


def parse_payload(payload: bytes) -> Any:
    """The content of a message, in time linear in its length.

    Raises FrameTooLarge, or ValueError or RecursionError when it is not proper JSON.
    """
    num_parts = payload.count(b"[") + payload.count(b"{") + payload.count(b",")
    if num_parts > _MAX_PARTS:
        raise FrameTooLarge(f"a message of {num_parts} parts, more than {_MAX_PARTS}")
    return json.loads(payload, parse_int=_read_integer)


def _read_integer(digits: str) -> int:
    if len(digits) > _MAX_INTEGER_DIGITS:
        raise ValueError(f"an integer of more than {_MAX_INTEGER_DIGITS} digits")
    return int(digits)


def _read_exactly(fd: int, length: int) -> bytes:
    chunks = []
    while length:
        try:
            chunk = os.read(fd, min(length, 1 << 20))
        except ConnectionResetError as error:
            raise ChannelClosed from error
        if not chunk:
            raise ChannelClosed
        chunks.append(chunk)
        length -= len(chunk)
    return b"".join(chunks)
