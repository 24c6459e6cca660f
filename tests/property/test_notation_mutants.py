"""Notations that only some writers use: leads, plain TeX, siunitx, arcs, chains, calculus, words; of their mutants none is accepted."""

from collections.abc import Callable
from fractions import Fraction
from random import Random

import pytest
from test_answer_mutants import Drawn, judge_mutants

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
LEADS = [
    r"\det A", r"\mathrm{Var}(X)", r"\operatorname{Var}(X)", r"\mathbb{E}[X]", "P(X=1)", r"P(A\cap B)", r"P(A\mid B)", "f(3)", "f(g(2))",
    r"f^{-1}(3)", "|AB|", r"\angle ABC", r"|z_1-z_2|", r"\|\vec v\|", "[ABC]", r"\text{Area of }\triangle ABC", r"\cos(A+B)", r"\dim V",
    r"\sum_{i=1}^n a_i", r"\text{The sum}", "x", r"\therefore x", r"\Rightarrow n",
]  # fmt: skip
UNITS = [
    (r"\kilo\gram", "kg", "kilograms", "g"), (r"\meter\per\second", "m/s", "m s^{-1}", "m"), (r"\ohm", r"k\Omega", r"\Omega", "V"),
    (r"\joule", "J", r"N\cdot m", "W"), (r"\second", "s", "seconds", "m"),
]  # fmt: skip


def led(source: Random) -> Drawn:
    lead, value = source.choice(LEADS), source.randint(2, 99)
    texts = [f"{lead}={value}", f"{lead} = {value}", rf"{lead}={2 * value}/2={value}", f"{value}"]
    edits = [f"{lead}={value + 1}", f"{lead}=-{value}", f"{lead}={value - 1}={value}", rf"\text{{not }}{lead}={value}"]
    return texts, [*edits, rf"{lead}={value}\text{{ or }}{value + 1}", f"{value}={value + 1}"]


def plain_tex(source: Random) -> Drawn:
    top, bottom = source.randint(1, 99), source.randint(2, 99)
    texts = [rf"{{{top} \over {bottom}}}", rf"{top} \over {bottom}", rf"\sfrac{{{top}}}{{{bottom}}}", f"{top}/{bottom}"]
    return texts, [rf"{{{top + 1} \over {bottom}}}", rf"{{{top} \over {bottom + 1}}}", rf"{top}+{{1 \over {bottom}}}"]


def selection(source: Random) -> Drawn:
    total, chosen = source.randint(6, 12), source.choice([2, 3])
    texts = [rf"{{{total} \choose {chosen}}}", rf"\left({total} \atop {chosen}\right)", f"C_{{{total}}}^{chosen}"]
    return texts, [rf"{{{total} \choose 1}}", rf"{{{total + 1} \choose {chosen}}}", rf"{{{total} \over {chosen}}}"]


def grouped(source: Random) -> Drawn:
    value = source.randint(1001, 999_999)
    front, behind = divmod(value, 1000)
    texts = [f"{front}{joint}{behind:03}" for joint in ("'", " ", "{,}", ",", "\\,", "~")]
    return texts, [f"{front}'{behind:03}0", f"{front}.{behind:03}", f"{front}{{,}}{(behind + 1) % 1000:03}"]


def scientific(source: Random) -> Drawn:
    digits, power = source.randint(11, 99), source.randint(3, 9)
    number = f"{digits // 10}.{digits % 10}"
    texts = [rf"{number} \times 10^{power}", f"{number}e{power}", f"{number}·10^{{{power}}}", f"{number} x 10^{power}"]
    texts.append(rf"\num{{{number}e{power}}}")
    return texts, [rf"{number} \times 10^{{{power + 1}}}", f"{number}e-{power}", f"{number} x 10", f"{digits}e{power}"]


def measured(source: Random) -> Drawn:
    macro, unit, spelled, other = source.choice(UNITS)
    amount = source.randint(2, 99)
    texts = [rf"\SI{{{amount}}}{{{macro}}}", rf"\qty{{{amount}}}{{{macro}}}"]
    texts += [rf"{amount}\,\unit{{{macro}}}", rf"{amount}\ \mathrm{{{spelled if unit.startswith('k' + chr(92)) else unit}}}"]
    return texts, [rf"\SI{{{amount + 1}}}{{{macro}}}", rf"\SI{{{amount}}}{{{other}}}", rf"{amount}\text{{ {other}}}"]


def arc(source: Random) -> Drawn:
    degrees, minutes = source.randint(1, 89), source.randint(1, 59)
    texts = [rf"{degrees}^\circ {minutes}'", f"{degrees}°{minutes}′", rf"\ang{{{degrees};{minutes}}}"]
    texts.append(f"{degrees} degrees {minutes} minutes")
    return texts, [
        f"{degrees}°{minutes + 1}′",
        f"{degrees + 1}°{minutes}′",
        f"{degrees}.{minutes:02}°" if minutes not in (0, 60) else "1°",
    ]


