"""The program of a grading worker: answers questions about equality with math-verify, one at a time, for its parent process.

Run as `python worker.py FD`; it imports nothing of this package, so that it starts fast. The parent keeps the time and
kills; for the case that the parent itself was killed, an alarm with the system's default action ends an overrunning comparison.
"""

import contextlib
import functools
import gc
import json
import logging
import os
import re
import resource
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

# Address space and resident memory that comparisons may add to what the libraries take.
MEMORY_HEADROOM_BYTES = 192 << 20
RETIREMENT_GROWTH_BYTES = 96 << 20
ALARM_GRACE_SECONDS = 2.0
PARENT_CHECK_SECONDS = 10.0
LEAST_ROUNDED_DIGITS = 4

DEGREES_OF_FUNCTION = re.compile(r"(\\(?:sin|cos|tan|cot|sec|csc)(?:\^\{\d\})?[({ ]*)(\d+(?:\.\d+)?)°")
COMMAND = re.compile(r"\\text\{[^{}]*\}|\\[a-zA-Z]+")
LETTER = re.compile(r"[a-zA-Z]")
DECIMAL = re.compile(r"[+-]?(\d*)\.(\d+)")


@functools.lru_cache(maxsize=2048)
def parse_boxed(answer: str) -> list[Any]:
    """The expressions math-verify reads from an answer, time-outs off; units are no business of this process."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    config = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all")
    targets = [LatexExtractionConfig(normalization_config=config), ExprExtractionConfig()]
    latex = DEGREES_OF_FUNCTION.sub(r"\1{\\frac{\2\\pi}{180}}", answer).replace("°", "^{\\circ}")
    return [_with_imaginary_unit(expression) for expression in parse(f"\\boxed{{{latex}}}", targets, parsing_timeout=None)]


def _with_imaginary_unit(expression: Any) -> Any:
    """The expression with the symbol i read as the imaginary unit, so that i^2 is -1 and \\sqrt{-5} is i\\sqrt{5}."""
    import sympy

    if not isinstance(expression, sympy.Expr):
        return expression
    units = [symbol for symbol in expression.free_symbols if getattr(symbol, "name", "") == "i"]
    return expression.xreplace(dict.fromkeys(units, sympy.I)) if units else expression


def tell_cases_apart(gold: str, answer: str) -> tuple[str, str]:
    """Both texts with capitals renamed where one text uses a letter in both cases: math-verify takes R and r for the same."""
    letters = [set(LETTER.findall(COMMAND.sub(" ", text))) for text in (gold, answer)]
    both = {letter for used in letters for letter in used if letter.isupper() and letter.lower() in used}
    if not both:
        return gold, answer
    pattern = re.compile(rf"(\\text\{{[^{{}}]*\}}|\\[a-zA-Z]+)|([{''.join(sorted(both))}])(?:_\{{(\w+)\}})?")
    renamed = [
        pattern.sub(lambda match: match[1] or f"{match[2].lower()}_{{{match[3] or ''}{match[2] * 2}}}", text)
        for text in (gold, answer)
    ]
    return renamed[0], renamed[1]


def is_equal(gold: str, answer: str, tolerance: float | None) -> bool:
    """Whether the answer equals the gold one. Raises what the comparison raises."""
    from math_verify import verify

    golds, answers = (parse_boxed(text) for text in tell_cases_apart(gold, answer))
    if not golds:
        raise ValueError("the gold answer cannot be parsed")
    if golds and answers:
        verdict = compare_constants(gold, answer, golds[0], answers[0], tolerance)
        if verdict is not None:
            return verdict
    try:
        return bool(verify(golds, answers, timeout_seconds=None, raise_on_error=True))
    except Exception:
        # One of several readings failed; another may still agree.
        if verify(golds, answers, timeout_seconds=None, raise_on_error=False):
            return True
        raise


def compare_constants(gold_text: str, answer_text: str, gold: Any, answer: Any, tolerance: float | None) -> bool | None:
    """The verdict on two constants by their values where that is sound: unequal, within the tolerance, or a rounding of the other.

    None leaves it to math-verify: not both constants, or so close that they may be equal.
    """
    import sympy

    for expression in (gold, answer):
        if not isinstance(expression, sympy.Expr) or expression.free_symbols or not expression.is_number:
            return None
    values = [sympy.N(expression.doit(), 40) for expression in (gold, answer)]
    difference = sympy.N(abs(values[0] - values[1]), 20)
    size = sympy.N(max(abs(value) for value in values), 20) if difference.is_Float else None
    if size is None or not size.is_Float:
        return None
    if tolerance is not None and difference <= tolerance:
        return True
    for text, other in ((answer_text, gold_text), (gold_text, answer_text)):
        match = DECIMAL.fullmatch(text)
        if match is not None and DECIMAL.fullmatch(other) is None:
            enough = len(match[2]) >= LEAST_ROUNDED_DIGITS and len((match[1] + match[2]).lstrip("0")) >= LEAST_ROUNDED_DIGITS
            return bool(enough and difference <= sympy.Rational(1, 2 * 10 ** len(match[2])))
    return False if difference > 1e-9 * size else None


def decide(node: Any, tolerance: float | None) -> bool:
    """The answer to a node (see compare.py): leaf, all, any or match."""
    if isinstance(node, bool):
        return node
    kind = node[0]
    if kind == "leaf":
        return is_equal(node[1], node[2], tolerance)
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
    """Import and warm up math-verify, so that the first comparison does not pay for it."""
    try:
        assert is_equal("\\frac{1}{2}\\sqrt{2}", "\\frac{1}{\\sqrt{2}}", None)
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
