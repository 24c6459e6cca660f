"""The one table of which types of answers may meet, and how; types that are not in it together are unequal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline_lib.grading.maths.answer_types import Answer, Expression, Items, Number
from pipeline_lib.grading.maths.answers import read
from pipeline_lib.grading.maths.meeting import Meeting
from pipeline_lib.grading.maths.nodes import Node

_NAMES = {
    "Number": "number", "Expression": "expression", "Quantity": "number with unit", "Union": "union", "Matrix": "matrix",
    "Named": "named value", "Assignments": "named values", "Chain": "chain of constants", "Relation": "relation",
    "Congruence": "residue class", "Family": "family", "Based": "number in a base", "Time": "time", "Ratio": "ratio",
    "Date": "date", "Choice": "choice", "Text": "text",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """Two types that may meet, in either order; pairs (gold, prediction) that are right and wrong."""

    first: str
    second: str
    how: str
    decide: Callable[[Meeting, Any, Any], Node]
    right: tuple[str, str]
    wrong: tuple[str, str]


RULES = (
    Rule("number", "number", "exactly; two decimals within 1e-8, a decimal and an exact value as told below",
         Meeting.numbers, ("0.125", r"\frac18"), (r"\frac13", "0.333")),
    Rule("number", "expression", "the same value", Meeting.trees, ("2", r"\log_2 4"), ("2", r"\sqrt{5}")),
    Rule("expression", "expression", "the same value wherever both are real", Meeting.trees,
         ("(x+1)^2", "x^2+2x+1"), ("x", r"\sqrt{x^2}")),
    Rule("number with unit", "number with unit", "the same amount after conversion; never another dimension, currency or scale",
         Meeting.quantities, (r"1.5\text{ kg}", r"1500\text{ g}"), (r"25\text{ cm}^2", r"25\text{ cm}^3")),
    Rule("number with unit", "number", "the same amount, in the unit asked for; of a percentage its hundredth, or the same number over 1",
         Meeting.quantity_and_number, (r"8\text{ apples}", "8"), (r"5\text{ million}", "5")),
    Rule("number with unit", "expression", "the same amount; degrees also as the angle", Meeting.quantity_and_number,
         (r"2\pi\text{ rad}", r"2\pi"), ("8x", r"8\text{ cm}")),
    Rule("number in a base", "number in a base", "the same value", Meeting.based, ("52_8", "42_{10}"), ("52_8", "52_7")),
    Rule("number in a base", "number", "the same digits where the gold answer names the base, else the same value",
         Meeting.based_and_number, ("52_8", "52"), ("52", "52_8")),
    Rule("time", "time", "the same hour, minute and second; morning and afternoon where both say which", Meeting.times,
         (r"3{:}45\text{ p.m.}", "15:45"), (r"3{:}45\text{ p.m.}", r"3{:}45\text{ a.m.}")),
    Rule("date", "date", "the same day", Meeting.dates, (r"\text{May 5, 2020}", "5 May 2020"), ("2020-05-05", "2020-05-06")),
    Rule("ratio", "ratio", "the same proportion", Meeting.ratios, ("2:3", "4:6"), ("2:3", "3:2")),
    Rule("ratio", "number", "the quotient of two terms", Meeting.ratio_and_number, ("2:3", r"\frac23"), ("2:3", r"\frac32")),
    Rule("ratio", "expression", "the quotient of two terms", Meeting.ratio_and_number,
         (r"1:\sqrt2", r"\frac{1}{\sqrt2}"), (r"1:\sqrt2", r"\sqrt2")),
    Rule("list", "list", "one to one in any order; in order where it has dots", Meeting.items, ("1,2", "2,1"), ("1,2", "1,2,3")),
    Rule("list", "tuple", "in order; not two bare items, for two in brackets may be an interval", Meeting.items,
         ("(1,2,3)", "1, 2, 3"), ("(1,3)", "1, 3")),
    Rule("list", "set", "in any order", Meeting.items, (r"\{1,2\}", r"2 \text{ and } 1"), (r"\{1,2\}", "1, 3")),
    Rule("list", "union", "its parts in any order", Meeting.unions,
         (r"(-\infty,1)\cup(2,\infty)", r"(-\infty,1) \text{ and } (2,\infty)"), (r"(-\infty,1)\cup(2,\infty)", "1, 2")),
    Rule("tuple", "tuple", "in order; of two items the brackets count, for they may be an interval", Meeting.items,
         (r"(2,\frac72)", "(2,3.5)"), ("(1,2)", "(2,1)")),
    Rule("tuple", "matrix", "of one row or column", Meeting.matrix_and_tuple,
         (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"), (r"\begin{pmatrix}1\\2\end{pmatrix}", "(2,1)")),
    Rule("interval", "matrix", "of one row or column, in square brackets", Meeting.matrix_and_tuple,
         (r"\begin{pmatrix}1\\2\end{pmatrix}", "[1,2]"), (r"\begin{pmatrix}1\\2\end{pmatrix}", "[2,1]")),
    Rule("set", "set", "in any order", Meeting.items, (r"\{1,2\}", r"\{2,1\}"), (r"\{1,2\}", r"\{1,3\}")),
    Rule("set", "number", "its only element", Meeting.set_and_element, (r"\{5\}", "5"), (r"\{5,6\}", "5")),
    Rule("set", "expression", "its only element", Meeting.set_and_element, (r"\{\sqrt8\}", r"2\sqrt2"), (r"\{\pi,2\}", r"\pi")),
    Rule("set", "tuple", "its only element", Meeting.set_and_element, (r"\{(1,2)\}", "(1,2)"), (r"\{(1,2),(3,4)\}", "(1,2)")),
    Rule("interval", "interval", "the same ends", Meeting.items, ("(0,1]", "]0,1]"), ("[0,1]", "[0,1)")),
    Rule("union", "union", "the same parts in any order", Meeting.unions,
         (r"(2,3]\cup[5,7)", r"[5,7)\cup(2,3]"), (r"(2,3]\cup[5,7)", r"(2,3)\cup[5,7)")),
    Rule("matrix", "matrix", "cell by cell", Meeting.matrices,
         (r"\begin{bmatrix}2&0\\0&3\end{bmatrix}", "[[2,0],[0,3]]"),
         (r"\begin{bmatrix}1&2\end{bmatrix}", r"\begin{bmatrix}2&1\end{bmatrix}")),
    Rule("named value", "named value", "the same name and value, or the same equation", Meeting.named,
         ("y=2x+3", "y=3+2x"), ("x=5", "y=5")),
    *(Rule("named value", other, how, Meeting.named_and_value, right, wrong) for other, how, right, wrong in (
        ("number", "the value, unless the gold answer is an equation in several names", ("5", "x=5"), ("x+y=5", "5")),
        ("expression", "the value", ("f(x)=2x+1", "2x+1"), ("2x+1", "f(x)=2x")),
        ("number with unit", "the value", (r"5\text{ cm}", r"r=5\text{ cm}"), (r"5\text{ cm}", r"r=5\text{ m}")),
        ("number in a base", "the value", ("52_8", "n=52_8"), ("52_8", "n=52_7")),
        ("chain of constants", "the value", ("x=5", "2+3=5"), ("x=5", "2+4=5")),
        ("list", "all values of the name", ("x=1,x=2", "1, 2"), ("x=1,x=2", "1")),
        ("tuple", "the value, or the open interval of an inequality", ("(0,12.5)", "0<x<12.5"), ("(0,12.5)", r"0\le x<12.5")),
        ("set", "the value", (r"x\in\{1,2\}", r"\{2,1\}"), (r"x\in\{1,2\}", r"\{1,3\}")),
        ("interval", "the interval of an inequality", (r"[1,5]", r"1\le t\le 5"), ("[1,5]", r"1<t\le 5")),
        ("union", "the value, or inequalities joined by or", (r"(-\infty,-1)\cup(1,\infty)", r"x<-1\text{ or }x>1"),
         (r"(-\infty,-1)\cup(1,\infty)", r"x\le -1\text{ or }x>1")),
        ("matrix", "the value", (r"\begin{pmatrix}1\\2\end{pmatrix}", r"v=\begin{pmatrix}1\\2\end{pmatrix}"),
         (r"\begin{pmatrix}1\\2\end{pmatrix}", r"v=\begin{pmatrix}2\\1\end{pmatrix}")),
        ("ratio", "the value", ("2:3", r"\text{The ratio is }2:3"), ("2:3", r"\text{The ratio is }3:2")),
        ("time", "the value", ("4:30", r"\text{The time is }4:30"), ("4:30", r"\text{The time is }4:31")),
        ("date", "the value", ("May 5", r"\text{The day is May 5}"), ("May 5", r"\text{The day is May 6}")),
        ("choice", "the value", ("B", r"\text{Answer: (B)}"), ("B", r"\text{Answer: (C)}")),
        ("text", "the value", (r"\text{odd}", r"\text{Parity: odd}"), (r"\text{odd}", r"\text{Parity: even}")),
    )),
    Rule("named value", "relation", "the same equation or inequality", Meeting.named_and_relation,
         ("y=2x+3", "2x-y+3=0"), ("y=2x+3", "2x+y+3=0")),
    Rule("named values", "named values", "name by name", Meeting.assignments, ("x=2,y=3", "y=3,x=2"), ("x=2,y=3", "x=3,y=2")),
    Rule("named values", "named value", "all values of the name, which they number", Meeting.assignments_and_named,
         ("x=1,2", "x_1=2,x_2=1"), ("x=1,2", "x_1=1,x_2=3")),
    Rule("named values", "tuple", "in alphabetical order; (m,b) = (1,2) in its own unless the names are neighbours in the alphabet",
         Meeting.assignments_and_items, ("(1,2)", "y=2,x=1"), ("(1,2)", "y=1,x=2")),
    Rule("named values", "list", "in the order of the names or as they are written",
         Meeting.assignments_and_items, ("a=1,b=2", "1, 2"), ("a=1,b=2", "2, 1")),
    *(Rule("chain of constants", other, "a true chain, and its last value", Meeting.chains, right, wrong)
      for other, right, wrong in (
        ("number", ("6", r"2\cdot3=6"), ("5", "4=5")),
        ("expression", (r"8\sqrt6", r"8\sqrt6\approx19.6"), (r"8\sqrt6", r"8\sqrt6\approx19.7")),
        ("number with unit", (r"50\text{ cm}", r"\frac12\text{ m}=50\text{ cm}"), (r"5\text{ cm}", r"\frac12\text{ m}=5\text{ cm}")),
        ("chain of constants", (r"\frac35=0.6", r"\frac{6}{10}=0.6"), (r"\frac35=0.6", r"\frac35=0.7")),
    )),
    Rule("relation", "relation", "equations with a constant ratio; other signs term by term", Meeting.relations,
         ("2x+3y=6", "4x+6y=12"), ("x+y=5", "x-y=5")),
    Rule("residue class", "residue class", "the same modulus and residue", Meeting.congruences,
         (r"x\equiv3\pmod5", r"8\pmod5"), (r"x\equiv3\pmod5", r"x\equiv3\pmod7")),
    Rule("family", "family", "with any names of the parameters", Meeting.families,
         (r"k\pi, k\in\mathbb{Z}", r"n\pi, n\in\mathbb{Z}"), (r"k\pi, k\in\mathbb{Z}", r"2k\pi, k\in\mathbb{Z}")),
    Rule("choice", "choice", "the same letter", Meeting.choices, ("E", r"\textbf{(E) }17"), ("A", "(B)")),
    Rule("choice", "number", "the text behind the letter", Meeting.choice_and_value, ("17", "(E) 17"), ("E", "5")),
    Rule("choice", "expression", "the text behind the letter", Meeting.choice_and_value, (r"\sqrt2", r"(B) \sqrt2"), (r"\sqrt2", "(B)")),
    Rule("text", "text", "the same words, whatever their case", Meeting.texts, (r"\text{Yes}", "yes"), (r"\text{odd}", "even")),
)  # fmt: skip

_TABLE = {pair: rule for rule in RULES for pair in ((rule.first, rule.second), (rule.second, rule.first))}


def type_name(answer: Answer) -> str:
    """The name of an answer's type in the table."""
    return answer.kind if isinstance(answer, Items) else _NAMES[type(answer).__name__]


def meet(meeting: Meeting, gold: Answer, answer: Answer) -> Node:
    """Whether two answers are equal by the rule for their types; False where there is none."""
    rule = _TABLE.get((type_name(gold), type_name(answer)))
    return rule is not None and rule.decide(meeting, gold, answer)


def compare_answers(gold: str, answer: str, tolerance: float | None = None, problem: str | None = None) -> Node:
    """Whether two answers agree, as a node (see nodes.py); the problem tells the unit of a single value (see asked_units.py)."""
    golds = read(gold)
    asks = problem if any(isinstance(one, Number | Expression) for one in golds) else None
    return Meeting(tolerance, meet, asks).compare(golds, read(answer))


def render_meetings() -> str:
    """The table for docs/grading.md: a line for each two types."""
    lines = ["| gold answer and prediction | equal when | right | wrong |", "|---|---|---|---|"]
    for rule in RULES:
        pair = rule.first if rule.first == rule.second else f"{rule.first}, {rule.second}"
        examples = [" ; ".join(f"`{text}`" for text in texts).replace("|", "\\|") for texts in (rule.right, rule.wrong)]
        lines.append(f"| {pair} | {rule.how} | {examples[0]} | {examples[1]} |")
    return "\n".join(lines)