def repeating(source: Random) -> Drawn:
    first, second = source.sample("123456789", 2)
    texts = [rf"0.\overline{{{first}{second}}}", rf"0.\dot{{{first}}}\dot{{{second}}}", rf".\overline{{{first}{second}}}"]
    return [*texts, f"0.({first}{second})"], [
        rf"0.\dot{{{second}}}\dot{{{first}}}",
        f"0.{first}{second}",
        rf"0.{first}\overline{{{second}}}",
    ]


def numeral(source: Random) -> Drawn:
    if source.random() < 0.5:
        value = source.randint(3, 12)
        texts = [WORDS[value], rf"\text{{{WORDS[value].title()}}}", f"{value}"]
        return texts, [WORDS[value - 1], f"{value + 1}", f"not {WORDS[value]}"]
    tens, unit = source.randrange(8), source.randint(1, 9)
    texts = [f"{TENS[tens]}-{WORDS[unit]}", rf"\text{{{TENS[tens]} {WORDS[unit]}}}", f"{10 * (tens + 2) + unit}"]
    return texts, [TENS[tens], WORDS[unit], f"{TENS[tens]}-{WORDS[unit % 9 + 1]}", f"{TENS[tens]} or {WORDS[unit]}"]


def time_of_day(source: Random) -> Drawn:
    word, hour, half = source.choice([("noon", "12:00", "p.m."), ("midnight", "12:00", "a.m.")])
    other = "midnight" if word == "noon" else "noon"
    texts = [word, rf"\text{{{word}}}", rf"{hour}\text{{ {half}}}", word.title()]
    return texts, [other, f"12:01 {half}", f"not {word}", f"{word} or {other}", f"1:00 {half}"]


def rounded_chain(source: Random) -> Drawn:
    root, factor = source.choice([2, 3, 5, 7]), source.randint(2, 9)
    shown = f"{factor * root**0.5:.2f}"
    texts = [rf"{factor}\sqrt{{{root}}}", rf"{factor}\sqrt{{{root}}}\approx {shown}"]
    texts.append(rf"\sqrt{{{factor * factor * root}}}={factor}\sqrt{root}")
    wrong = f"{factor * root**0.5 + 0.1:.2f}"
    edits = [rf"{factor}\sqrt{{{root}}}\approx {wrong}", rf"{factor + 1}\sqrt{{{root}}}\approx {shown}", rf"\approx {wrong}"]
    return texts, [*edits, rf"{factor}\sqrt{{{root}}}={shown}", rf"{shown}\approx {wrong}"]


def several_choices(source: Random) -> Drawn:
    letters = sorted(source.sample("ABCDE", 2))
    other = source.choice([letter for letter in "ABCDE" if letter not in letters])
    one, two = letters
    texts = [
        one + two,
        f"{one},{two}",
        f"({one}), ({two})",
        rf"{one} \text{{ and }} {two}",
        rf"\text{{{one}{two}}}",
        f"{one}、{two}",
    ]
    return texts, [one, two, one + other if one < other else other + one, f"{one},{other}", f"{one},{two},{other}"]


def integral(source: Random) -> Drawn:
    power, factor = source.randint(1, 4), source.randint(2, 9)
    value = Fraction(factor, power + 1)
    lead = rf"\int_0^1 {factor}x^{power}\,dx"
    texts = [lead, f"{lead}={value}", rf"\int_{{0}}^{{1}}{factor}t^{power} dt", f"{value}"]
    return texts, [
        f"{lead}={value + 1}",
        rf"\int_0^1 {factor + 1}x^{power}\,dx",
        f"{value + 1}",
        rf"\int_0^2 {factor}x^{power}\,dx",
    ]


def summation(source: Random) -> Drawn:
    last = source.randint(4, 20)
    value = last * (last + 1) // 2
    texts = [rf"\sum_{{k=1}}^{{{last}}} k", rf"\sum_{{k=1}}^{{{last}}}k={value}", f"{value}", rf"\sum_{{j=1}}^{{{last}}} j"]
    return texts, [rf"\sum_{{k=1}}^{{{last}}}k={value + 1}", rf"\sum_{{k=2}}^{{{last}}} k", rf"\prod_{{k=1}}^{{{last}}} k"]


def limit(source: Random) -> Drawn:
    a, b = source.sample(range(2, 20), 2)
    lead = rf"\lim_{{n\to\infty}}\frac{{{a}n}}{{{b}n+1}}"
    texts = [lead, rf"{lead}=\frac{{{a}}}{{{b}}}", f"{a}/{b}"]
    return texts, [rf"{lead}=\frac{{{b}}}{{{a}}}", rf"\lim_{{n\to\infty}}\frac{{{b}n}}{{{a}n+1}}", f"{a + 1}/{b}"]


