"""Answers of every type: each in several notations that are equal in both directions, and mutants of which none is accepted.

A mutant is the same answer with one digit, sign, operator, unit, name, bracket or (where it matters) the order edited.
"""

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from random import Random

import pytest

from pipeline_lib.grading.maths.grader import judge_answers
from pipeline_lib.grading.maths.table import RULES

# Notations of an answer, and mutants of it.
Drawn = tuple[list[str], list[str]]

NAMES = "abdprtuvwxyz"
WORDS = [
    "increasing",
    "decreasing",
    "isosceles",
    "scalene",
    "parabola",
    "ellipse",
    "Monday",
    "Friday",
    "red",
    "blue",
    "Alice",
    "Bob",
]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def number(source: Random) -> Drawn:
    value = Fraction(source.randint(1, 999), source.choice([1, 2, 3, 4, 5, 7, 8, 20, 25])) * source.choice([1, -1])
    other = value + Fraction(source.choice([1, -1, 10]), value.denominator)
    texts = [spell_number(source, value) for _ in range(3)]
    return texts, [spell_number(source, one) for one in (-value, other, 1 / value) if one != value]


def spell_number(source: Random, value: Fraction) -> str:
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    forms = [rf"{sign}\frac{{{top}}}{{{bottom}}}", f"{sign}{top}/{bottom}", rf"{sign}\dfrac{{{2 * top}}}{{{2 * bottom}}}"]
    if bottom == 1:
        forms += [f"{sign}{top}", f"{sign}{top:,}", f"{sign}{top}.0", f"{sign}{2 * top} \\div 2"]
    if 1 < bottom < top:
        forms.append(rf"{sign}{top // bottom}\frac{{{top % bottom}}}{{{bottom}}}")
    if 1000 % bottom == 0:
        forms.append(f"{sign}{float(abs(value)):.3f}")
    return source.choice(forms)


def polynomial(source: Random) -> Drawn:
    x, y = source.sample(NAMES, 2)
    a, b, c = source.randint(2, 9), source.randint(2, 9), source.randint(1, 9)
    texts = [f"{a}{x}^2+{b}{x}-{c}", f"{b}{x}+{a}{x}^{{2}}-{c}", f"-{c}+{x}({a}{x}+{b})", f"{a}*{x}**2 + {b}*{x} - {c}"]
    edits = [
        f"{a}{x}^2-{b}{x}-{c}",
        f"{a}{x}^3+{b}{x}-{c}",
        f"{a + 1}{x}^2+{b}{x}-{c}",
        f"{a}{x}^2+{b}{y}-{c}",
        f"{a}{x}^2+{b}-{c}",
    ]
    return texts, [*edits, f"{a}{x}^2+{b}{x}+{c}", f"{a}({x}^2+{b}{x}-{c})"]


def surd(source: Random) -> Drawn:
    a, b, root = source.randint(1, 20), source.randint(2, 9), source.choice([2, 3, 5, 7, 10])
    texts = [rf"{a}+{b}\sqrt{{{root}}}", rf"\sqrt{{{b * b * root}}}+{a}", f"{a} + {b}*sqrt({root})"]
    edits = [
        rf"{a}-{b}\sqrt{{{root}}}",
        rf"{a}+{b}\sqrt{{{root + 1}}}",
        rf"{a}+{b}\sqrt[3]{{{root}}}",
        rf"{a}\cdot{b}\sqrt{{{root}}}",
    ]
    return texts, [*edits, rf"{a}+{b + 1}\sqrt{{{root}}}", rf"({a}+{b})\sqrt{{{root}}}", rf"{a}+{b}\cdot{root}"]


