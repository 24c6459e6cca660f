"""The program of a grading worker: answers questions about equality with sympy and math-verify, one at a time, for its parent process.

Run as `python worker.py FD`; it imports nothing of this package, so that it starts fast. The parent keeps the time and
kills; for the case that the parent itself was killed, an alarm with the system's default action ends an overrunning comparison.
"""

import contextlib
import functools
import gc
import json
import logging
import os
import random
import re
import resource
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

# Address space and resident memory that comparisons may add to what the libraries take.
MEMORY_HEADROOM_BYTES = 192 << 20
RETIREMENT_GROWTH_BYTES = 96 << 20
ALARM_GRACE_SECONDS = 2.0
PARENT_CHECK_SECONDS = 10.0

# Digits that decide inequality, and those that two constants must share to be equal.
DIGITS, MANY_DIGITS = 40, 300
POINTS = 8
LEAST_ROUNDED_DIGITS = 4
DECIMAL = re.compile(r"-?(\d*)\.(\d+)")
# By convention these letters are whole numbers: (-1)^{2n} is 1.
WHOLE_NUMBERS = frozenset("nkm")


@functools.lru_cache(maxsize=4096)
def expression(tree: Any) -> Any:
    """The sympy expression of a tree (see expressions.py). Raises ValueError for what cannot be expressed."""
    import sympy

    kind, parts = tree[0], [expression(part) for part in tree[1:] if isinstance(part, tuple)]
    if kind == "n":
        return sympy.Rational(tree[1])
    if kind == "s":
        return sympy.Symbol(tree[1])
    if kind == "c":
        return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "oo": sympy.oo}[tree[1]]
    if kind == "latex":
        return calculus(tree[1])
    if kind == "root":
        return real_root(*parts)
    if kind == "f":
        return function(tree[1], parts)
    return {"+": lambda: sympy.Add(*parts), "*": lambda: sympy.Mul(*parts), "/": lambda: parts[0] / parts[1],
            "^": lambda: sympy.Pow(*parts)}[kind]()  # fmt: skip


def real_root(value: Any, index: Any) -> Any:
    """The root as it is read at school: of a negative number an odd one is real."""
    import sympy

    if value.is_negative and index.is_odd:
        return -((-value) ** (1 / index))
    return sympy.Pow(value, 1 / index)


def function(name: str, parts: list[Any]) -> Any:
    """A known function of sympy, or an unknown one by its name."""
    import sympy

    if name.startswith(" "):
        return sympy.Function(name.strip())(*parts)
    known = {
        "abs": sympy.Abs, "ln": sympy.log, "log": sympy.log, "!": sympy.factorial, "!!": sympy.factorial2, "binom": sympy.binomial,
        "permutations": sympy.ff, "mod": sympy.Mod, "ceil": sympy.ceiling, "max": sympy.Max, "min": sympy.Min, "sgn": sympy.sign,
    }  # fmt: skip
    return (known.get(name) or getattr(sympy, name.replace("arc", "a")))(*parts)


def calculus(latex: str) -> Any:
    """What math-verify reads in a sum, an integral or a limit, evaluated."""
    import sympy
    from math_verify import LatexExtractionConfig, parse

    parsed = parse(f"\\boxed{{{latex}}}", [LatexExtractionConfig()], parsing_timeout=None)
    if not parsed or isinstance(parsed[0], str):
        raise ValueError(f"{latex} cannot be parsed")
    value = parsed[0].doit()  # of symbols that are real by assumption, and so others than those of the answer beside it
    return value.xreplace({symbol: sympy.Symbol(symbol.name) for symbol in value.free_symbols})


def is_equal(gold: Any, answer: Any, tolerance: float | None) -> bool:
    """Whether two trees have the same value. Raises what the comparison raises."""
    one, other = expression(gold), expression(answer)
    if one == other:
        return True
    if not one.free_symbols and not other.free_symbols and not unknown(one, other):
        return are_equal_constants(gold, answer, one, other, tolerance)
    return vanishes(one, other)


def unknown(*expressions: Any) -> set[Any]:
    """The applications of unknown functions in the expressions."""
    from sympy.core.function import AppliedUndef

    return set().union(*(expression.atoms(AppliedUndef) for expression in expressions))


