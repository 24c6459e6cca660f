"""The tiny task: chains of labelled steps around a ring of digits, in two families, split into disjoint sets.

A problem such as `7a+3b-2` reads left to right: start at 7, step 3 forward (labelled a), step 2 back (labelled b). Family
`sum` writes + and - on the digits mod 10, family `wheel` writes > and < on the digits mod 7.
"""

import hashlib
import itertools
import random
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline_lib.records import Prompt

FamilyName = Literal["sum", "wheel"]


@dataclass(frozen=True, slots=True)
class Family:
    """A ring of digits and the two signs that step around it."""

    name: FamilyName
    modulus: int
    forward: str
    back: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One labelled step: `a+3` is label a, sign +, operand 3."""

    label: str
    sign: str
    operand: int

    def __str__(self) -> str:
        return f"{self.label}{self.sign}{self.operand}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A start digit and the operations that follow it, left to right."""

    family: Family
    start: int
    operations: tuple[Operation, ...]

    def __str__(self) -> str:
        return f"{self.start}{''.join(map(str, self.operations))}"


FAMILIES: dict[str, Family] = {
    "sum": Family("sum", modulus=10, forward="+", back="-"),
    "wheel": Family("wheel", modulus=7, forward=">", back="<"),
}
FAMILY_BY_SIGN: dict[str, Family] = {sign: family for family in FAMILIES.values() for sign in (family.forward, family.back)}

# Shares of all problems, in percent. Test is large because one-step problems are few: 120 in family `sum`.
SPLIT_PERCENT: dict[str, int] = {"train": 50, "validation": 10, "test": 40}
LABELS = string.ascii_lowercase

_OPERATION = re.compile(r"([a-z])([-+<>])(\d)")
_PROBLEM = re.compile(r"(\d)((?:[a-z][-+<>]\d)+)")


def parse_problem(text: str) -> Problem:
    """Read a problem's text; raises ValueError when it is not one of a single family."""
    match = _PROBLEM.fullmatch(text)
    if match is None:
        raise ValueError(f"problem = {text!r} is not a start digit and labelled operations, such as 7a+3b-2")
    operations = tuple(Operation(label, sign, int(operand)) for label, sign, operand in _OPERATION.findall(match[2]))
    families = {FAMILY_BY_SIGN[operation.sign].name for operation in operations}
    if len(families) > 1:
        raise ValueError(f"problem = {text!r} mixes the signs of the families {', '.join(sorted(families))}")
    return Problem(FAMILY_BY_SIGN[operations[0].sign], int(match[1]), operations)


def step(family: Family, value: int, operation: Operation) -> int:
    """The digit reached from `value` by one operation."""
    distance = operation.operand if operation.sign == family.forward else -operation.operand
    return (value + distance) % family.modulus


def value_after(problem: Problem, num_operations: int | None = None) -> int:
    """The digit reached by the first operations of a problem, by default by all."""
    value = problem.start
    for operation in problem.operations[:num_operations]:
        value = step(problem.family, value, operation)
    return value


def answer_of(problem: str) -> str:
    """The answer of a problem's text: one digit."""
    return str(value_after(parse_problem(problem)))


def split_of(problem: str) -> str:
    """The one split a problem belongs to, fixed by a digest of its text alone."""
    percentile = int.from_bytes(hashlib.sha256(problem.encode()).digest()[:8], "big") % 100
    for split, percent in SPLIT_PERCENT.items():
        if percentile < percent:
            return split
        percentile -= percent
    raise AssertionError("the shares of the splits sum to 100")


def random_problem(
    family: Family, num_operations: int, rng: random.Random, max_operand: int, operand_weights: Sequence[float] | None = None
) -> str:
    """One problem's text: start and signs uniform, operands 1..max_operand by weight (uniform without weights)."""
    operands = rng.choices(range(1, max_operand + 1), weights=operand_weights, k=num_operations)
    signs = rng.choices((family.forward, family.back), k=num_operations)
    steps = "".join(f"{label}{sign}{operand}" for label, sign, operand in zip(LABELS, signs, operands, strict=False))
    return f"{rng.randrange(family.modulus)}{steps}"


def draw_problems(
    family: str,
    split: str,
    num_prompts: int,
    seed: int,
    min_operations: int = 1,
    max_operations: int = 7,
    max_operand: int = 6,
) -> list[Prompt]:
    """Distinct problems of one split, in seeded order: number of operations and operands uniform.

    Short problems are few; where a length has too few, all of them are taken and longer ones fill up. Raises ValueError
    for more prompts than there are distinct problems.
    """
    problems: list[str] = []
    for num_operations in range(min_operations, max_operations + 1):
        quota = (num_prompts - len(problems)) // (max_operations - num_operations + 1)
        problems += problems_of_length(family, split, num_operations, quota, seed, max_operand)
    if len(problems) < num_prompts:
        raise ValueError(
            f"num_prompts = {num_prompts}: only {len(problems)} distinct problems exist in split {split!r} of family "
            f"{family!r} with {min_operations}..{max_operations} operations and operands 1..{max_operand}"
        )
    random.Random(seed).shuffle(problems)
    return [Prompt(f"{family}-{problem}", f"tiny-{family}", "tiny", problem, answer_of(problem)) for problem in problems]


def problems_of_length(family: str, split: str, num_operations: int, quota: int, seed: int, max_operand: int) -> list[str]:
    """Up to `quota` distinct problems of one length and split; fewer only when no more exist."""
    ring = FAMILIES[family]
    rng = random.Random(f"{family}/{split}/{num_operations}/{seed}")
    num_problems = ring.modulus * (2 * max_operand) ** num_operations
    # Where problems are few, drawing until the last one is found would take long: list them all.
    if quota > num_problems * SPLIT_PERCENT[split] / 100 / 4:
        members = [problem for problem in _all_problems(ring, num_operations, max_operand) if split_of(problem) == split]
        return rng.sample(members, min(quota, len(members)))
    drawn: dict[str, None] = {}
    while len(drawn) < quota:
        problem = random_problem(ring, num_operations, rng, max_operand)
        if split_of(problem) == split:
            drawn[problem] = None
    return list(drawn)


def _all_problems(family: Family, num_operations: int, max_operand: int) -> Iterator[str]:
    steps = [
        [f"{label}{sign}{operand}" for sign in (family.forward, family.back) for operand in range(1, max_operand + 1)]
        for label in LABELS[:num_operations]
    ]
    for start in range(family.modulus):
        for chain in itertools.product(*steps):
            yield f"{start}{''.join(chain)}"
