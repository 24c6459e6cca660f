"""500 hostile answers: every one is judged within its time-out, nothing hangs or crashes, and memory stays bounded."""

import random
import time
from collections.abc import Iterator

import psutil
import pytest

from pipeline_lib.grading.maths.grader import judge_file_predictions, judge_pairs

NUM_HOSTILE = 500
TIMEOUT_SECONDS = 2.0
MEMORY_GROWTH_BYTES = 500 << 20
MEGABYTE = 1 << 20


def tower(random_source: random.Random) -> str:
    digits = [str(random_source.randint(2, 99)) for _ in range(random_source.randint(3, 60))]
    return (
        random_source.choice(["^", "**"]).join(digits)
        if random_source.random() < 0.4
        else "^{".join(digits) + "}" * len(digits)
    )


def nested(random_source: random.Random) -> str:
    depth = random_source.choice([30, 39, 200, 1000, 5000])
    opening, closing = random_source.choice(
        [("{", "}"), ("(", ")"), ("\\sqrt{", "}"), ("\\frac{1}{1+", "}"), ("\\left(", "\\right)"), ("[", "]"), ("\\{", "\\}")]
    )
    return opening * depth + "x" + closing * (depth - random_source.choice([0, 0, 1]))


def factorial(random_source: random.Random) -> str:
    number = random_source.choice(["9" * 9, "10^{9}", "100000", "(10!)", "3!!!!!!"])
    return f"{number}!" + random_source.choice(["", "!", "/7", "-1"])


