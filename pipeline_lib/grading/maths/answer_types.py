"""The types of answers. Where parts may be read in several ways they are `Readings`."""

from dataclasses import dataclass
from fractions import Fraction

from pipeline_lib.grading.maths.trees import Tree
from pipeline_lib.grading.maths.units import Unit


@dataclass(frozen=True, slots=True)
class Number:
    """A rational number; `decimals` and `significant` count the digits it shows when written as a decimal."""

    value: Fraction
    tree: Tree
    decimals: int | None = None
    significant: int | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """Anything else that has a value: roots, constants, variables, functions."""

    tree: Tree


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number or expression with a unit; `bare` where plain letters are taken as the unit, which only another unit confirms."""

    amount: Number | Expression
    unit: Unit
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """kind: list (separated, unordered), tuple, set or interval, whose `ends` are its brackets; an ordered list has dots in it."""

    kind: str
    items: tuple["Readings", ...]
    ends: str = ""


@dataclass(frozen=True, slots=True)
class Union:
    """A union of sets; its order is free."""

    parts: tuple["Readings", ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells."""

    rows: tuple[tuple["Readings", ...], ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A value with its name, as in x = 5, x > 5 or x in S; `compound` for a sum such as x + y = 5, `relation` as it is written."""

    name: str | None
    value: "Readings"
    compound: bool = False
    relation: "Relation | None" = None


@dataclass(frozen=True, slots=True)
class Assignments:
    """Values of several names; `order` is the order in which a bare tuple gives them."""

    values: tuple[tuple[str, "Readings"], ...]
    order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    r"""Constants that are said to be equal (signs "=" or \approx)."""

    terms: tuple["Readings", ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """Terms and the signs between them: an equation, an inequality, a statement; > has been turned around."""

    terms: tuple["Readings", ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Congruence:
    """A residue class."""

    name: str | None
    value: Tree
    modulus: Tree


@dataclass(frozen=True, slots=True)
class Family:
    """A value with parameters that run through a set, such as k pi for all integers k."""

    value: "Readings"
    parameters: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Based:
    """Digits in a base."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Time:
    """Hours, minutes and perhaps seconds; half is "a", "p" or nothing."""

    parts: tuple[int, ...]
    half: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """Terms of a ratio, a : b; `clock` where they could be a time."""

    terms: tuple[Tree, ...]
    clock: bool = False


@dataclass(frozen=True, slots=True)
class Date:
    """Year (0 where it is left out), month, day."""

    year: int
    month: int
    day: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The letter of an option, with the option's text behind it."""

    letter: str
    text: "Readings" = ()


@dataclass(frozen=True, slots=True)
class Text:
    """Words, or anything that is nothing else."""

    words: tuple[str, ...]


Answer = (
    Number | Expression | Quantity | Items | Union | Matrix | Named | Assignments | Chain | Relation | Congruence | Family | Based
    | Time | Ratio | Date | Choice | Text
)  # fmt: skip
Readings = tuple[Answer, ...]