def quantity(source: Random) -> Drawn:
    small, large, factor, other = source.choice(
        [("m", "km", 1000, "s"), ("cm", "m", 100, "kg"), ("g", "kg", 1000, "m"), ("seconds", "minutes", 60, "grams"),
         ("mL", "L", 1000, "m"), ("inches", "feet", 12, "pounds"), ("J", "kJ", 1000, "W"), ("cents", "dollars", 100, "euros")]
    )  # fmt: skip
    amount = source.randint(2, 99)
    texts = [rf"{amount}\text{{ {large}}}", rf"{amount * factor}\text{{ {small}}}", rf"{amount}\,\mathrm{{{large}}}"]
    edits = [rf"{amount}\text{{ {small}}}", rf"{amount}\text{{ {other}}}", rf"{amount + 1}\text{{ {large}}}"]
    return texts, [*edits, rf"{amount}\text{{ {large}}}^2", rf"-{amount}\text{{ {large}}}"]


def named(source: Random) -> Drawn:
    x, y = source.sample(NAMES, 2)
    a, b = source.randint(2, 99), source.randint(2, 99)
    return [f"{x}={a}", f"{x} = {a}.0", f"{x}=\\frac{{{2 * a}}}{{2}}"], [f"{y}={a}", f"{x}={a + b}", f"{x}=-{a}", f"{x}<{a}"]


def line(source: Random) -> Drawn:
    x, y = source.sample(NAMES, 2)
    a, b, c = source.randint(2, 9), source.randint(2, 9), source.randint(1, 9)
    texts = [f"{a}{x}+{b}{y}={c}", f"{c}={b}{y}+{a}{x}", f"{2 * a}{x}+{2 * b}{y}-{2 * c}=0"]
    edits = [
        f"{a}{x}-{b}{y}={c}",
        f"{a}{x}+{b}{y}={c + 1}",
        f"{a + 1}{x}+{b}{y}={c}",
        f"{a}{x}+{b}{y}<{c}",
        f"{a}{x}+{b}{x}={c}",
    ]
    return texts, [*edits, f"{a}{x}\\cdot{b}{y}={c}"]


def several(source: Random) -> list[int]:
    return source.sample(range(-50, 50), source.randint(2, 4))


def edited(source: Random, items: list[int]) -> list[int]:
    place = source.randrange(len(items))
    return [item + 101 * (index == place) for index, item in enumerate(items)]


def joined(items: list[int], joint: str = ", ") -> str:
    return joint.join(map(str, items))


def listed(source: Random) -> Drawn:
    items = several(source)
    turned = items[::-1]
    texts = [joined(items), joined(turned), joined(items, r" \text{ and } "), f"\\{{{joined(turned)}\\}}"]
    edits = [joined(items[1:]), joined([*items, 77]), joined(edited(source, items)), joined([item + 107 for item in items])]
    # In a pair the brackets may mean an interval.
    return texts, [*edits, f"({joined(items)})"] if len(items) == 2 else edits


def ordered(source: Random) -> Drawn:
    items = several(source)
    texts = [f"({joined(items)})", rf"\left({joined(items, ' , ')}\right)", f"({joined([Fraction(item) for item in items])})"]  # type: ignore[list-item]
    return texts, [
        f"({joined(items[::-1])})",
        f"({joined(edited(source, items))})",
        f"\\{{{joined(items)}\\}}",
        f"({joined(items[1:])})",
    ]


def interval(source: Random) -> Drawn:
    low = source.randint(-50, 40)
    high = low + source.randint(1, 9)
    texts = [f"[{low},{high})", rf"{low}\le x<{high}", rf"x\in[{low},{high})", f"[{low},{high}["]
    edits = [
        f"({low},{high})",
        f"[{low},{high}]",
        f"[{low},{high + 1})",
        f"({low},{high}]",
        rf"{low}<x<{high}",
        rf"\{{{low},{high}\}}",
    ]
    return texts, edits


def union(source: Random) -> Drawn:
    low = source.randint(-50, 40)
    high = low + source.randint(1, 9)
    texts = [
        rf"(-\infty,{low})\cup[{high},\infty)",
        rf"[{high},\infty)\cup(-\infty,{low})",
        rf"x<{low}\text{{ or }}x\ge {high}",
    ]
    edits = [
        rf"(-\infty,{low}]\cup[{high},\infty)",
        rf"(-\infty,{low})\cap[{high},\infty)",
        rf"(-\infty,{low})\cup[{high + 1},\infty)",
    ]
    return texts, [*edits, rf"(-\infty,{low})", rf"x<{low}\text{{ or }}x\le {high}"]