def are_equal_constants(gold: Any, answer: Any, one: Any, other: Any, tolerance: float | None) -> bool:
    """By their values; a decimal with enough digits is also equal to an exact value that it is a rounding of."""
    import sympy

    difference = sympy.N(one - other, DIGITS, maxn=400)
    if not difference.is_number or difference.has(sympy.nan, sympy.zoo, sympy.oo):
        return False
    difference = abs(difference)
    if tolerance is not None and difference <= tolerance:
        return True
    for tree, exact in ((gold, answer), (answer, gold)):
        match = DECIMAL.fullmatch(str(tree[1])) if tree[0] == "n" else None
        if match is not None and exact[0] != "n":
            enough = len(match[2]) >= LEAST_ROUNDED_DIGITS and len((match[1] + match[2]).lstrip("0")) >= LEAST_ROUNDED_DIGITS
            if enough and difference <= sympy.Rational(1, 2 * 10 ** len(match[2])):
                return True
    size = max(abs(sympy.N(one, DIGITS)), sympy.Float(10) ** -30)
    if difference > size * sympy.Float(10) ** (5 - DIGITS):
        return False
    values = [sympy.N(expression, MANY_DIGITS) for expression in (one, other)]
    return bool(abs(values[0] - values[1]) <= abs(values[0]) * sympy.Float(10) ** (10 - MANY_DIGITS))


def vanishes(one: Any, other: Any) -> bool:
    """Whether two expressions agree wherever both are real, or wherever they are defined if that is nowhere.

    Values at random points decide; math-verify does where there are none.
    """
    verdicts = [agreement for agreement in compare_values(one, other) if agreement is not None]
    reals = [equal for is_real, equal in verdicts if is_real]
    if len(reals) > 1:
        return all(reals)
    if len(verdicts) > 1:
        return all(equal for _, equal in verdicts)
    from math_verify import verify

    return bool(verify([one], [other], timeout_seconds=None, raise_on_error=True))


def compare_values(one: Any, other: Any) -> Iterator[tuple[bool, bool] | None]:
    """At each of some points whether both values are real and whether they are equal; None where one is not defined."""
    for values in values_at_points(one, other):
        if values is None:
            yield None
            continue
        first, second = values
        equal = abs(first - second) <= 1e-25 * max(abs(first), abs(second), 1e-9)
        is_real = all(abs(value.as_real_imag()[1]) <= 1e-25 * max(abs(value), 1e-9) for value in values)
        yield is_real, bool(equal)
        if is_real and not equal:
            return


def values_at_points(*expressions: Any) -> Iterator[list[Any] | None]:
    """The values of the expressions at random points, the same for all: real of both signs, whole for n, k and m."""
    import sympy

    replaced = {call: sympy.Dummy() for call in sorted(unknown(*expressions), key=str)}
    expressions = tuple(expression.xreplace(replaced) for expression in expressions)
    names = sorted(set().union(*(expression.free_symbols for expression in expressions)), key=str)
    source = random.Random(20)
    for number in range(POINTS):
        point = {}
        for symbol in names:
            positive = number % 2 == 0 or source.random() < 0.4
            if str(symbol) in WHOLE_NUMBERS:
                size = sympy.Integer(source.randint(2, 9))
            else:
                size = sympy.Rational(source.randint(10_001, 39_999), 10_007)
            point[symbol] = size if positive else -size
        values = [sympy.N(expression.subs(point), DIGITS) for expression in expressions]
        is_known = all(value.is_number and not value.has(sympy.nan, sympy.zoo, sympy.oo) for value in values)
        yield values if is_known and all(value.as_real_imag()[0].is_Number for value in values) else None


def is_near(tree: Any, shown: str, error: str) -> bool:
    """Whether a value differs by no more than an error from the number that is shown for it."""
    import sympy

    return bool(abs(sympy.N(expression(tree), DIGITS) - sympy.Rational(shown)) <= sympy.Rational(error))


def is_same_relation(sign: str, gold: Any, answer: Any) -> bool:
    """Whether two equations or inequalities are the same up to a constant factor, for inequalities a positive one."""
    import sympy

    sides = [[expression(tree) for tree in pair] for pair in (gold, answer)]
    one, other = (left - right for left, right in sides)
    for first, second in ((one, other), tuple(sympy.fraction(sympy.together(side))[0] for side in (one, other))):
        ratios = [
            values[0] / values[1]
            for values in values_at_points(first, second)
            if values is not None and values[1] != 0 and values[0] != 0
        ]
        if len(ratios) > 2 and all(abs(ratio - ratios[0]) <= 1e-25 * abs(ratios[0]) for ratio in ratios):
            return sign in ("=", "!=") or bool(ratios[0].is_positive)
    return False


