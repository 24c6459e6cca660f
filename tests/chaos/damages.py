"""Damage to files as disks and interrupted copies do it."""

import random
from pathlib import Path


def damage(path: Path, how: str, chance: random.Random) -> None:
    """Flip a bit of, truncate, empty, delete or overwrite a file."""
    if how == "delete":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    if how == "empty" or not content:
        content = bytearray()
    elif how == "truncate":
        content = content[: chance.randrange(len(content))]
    elif how == "overwrite":
        content = bytearray(chance.randbytes(len(content)))
    else:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