def matrix(source: Random) -> Drawn:
    a, b, c, d = source.sample(range(-30, 30), 4)
    body = f"{a}&{b}\\\\{c}&{d}"
    texts = [rf"\begin{{pmatrix}}{body}\end{{pmatrix}}", rf"\begin{{bmatrix}}{body}\end{{bmatrix}}", f"[[{a},{b}],[{c},{d}]]"]
    edits = [f"[[{a},{c}],[{b},{d}]]", f"[[{a},{b}],[{d},{c}]]", f"[[{a},{b}],[{c},{d + 1}]]", f"[[{a},{b},{c},{d}]]"]
    return texts, [*edits, f"[[{a},{b}]]"]


def assigned(source: Random) -> Drawn:
    x, y = sorted(source.sample(NAMES, 2))
    a, b = source.sample(range(-50, 50), 2)
    texts = [f"{x}={a},{y}={b}", f"{y}={b}, {x}={a}", rf"\begin{{cases}}{x}={a}\\{y}={b}\end{{cases}}", f"({x},{y})=({a},{b})"]
    return texts, [f"{x}={b},{y}={a}", f"{x}={a},{y}={b + 1}", f"{x}={a}", f"({y},{x})=({a},{b})"]


def choice(source: Random) -> Drawn:
    letter, other = source.sample("ABCDE", 2)
    texts = [letter, f"({letter})", rf"\text{{({letter})}}", rf"\textbf{{({letter}) }}17", f"{letter}."]
    return texts, [other, f"({other})", f"{letter}, {other}", f"{letter} or {other}", rf"({letter}) \text{{ and }} ({other})"]


def words(source: Random) -> Drawn:
    word, other = source.sample(WORDS, 2)
    return [word, rf"\text{{{word}}}", word.upper(), rf"\mathrm{{{word}}}"], [
        other,
        rf"\text{{not {word}}}",
        f"{word} or {other}",
        f"{word}s",
    ]


def based(source: Random) -> Drawn:
    base = source.randint(3, 9)
    digits = "".join(str(source.randrange(1, base)) for _ in range(source.randint(2, 4)))
    texts = [f"{digits}_{base}", f"({digits})_{{{base}}}", f"{int(digits, base)}_{{10}}"]
    edits = [f"{digits}_{base + 1}", f"{digits}1_{base}", f"{int(digits, base) + 1}_{{10}}"]
    return texts, [*edits, f"{digits[::-1]}_{base}"] if digits != digits[::-1] else edits


def clock(source: Random) -> Drawn:
    hour, minute = source.randint(1, 11), source.randint(10, 58)
    texts = [
        rf"{hour}:{minute}\text{{ p.m.}}",
        f"{hour + 12}:{minute}",
        f"{hour}:{minute} PM",
        rf"{hour:02}:{minute}\text{{ pm}}",
    ]
    return texts, [rf"{hour}:{minute}\text{{ a.m.}}", f"{hour}:{minute + 1} PM", rf"{hour + 1}:{minute}\text{{ p.m.}}"]


def day(source: Random) -> Drawn:
    year, month, date = source.randint(1700, 2030), source.randint(1, 12), source.randint(1, 27)
    name, other = MONTHS[month - 1], MONTHS[month % 12]
    texts = [
        f"{name} {date}, {year}",
        f"{date} {name} {year}",
        f"{year}-{month:02}-{date:02}",
        rf"\text{{{name} {date}, {year}}}",
    ]
    return texts, [f"{name} {date + 1}, {year}", f"{other} {date}, {year}", f"{name} {date}, {year + 1}"]