def freeze(node: Any) -> Any:
    """A tree as it was before it travelled: tuples in place of lists."""
    return tuple(freeze(part) for part in node) if isinstance(node, list) else node


def decide(node: Any, tolerance: float | None) -> bool:
    """The answer to a node (see nodes.py)."""
    if isinstance(node, bool):
        return node
    kind = node[0]
    if kind == "equal":
        return is_equal(freeze(node[1]), freeze(node[2]), tolerance)
    if kind == "near":
        return is_near(freeze(node[1]), node[2], node[3])
    if kind == "relation":
        return is_same_relation(node[1], freeze(node[2]), freeze(node[3]))
    if kind == "match":
        return can_match(node[1], tolerance)
    errors = []
    for part in sorted(node[1], key=lambda part: len(str(part))):
        try:
            verdict = decide(part, tolerance)
        except Exception as error:
            errors.append(error)
            continue
        if verdict == (kind == "any"):
            return verdict
    if errors:
        raise errors[0]
    return bool(kind == "all")


def can_match(rows: list[list[Any]], tolerance: float | None) -> bool:
    """Whether every row can have a column of its own whose node holds (Kuhn's algorithm, nodes decided when needed)."""
    known: dict[tuple[int, int], bool] = {}
    owner: dict[int, int] = {}

    def holds(row: int, column: int) -> bool:
        if (row, column) not in known:
            known[row, column] = decide(rows[row][column], tolerance)
        return known[row, column]

    def place(row: int, seen: set[int]) -> bool:
        for column in range(len(rows)):
            if column not in seen and holds(row, column):
                seen.add(column)
                if column not in owner or place(owner[column], seen):
                    owner[column] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(rows)))


def _failed(error: Exception) -> dict[str, Any]:
    return {"reason": "error", "detail": f"{type(error).__name__}: {str(error)[:200]}"}


def compare(request: dict[str, Any]) -> dict[str, Any]:
    """The reply to one request: reason correct, wrong or error, with the error's text."""
    signal.setitimer(signal.ITIMER_REAL, request["timeout_seconds"] + ALARM_GRACE_SECONDS)
    try:
        equal = decide(request["node"], request["tolerance"])
    except Exception as error:
        return _failed(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return {"reason": "correct" if equal else "wrong"}


def start() -> dict[str, Any]:
    """Import and warm up sympy, so that the first comparison does not pay for it."""
    try:
        root = ("root", ("n", "2"), ("n", "2"))
        assert is_equal(("/", root, ("n", "2")), ("/", ("n", "1"), root), None)
        assert not is_equal(("^", ("s", "x"), ("n", "2")), ("s", "x"), None)
    except Exception as error:
        return _failed(error)
    return {"reason": "ready"}


def memory_bytes() -> tuple[int, int]:
    """Address space and resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        pages = statm.read().split()
    return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()


def serve(connection: Connection) -> None:
    """Answer requests until the parent closes the pipe or is gone, or until this process has grown too large."""
    parent_pid = os.getppid()
    ready = start()
    largest_resident = sys.maxsize
    if sys.platform == "linux":
        address_space, resident = memory_bytes()
        limit = address_space + MEMORY_HEADROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        largest_resident = resident + RETIREMENT_GROWTH_BYTES
    # The libraries' many objects stay; looking through them again and again would take a fifth of the time.
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    connection.send_bytes(json.dumps(ready).encode())
    while True:
        while not connection.poll(PARENT_CHECK_SECONDS):
            if os.getppid() != parent_pid:
                return
        reply = compare(json.loads(connection.recv_bytes()))
        reply["retire"] = sys.platform == "linux" and memory_bytes()[1] > largest_resident
        connection.send_bytes(json.dumps(reply).encode())
        if reply["retire"]:
            return


if __name__ == "__main__":
    # The terminal's Ctrl-C is for the parent, which then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    logging.disable(logging.CRITICAL)
    # Both mean that the parent is gone.
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve(Connection(int(sys.argv[1])))
