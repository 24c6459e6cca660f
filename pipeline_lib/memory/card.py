"""The graphics card that a run is planned for."""

import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Card:
    """A card's name, and its memory as torch reports it."""

    name: str
    gib: float


# What the shipped configurations are made for.
H100 = Card("80 GB", 79.6)


def card_here() -> tuple[Card, int] | None:
    """The smallest card of this machine and how many there are; None where the driver shows none."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip().splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    cards = [
        Card(name.strip(), float(mib) / 1024)
        for name, _, mib in (line.rpartition(",") for line in lines)
        if mib.strip()[:1].isdigit()
    ]
    return (min(cards, key=lambda card: card.gib), len(cards)) if cards else None