def residue(source: Random) -> Drawn:
    modulus = source.randint(3, 40)
    rest = source.randrange(modulus)
    texts = [
        rf"x\equiv {rest}\pmod{{{modulus}}}",
        rf"{rest + modulus} \pmod{{{modulus}}}",
        rf"x \equiv {rest - modulus} \pmod {{{modulus}}}",
    ]
    return texts, [
        rf"x\equiv {rest + 1}\pmod{{{modulus}}}",
        rf"x\equiv {rest}\pmod{{{modulus + 1}}}",
        rf"x\not\equiv {rest}\pmod{{{modulus}}}",
    ]


def ratio(source: Random) -> Drawn:
    a, b = source.choice([(2, 3), (3, 7), (5, 8), (1, 4), (9, 2)])
    return [f"{a}:{b}", f"{a} : {b}", f"{2 * a}:{2 * b}"], [f"{b}:{a}", f"{a + 1}:{b}", f"{a}:{b}:1"]


def family(source: Random) -> Drawn:
    a, names = source.randint(2, 9), source.sample("kmnj", 2)
    texts = [rf"\frac{{\pi}}{{{a}}}+{name}\pi, {name}\in\mathbb{{Z}}" for name in names]
    name = names[0]
    edits = [
        rf"\frac{{\pi}}{{{a + 1}}}+{name}\pi, {name}\in\mathbb{{Z}}",
        rf"\frac{{\pi}}{{{a}}}+2{name}\pi, {name}\in\mathbb{{Z}}",
    ]
    return texts, [*edits, rf"\frac{{\pi}}{{{a}}}+{name}\pi, {name}\in\mathbb{{N}}", rf"\frac{{\pi}}{{{a}}}+\pi"]


KINDS: tuple[Callable[[Random], Drawn], ...] = (
    number, polynomial, surd, quantity, named, line, listed, ordered, interval, union, matrix, assigned, choice, words, based,
    clock, day, residue, ratio, family,
)  # fmt: skip


def judge_mutants(
    num_mutants: int, seed: int, kinds: tuple[Callable[[Random], Drawn], ...] = KINDS
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]], Counter[str]]:
    """Pairs (kind, gold, prediction) of notations that were refused, of mutants that were accepted, and the mutants by kind."""
    source = Random(seed)
    equal: list[tuple[str, str, str]] = []
    mutants: list[tuple[str, str, str]] = []
    while len(mutants) < num_mutants:
        kind = kinds[len(equal) % len(kinds)]
        texts, edits = kind(source)
        one, other = source.sample(texts, 2)
        equal += [(kind.__name__, one, other)]
        mutants += [(kind.__name__, source.choice(texts), edit) for edit in edits]
    equal += [(kind, other, one) for kind, one, other in equal]
    mutants += [(kind, other, one) for kind, one, other in mutants[: num_mutants // 4]]
    reasons = [judge_answers([(answer, gold) for _, gold, answer in cases], 30.0) for cases in (equal, mutants)]
    refused = [case for case, reason in zip(equal, reasons[0], strict=True) if reason != "correct"]
    accepted = [case for case, reason in zip(mutants, reasons[1], strict=True) if reason == "correct"]
    return refused, accepted, Counter(kind for kind, *_ in mutants)


def test_equal_notations_are_accepted_and_mutants_refused():
    refused, accepted, counts = judge_mutants(160, seed=1)
    assert (refused, accepted) == ([], [])
    assert set(counts) == {kind.__name__ for kind in KINDS}


@pytest.mark.slow
def test_of_20000_mutants_none_is_accepted():
    refused, accepted, counts = judge_mutants(20_000, seed=2)
    print(sum(counts.values()), dict(counts))
    assert (refused, accepted) == ([], [])


@pytest.mark.parametrize(("place", "reason"), [("right", "correct"), ("wrong", "wrong")])
def test_the_examples_of_the_table_are_as_it_says(place, reason):
    pairs = [getattr(rule, place) for rule in RULES]
    reasons = judge_answers([(answer, gold) for gold, answer in pairs], 30.0)
    assert [pair for pair, given in zip(pairs, reasons, strict=True) if given != reason] == []
    # By the rule they stand for, not by another reading.
    assert len({(rule.first, rule.second) for rule in RULES}) == len(RULES)
