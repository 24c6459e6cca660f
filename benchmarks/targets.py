"""Targets and figures of a benchmark: a line each, and whether one falls short by more than a tenth."""

import sys

SLACK = 1.1


class Targets:
    """Figures that are to be at most so large."""

    def __init__(self) -> None:
        self._short: list[str] = []

    def check(self, what: str, figure: float, most: float, unit: str = "s") -> None:
        """Print a figure beside its target."""
        verdict = "ok" if figure <= most else "near" if figure <= SLACK * most else "SHORT"
        if verdict == "SHORT":
            self._short.append(what)
        print(f"{what:44} target {most:8.3f} {unit:4} figure {figure:8.3f} {unit:4} {verdict}", flush=True)

    def exit(self) -> None:
        """End the process; with status 1 where a figure falls short by more than a tenth."""
        sys.exit(f"short by more than a tenth: {', '.join(self._short)}" if self._short else 0)