def long_text(random_source: random.Random) -> str:
    part = random_source.choice(
        ["9", "x+", "\\frac{1}{2}+", "{", "(1,2),", "a ", "\\", "$", "\\boxed{", "1,000,", "\u4e2d", "0.1"]
    )
    return (part * (MEGABYTE // len(part) + 1))[:MEGABYTE]


def control_characters(random_source: random.Random) -> str:
    characters = [chr(random_source.choice([*range(32), 127, 0x200B, 0x202E, 0xFEFF, 0xD7FF, 0xFFFF])) for _ in range(200)]
    return "".join(characters) + random_source.choice(["7", "y", "\\frac{1}{3}"]) + "\0"


def other_alphabet(random_source: random.Random) -> str:
    start = random_source.choice(
        [0x0391, 0x0410, 0x05D0, 0x0627, 0x0905, 0x3042, 0x4E00, 0xAC00, 0x1F600, 0x0660, 0xFF10, 0x1D400]
    )
    return "".join(chr(start + random_source.randrange(20)) for _ in range(random_source.randint(1, 300)))


def half_latex(random_source: random.Random) -> str:
    pieces = [
        "\\frac{1",
        "\\sqrt[",
        "\\begin{pmatrix}1&",
        "\\left(",
        "\\text{",
        "^{",
        "_{",
        "\\",
        "$",
        "\\[",
        "&",
        "\\\\",
        "}",
        "%",
        "#",
    ]
    return "".join(random_source.choice(pieces) for _ in range(random_source.randint(1, 40)))


def macros(random_source: random.Random) -> str:
    return "".join(f"\\{random_source.choice('xyzqdefhinput')}{random_source.randint(0, 9)}" for _ in range(50))


def injection(random_source: random.Random) -> str:
    return random_source.choice(
        [
            "__import__('os').system('sleep 60')", "exec('while True: pass')", "(lambda: [0]*10**10)()", "().__class__.__bases__[0]",
            "open('/etc/passwd').read()", "exit()", "os.kill(os.getppid(), 9)", "[x for x in range(10**12)]", "10**10**10**10",
            "import sys; sys.exit(0)", "Integer(10)**Integer(10)**10", "factorial(10**9)", "{{7*7}}", "'a'*10**12",
        ]
    )  # fmt: skip


def endless_decimal(random_source: random.Random) -> str:
    return "0." + "".join(random_source.choice("0123456789") for _ in range(random_source.choice([500, 3000, 5000, 50_000])))


def huge_integer(random_source: random.Random) -> str:
    return (
        random_source.choice(["", "-"])
        + "9" * random_source.choice([100, 3999, 4001, 100_000])
        + random_source.choice(["", "/7", "^{9999}"])
    )


def giant_matrix(random_source: random.Random) -> str:
    size = random_source.choice([5, 30, 100])
    row = " & ".join(["x+1"] * size)
    return "\\begin{pmatrix}" + " \\\\ ".join([row] * size) + "\\end{pmatrix}"


def hard_algebra(random_source: random.Random) -> str:
    degree = random_source.randint(20, 900)
    return random_source.choice(
        [
            f"(x+y+z+1)^{{{degree}}}", f"\\int_0^\\infty \\frac{{\\sin(x^{{{degree}}})}}{{x^3+1}} dx",
            f"\\sum_{{n=1}}^{{{10**degree}}} n^n",
            f"x^{{{degree}}}-y^{{{degree}}}", f"\\log_{{{degree}}}(10^{{{10**degree}}})", "|" * degree + "x" + "|" * degree,
            f"\\sqrt[{10**degree}]{{2}}", f"\\int_0^{{{degree}}} x dx", f"\\frac{{1}}{{{degree}-{degree}}}", f"({degree}+i)^{{{degree}}}",
            "\\sin(" * 45 + "x" + ")" * 45, f"\\prod_{{k=1}}^{{{degree}}} (x+k)^k", f"\\binom{{{10**8}}}{{{10**7}}}",
            f"\\lim_{{x \\to 0}} \\frac{{\\sin^{{{degree}}}x}}{{x}}", "+".join(f"\\sqrt{{{n}}}" for n in range(2, degree)),
        ]
    )  # fmt: skip


KINDS = [
    tower, nested, factorial, long_text, control_characters, other_alphabet, half_latex, macros, injection, endless_decimal,
    huge_integer, giant_matrix, hard_algebra,
]  # fmt: skip
GOLDS = ["5", "\\frac{1}{2}", "x^2+1", "(1,2)", "\\{1,2,3\\}", "2\\sqrt{3}", "\\text{Evelyn}", "[0,1)", "x=3", "B"]


def hostile_answers() -> Iterator[tuple[str, str]]:
    """Deterministic (answer, gold) pairs, every kind in turn."""
    random_source = random.Random(20260222)
    for number in range(NUM_HOSTILE):
        yield KINDS[number % len(KINDS)](random_source), random_source.choice(GOLDS)


class MemoryWatch:
    """The largest resident memory of this process and its children, looked at whenever an answer is judged."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.largest = self.start = self.resident()

    def resident(self) -> int:
        total = self.process.memory_info().rss
        for child in self.process.children(recursive=True):
            try:
                total += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def look(self, *_: object) -> None:
        self.largest = max(self.largest, self.resident())


@pytest.fixture(scope="module")
def warm_pool() -> None:
    # So that neither the start of the workers nor their libraries count as growth.
    judge_pairs([("x+1", f"1+x+0*{number}") for number in range(8)], timeout_seconds=30.0)


def test_500_hostile_answers_are_judged_in_time_without_memory_growth(warm_pool):
    pairs = list(hostile_answers())
    watch = MemoryWatch()
    start = time.monotonic()
    outcomes = judge_pairs(pairs, TIMEOUT_SECONDS, on_done=watch.look)
    seconds = time.monotonic() - start
    assert len(outcomes) == NUM_HOSTILE
    assert {outcome.reason for outcome in outcomes} <= {"wrong", "timeout", "error"}
    slowest = max(outcome.seconds for outcome in outcomes)
    assert slowest < TIMEOUT_SECONDS + 1.0
    assert watch.largest - watch.start < MEMORY_GROWTH_BYTES
    assert seconds < 60
    assert [outcome.reason for outcome in judge_pairs([("1+x", "x+1"), ("x", "x+1")], 30.0)] == ["correct", "wrong"]


def test_hostile_texts_are_read_as_predictions_and_as_golds_too(warm_pool):
    pairs = list(hostile_answers())[:78]
    verdicts = judge_file_predictions(
        [gold for _, gold in pairs], [f"The answer is \\boxed{{{text}}}" for text, _ in pairs], 1.0
    )
    assert not any(verdict.correct for verdict in verdicts)
    verdicts = judge_file_predictions([text for text, _ in pairs[::6]], ["5"] * len(pairs[::6]), 1.0)
    assert {verdict.reason for verdict in verdicts} <= {"correct", "wrong", "timeout", "error", "no_answer"}
