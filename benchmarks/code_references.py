"""Checks the grader with the benchmarks' own reference solutions: all must pass, and mutants of half of them should fail.

python benchmarks/code_references.py [--data FOLDER] [--survivors]
"""

import argparse
import ast
import copy
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from pipeline_lib.grading.code.pool import judge_programs
from pipeline_lib.grading.code.specifications import TEST_FORMATS
from pipeline_lib.grading.code.verdicts import CodeVerdict

BENCHMARKS = ("humaneval", "mbpp")

_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


@dataclass(frozen=True)
class ReferenceProgram:
    """A reference solution: problem id, program, tests (JSON), and, of a mutant, what was changed."""

    problem_id: str
    program: str
    tests: str
    change: str = ""


def read_references(data_folder: Path, benchmark: str) -> list[ReferenceProgram]:
    """The reference solutions of "humaneval" or "mbpp". Raises FileNotFoundError."""
    # Only here: grading itself needs no Parquet.
    import pyarrow.parquet as parquet

    rows: list[dict[str, Any]] = parquet.read_table(data_folder / f"{benchmark}.parquet").to_pylist()
    # HumanEval's solutions are the bodies of the functions that the prompts begin.
    return [
        ReferenceProgram(
            row["id"], (row["problem"] if benchmark == "humaneval" else "") + row["answer"], TEST_FORMATS[benchmark](row)
        )
        for row in rows
    ]


def mutate_half(references: Sequence[ReferenceProgram]) -> list[ReferenceProgram]:
    """Mutants of half of the references, always the same: every second one, and more where one has nothing to mutate."""
    mutants: list[ReferenceProgram] = []
    seeds = [*range(0, len(references), 2), *range(1, len(references), 2)]
    for seed in seeds:
        mutant = mutate(references[seed].program, seed)
        if mutant is not None and len(mutants) < len(references) // 2:
            mutants.append(ReferenceProgram(references[seed].problem_id, mutant[0], references[seed].tests, mutant[1]))
    return mutants


def judge_references(references: Sequence[ReferenceProgram], timeout_seconds: float) -> list[CodeVerdict]:
    """The verdicts on them, in order."""
    return judge_programs([item.program for item in references], [item.tests for item in references], timeout_seconds)


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("LACONIC_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default), help="folder with humaneval.parquet and mbpp.parquet")
    parser.add_argument("--survivors", action="store_true", help="list the mutants that passed")
    parser.add_argument("--timeout", type=float, default=6.0, help="seconds a program")
    arguments = parser.parse_args()
    for benchmark in BENCHMARKS:
        path = arguments.data / f"{benchmark}.parquet"
        if not path.is_file():
            parser.error(f"--data = {str(arguments.data)!r} has no {path.name}: name a folder that has it")
        references = read_references(arguments.data, benchmark)
        started = monotonic()
        verdicts = judge_references(references, arguments.timeout)
        seconds = monotonic() - started
        _print_counts(f"{benchmark} references", references, verdicts, seconds)
        for reference, verdict in zip(references, verdicts, strict=True):
            if verdict.reason != "correct":
                print(f"  {reference.problem_id}: {verdict.reason}: {verdict.detail}")
        mutants = mutate_half(references)
        started = monotonic()
        verdicts = judge_references(mutants, arguments.timeout)
        _print_counts(f"{benchmark} mutants", mutants, verdicts, monotonic() - started)
        if arguments.survivors:
            for mutant, verdict in zip(mutants, verdicts, strict=True):
                if verdict.reason == "correct":
                    print(f"  {mutant.problem_id}: {mutant.change}")


def _print_counts(title: str, judged: Sequence[ReferenceProgram], verdicts: Sequence[CodeVerdict], seconds: float) -> None:
    counts = ", ".join(f"{reason} {count}" for reason, count in Counter(verdict.reason for verdict in verdicts).most_common())
    print(f"{title}: {len(judged)} programs: {counts}; {len(judged) / seconds:.0f} programs/s")


def mutate(program: str, seed: int) -> tuple[str, str] | None:
    """The program with one operator flipped, chosen by the seed, and a line saying which; None when it has no operator.

    + and -, * to +, / to *, < and <=, == and !=, in and not in, and/or, `not` doubled, an integer constant plus one where
    there is no operator at all. The mutant's syntax tree always differs; its meaning may not.
    """
    tree = ast.parse(program)
    places = [index for index, node in enumerate(ast.walk(tree)) for _ in _flips(node)]
    if not places:
        places = [index for index, node in enumerate(ast.walk(tree)) if _is_integer(node)]
    if not places:
        return None
    chosen = random.Random(seed).randrange(len(places))
    index = places[chosen]
    mutant = copy.deepcopy(tree)
    node = list(ast.walk(mutant))[index]
    if _is_integer(node):
        assert isinstance(node, ast.Constant) and isinstance(node.value, int)
        node.value += 1
    else:
        list(_flips(node))[chosen - places.index(index)]()
    text = ast.unparse(mutant)
    before = ast.unparse(tree)
    assert text != before
    return text, _changed_line(before, text)


def _is_integer(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _flips(node: ast.AST) -> Iterator["_Flip"]:
    """The flips that one node allows."""
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _BINARY:
        yield _Flip(node, "op", _BINARY[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield _Flip(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        # Doubled it means the opposite.
        yield _Flip(node, "operand", ast.UnaryOp(ast.Not(), node.operand))
    elif isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if type(operator) in _COMPARISONS:
                flipped = [*node.ops]
                flipped[place] = _COMPARISONS[type(operator)]()
                yield _Flip(node, "ops", flipped)


class _Flip:
    def __init__(self, node: ast.AST, field: str, value: object) -> None:
        self._node, self._field, self._value = node, field, value

    def __call__(self) -> None:
        setattr(self._node, self._field, self._value)


def _changed_line(before: str, after: str) -> str:
    for old, new in zip(before.splitlines(), after.splitlines(), strict=False):
        if old != new:
            return f"{old.strip()} → {new.strip()}"
    return ""


if __name__ == "__main__":
    main()
