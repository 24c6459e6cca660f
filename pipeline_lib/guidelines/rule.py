"""What a guideline is: a rule with an id, the finding it rests on, a reason, and a look at a planned run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline_lib.guidelines.plan import PlannedRun

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Advice:
    """What a rule has to say about one run: the setting as `key = value`, and what to do about it.

    `settings` are overrides (`section.key=value`) that together do it, empty where there is no single answer.
    """

    severity: Severity
    found: str
    remedy: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One guideline. `basis` names findings (F1 to F10), the paper's protocol, or a source; `fires` and `why` are for readers.

    A threshold in `fires` that neither the paper nor a source gives is marked "(ours)".
    """

    id: str
    severities: tuple[Severity, ...]
    basis: str
    fires: str
    why: str
    examine: Callable[[PlannedRun], Advice | None]


@dataclass(frozen=True, slots=True)
class Remark:
    rule: Rule
    advice: Advice

    def as_row(self) -> dict[str, object]:
        return {
            "rule": self.rule.id,
            "severity": self.advice.severity,
            "basis": self.rule.basis,
            "found": self.advice.found,
            "why": self.rule.why,
            "remedy": self.advice.remedy,
            "settings": list(self.advice.settings),
        }


def rule(severities: Sequence[Severity], basis: str, fires: str) -> Callable[[Callable[[PlannedRun], Advice | None]], Rule]:
    """Make a rule of the decorated look at a run: its name is the function's, and why it is one, the function's docstring."""

    def make(examine: Callable[[PlannedRun], Advice | None]) -> Rule:
        why = " ".join((examine.__doc__ or "").split())
        return Rule(examine.__name__.replace("_", "-"), tuple(severities), basis, fires, why, examine)

    return make