def scaled_matrix(source: Random) -> Drawn:
    a, b, c, d = source.sample(range(1, 30), 4)
    texts = [rf"-\begin{{pmatrix}}{a}&{b}\\{c}&{d}\end{{pmatrix}}", rf"\begin{{bmatrix}}-{a}&-{b}\\-{c}&-{d}\end{{bmatrix}}"]
    texts += [
        rf"-1\cdot\begin{{pmatrix}}{a}&{b}\\{c}&{d}\end{{pmatrix}}",
        rf"\begin{{pmatrix}}-{a}&-{c}\\-{b}&-{d}\end{{pmatrix}}^T",
    ]
    edits = [rf"\begin{{pmatrix}}{a}&{b}\\{c}&{d}\end{{pmatrix}}", rf"-\begin{{pmatrix}}{a}&{c}\\{b}&{d}\end{{pmatrix}}"]
    return texts, [
        *edits,
        rf"-\begin{{vmatrix}}{a}&{b}\\{c}&{d}\end{{vmatrix}}",
        rf"-2\begin{{pmatrix}}{a}&{b}\\{c}&{d}\end{{pmatrix}}",
    ]


def vector(source: Random) -> Drawn:
    a, b, c = source.sample(range(2, 30), 3)
    texts = [rf"{a}\mathbf{{i}}-{b}\mathbf{{j}}+{c}\mathbf{{k}}", rf"{c}\hat{{k}}+{a}\hat{{i}}-{b}\hat{{j}}"]
    texts += [rf"\langle {a},-{b},{c}\rangle", rf"\begin{{pmatrix}}{a}\\-{b}\\{c}\end{{pmatrix}}", f"({a},-{b},{c})^T"]
    return texts, [
        rf"{a}\mathbf i+{b}\mathbf j+{c}\mathbf k",
        rf"{b}\mathbf i-{a}\mathbf j+{c}\mathbf k",
        f"({a},-{b})",
        f"({a},{c},-{b})",
    ]


def overlapping(source: Random) -> Drawn:
    low = source.randint(-20, 20)
    middle, high = low + source.randint(1, 5), low + source.randint(6, 9)
    texts = [f"[{low},{high}]", rf"[{low},{middle}]\cup[{middle},{high}]", rf"[{low},{middle})\cup[{middle - 1},{high}]"]
    texts.append(rf"[{low},{middle}]\cup({middle},{high}]")
    edits = [rf"[{low},{middle})\cup({middle},{high}]", rf"[{low},{middle}]\cup[{middle},{high})", rf"[{low},{middle}]"]
    return texts, [*edits, rf"[{low},{middle}]\cup[{middle},{high + 1}]", rf"[{low},{middle}]\cap[{middle},{high}]"]


def piecewise(source: Random) -> Drawn:
    a, bound = source.randint(2, 9), source.randint(-9, 9)
    texts = [
        rf"\begin{{cases}}{a}x&{word}x>{bound}\\-x&{word}x\le {bound}\end{{cases}}"
        for word in (r"\text{if }", "", r"\text{for }")
    ]
    texts += [rf"\begin{{cases}}-x,&x\le {bound},\\{a}x,&x>{bound}.\end{{cases}}"]
    edits = [rf"\begin{{cases}}{a}x&x\ge {bound}\\-x&x<{bound}\end{{cases}}", f"{a}x"]
    edits.append(rf"\begin{{cases}}-x&x>{bound}\\{a}x&x\le {bound}\end{{cases}}")
    return texts, [*edits, rf"\begin{{cases}}{a}x&x>{bound + 1}\\-x&x\le {bound}\end{{cases}}"]


def roots(source: Random) -> Drawn:
    a, b = source.sample(range(-30, 30), 2)
    texts = [f"x={a},{b}", f"x_1={a}, x_2={b}", f"x={b} \\text{{ or }} x={a}", rf"x\in\{{{a},{b}\}}"]
    return texts, [f"x={a}", f"x_1={a}, x_2={b + 61}", f"y={a},{b}", f"x={a},{b},77"]


def proportion(source: Random) -> Drawn:
    a, b = source.choice([(2, 3), (3, 7), (5, 8), (1, 4), (9, 2)])
    return [f"{a}:{b}", f"{a} to {b}", rf"{a}\text{{ to }}{b}", rf"{a}\text{{:}}{b}"], [
        f"{b} to {a}",
        f"{a + 1} to {b}",
        f"{a} and {b}",
    ]


KINDS: tuple[Callable[[Random], Drawn], ...] = (
    led, plain_tex, selection, grouped, scientific, measured, arc, repeating, numeral, time_of_day, rounded_chain, several_choices,
    integral, summation, limit, scaled_matrix, vector, overlapping, piecewise, roots, proportion,
)  # fmt: skip


def test_equal_notations_are_accepted_and_mutants_refused():
    refused, accepted, counts = judge_mutants(90, 3, KINDS)
    assert (refused, accepted) == ([], [])
    assert set(counts) == {kind.__name__ for kind in KINDS}


@pytest.mark.slow
def test_of_10000_mutants_none_is_accepted():
    refused, accepted, counts = judge_mutants(10_000, 4, KINDS)
    print(sum(counts.values()), dict(counts))
    assert (refused, accepted) == ([], [])
