r"""Agreement and speed of the maths grader beside plain math-verify, on a file of labelled cases.

    python benchmarks/maths_agreement.py FILE [--markdown] [--timeout SECONDS]

FILE is Parquet with the columns id, source, gold, prediction and label (is the prediction right?). Plain math-verify is
`verify(parse(gold), parse(prediction))` in one process with its own time-outs, in three variants: bare texts (no \boxed, no
dollar sign) wrapped in a box, all texts as they are, all texts wrapped.
"""

import argparse
import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from pipeline_lib.files import markdown
from pipeline_lib.grading.maths.answer_in_text import read_pair
from pipeline_lib.grading.maths.grader import judge_answers, judge_file_predictions
from pipeline_lib.grading.maths.normal_form import normalise
from pipeline_lib.grading.maths.numbers import read_quantity
from pipeline_lib.grading.maths.pool import Outcome, maths_pool

OURS = "Laconic"
COLUMNS = ("id", "source", "gold", "prediction", "label")
REPEATS_OF_EQUAL = 20

_NOT_SIMPLIFIED = "equal; the human rater turned down a form that is not simplified, or rated the step rather than its answer"
_UNEQUAL = "not equal; the human rater accepted a wrong answer or rated the step rather than its answer"

# Why the grader keeps its verdict where the label says otherwise, by the id of the case.
REASONS = {
    "gr-5278b1abc501": "equal; the label turns down the decimal, while others of the same source accept it",
    "gr-5a59c18f43ba": "equal (±, i√5 for √5 i); the label is at odds with gr-b05fdb27cafb, which accepts the same numbers",
    "gr-7ab3e636ecce": "equal (±, i√5 for √5 i); the label is at odds with gr-b05fdb27cafb, which accepts the same numbers",
    "gr-451b3a9a7f14": "equal; √-1 is i, which gr-849a55a6e193 accepts with the same gold answer",
    "gr-5afc98bfcbfd": _NOT_SIMPLIFIED,
    "gr-883284ea6579": _NOT_SIMPLIFIED,
    "gr-6980c61ba756": _NOT_SIMPLIFIED,
    "gr-ea2cb2ca9b0b": _NOT_SIMPLIFIED,
    "gr-e05551531c0d": _NOT_SIMPLIFIED,
    "gr-f6d519063ad4": _NOT_SIMPLIFIED,
    "gr-6b2e46046286": "equal; 4/3 is accepted for a fraction elsewhere in the same source",
    "gr-91d04efac286": "the same plane; the problem wants a positive leading coefficient, which gold and answer alone do not tell",
    "gr-a50e301e6499": "a pair without its parentheses, accepted for a triple in gr-6d609af5dc6d",
    "gr-36b95bc675c7": _UNEQUAL,
    "gr-9edc09bb4202": _UNEQUAL,
    "gr-fd3556647025": _UNEQUAL,
    "gr-35b6bcebef52": _UNEQUAL,
    "gr-ebe5043c105e": "0.33 for 1/3: the library's test asks for two decimals; we accept a rounding from four digits on",
    "gr-d4729fbf9572": r"\beginboxed is no box and no command of LaTeX",
    "gr-3b037c2c8b22": "75 for 0.75 without a percent sign: the source's policy, which would accept wrong answers elsewhere",
    "gr-722ef65be9be": "2 for 2.0001: the source's tolerance of 1e-4, relative; ours is 1e-8",
}


def wrap_bare(text: str) -> str:
    """The text in a box unless it has a box or a formula already."""
    return text if "\\boxed" in text or "$" in text else wrap(text)


def wrap(text: str) -> str:
    """The text in a box."""
    return f"\\boxed{{{text}}}"


VARIANTS: dict[str, Callable[[str], str]] = {
    "math-verify, bare texts boxed": wrap_bare,
    "math-verify, as they are": str,
    "math-verify, all boxed": wrap,
}


@dataclass(frozen=True, slots=True)
class Timing:
    """How many answers were judged in how many seconds of wall time."""

    num_answers: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.num_answers / self.seconds:,.0f}/s ({self.num_answers:,} in {self.seconds:.2f} s)"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything measured in one run: verdicts of each grader by name, and the speeds."""

    rows: list[dict[str, Any]]
    verdicts: list[Outcome]
    judged: dict[str, list[bool]]
    speeds: dict[str, tuple[Timing, Timing]]
    cold: Timing


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of the file. Raises ValueError when it is missing or lacks a column."""
    import pyarrow.parquet as pq

    if not path.is_file():
        raise ValueError(f"FILE = {path} is not a file")
    table = pq.read_table(path)
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(f"FILE = {path} lacks the column(s) {', '.join(missing)}")
    rows: list[dict[str, Any]] = table.select(list(COLUMNS)).to_pylist()
    return rows


def plain_verdicts(rows: Sequence[dict[str, Any]], prepare: Callable[[str], str]) -> list[bool]:
    """What math-verify says to each row; an exception is a no, as in its own metric."""
    from math_verify import parse, verify

    verdicts = []
    for row in rows:
        try:
            verdicts.append(bool(verify(parse(prepare(row["gold"])), parse(prepare(row["prediction"])))))
        except Exception:
            verdicts.append(False)
    return verdicts


def is_equal_text(row: dict[str, Any]) -> bool:
    """Whether prediction and gold are equal strings after normalisation."""
    return normalise(row["gold"]) == normalise(row["prediction"])


def compare(rows: list[dict[str, Any]], timeout_seconds: float) -> Comparison:
    """Judge all rows with our grader and with each variant of math-verify, and time both on the same two parts of the file."""
    equal = [row for row in rows if is_equal_text(row)]
    rest = [row for row in rows if not is_equal_text(row)]
    forget()
    cold, _ = timed(rest, lambda part: ours(part, timeout_seconds))
    verdicts = ours(rows, timeout_seconds)
    judged = {OURS: [verdict.correct for verdict in verdicts]}
    speeds = {OURS: (equal_speed(equal, timeout_seconds), warm_speed(rest, timeout_seconds))}
    plain_verdicts(rows[:20], wrap_bare)
    for name, prepare in VARIANTS.items():
        judged[name] = plain_verdicts(rows, prepare)
        speeds[name] = (plain_speed(equal, prepare), plain_speed(rest, prepare))
    return Comparison(rows, verdicts, judged, speeds, cold)


def ours(rows: Sequence[dict[str, Any]], timeout_seconds: float) -> list[Outcome]:
    """Our verdicts, texts and gold answers read as files are."""
    return judge_file_predictions([row["gold"] for row in rows], [row["prediction"] for row in rows], timeout_seconds)


def timed(rows: Sequence[dict[str, Any]], judge: Callable[[Sequence[dict[str, Any]]], Any]) -> tuple[Timing, Any]:
    """How long judging took, and its result."""
    gc.collect()
    start = perf_counter()
    result = judge(rows)
    return Timing(len(rows), max(perf_counter() - start, 1e-9)), result


def plain_speed(rows: Sequence[dict[str, Any]], prepare: Callable[[str], str]) -> Timing:
    """The speed of one variant of math-verify."""
    return timed(rows, lambda part: plain_verdicts(part, prepare))[0]


def equal_speed(rows: Sequence[dict[str, Any]], timeout_seconds: float) -> Timing:
    """The speed of `judge_answers` where the texts are equal, without what it remembers."""
    pairs = [(row["prediction"], row["gold"]) for row in rows]
    seconds = 0.0
    for _ in range(REPEATS_OF_EQUAL):
        forget()
        start = perf_counter()
        judge_answers(pairs, timeout_seconds)
        seconds += perf_counter() - start
    return Timing(len(pairs) * REPEATS_OF_EQUAL, max(seconds, 1e-9))


def warm_speed(rows: Sequence[dict[str, Any]], timeout_seconds: float) -> Timing:
    """The speed with workers already running, texts not remembered in this process (workers keep what they parsed)."""
    forget()
    return timed(rows, lambda part: ours(part, timeout_seconds))[0]


def forget() -> None:
    """Empty the caches of the text paths."""
    normalise.cache_clear()
    read_quantity.cache_clear()


def sources(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The source families, the text before the first slash, in order of size."""
    families = [row["source"].partition("/")[0] for row in rows]
    return sorted(set(families), key=lambda family: (-families.count(family), family))


def agreement_table(comparison: Comparison) -> list[list[str]]:
    """Rows of cells: source, cases, and for each grader agreement, false positives and false negatives."""
    table = [["source", "cases", *comparison.judged]]
    for family in [*sources(comparison.rows), "all"]:
        indices = [i for i, row in enumerate(comparison.rows) if family in (row["source"].partition("/")[0], "all")]
        labels = [bool(comparison.rows[i]["label"]) for i in indices]
        cells = []
        for judged in comparison.judged.values():
            pairs = [(judged[i], label) for i, label in zip(indices, labels, strict=True)]
            right = sum(verdict == label for verdict, label in pairs)
            false_positives = sum(verdict and not label for verdict, label in pairs)
            cells.append(f"{right / len(pairs):.2%} ({false_positives} / {len(pairs) - right - false_positives})")
        table.append([family, str(len(indices)), *cells])
    return table


def speed_table(comparison: Comparison) -> list[list[str]]:
    """Rows of cells: grader, speed on equal texts, speed on the rest."""
    table = [["grader", "equal after normalisation", "the rest"]]
    table.append([f"{OURS}, workers not yet started", "", str(comparison.cold)])
    for name, (equal, rest) in comparison.speeds.items():
        table.append([f"{name}, workers running" if name == OURS else name, str(equal), str(rest)])
    return table


def disagreement_table(comparison: Comparison) -> list[list[str]]:
    """Rows of cells: id, source, label, our reason, gold, what was read from the prediction, why we keep our verdict."""
    table = [["id", "label", "ours", "gold", "answer read", "why"]]
    for row, verdict in sorted(zip(comparison.rows, comparison.verdicts, strict=True), key=lambda pair: str(pair[0]["source"])):
        if verdict.correct != row["label"]:
            label = "right" if row["label"] else "wrong"
            why = REASONS.get(row["id"], "not examined yet")
            table.append(
                [
                    f"{row['id']} ({row['source'].partition('/')[0]})",
                    label,
                    verdict.reason,
                    row["gold"],
                    read_pair(row["gold"], row["prediction"])[1] or "",
                    why,
                ]
            )
    return table


def render(table: list[list[str]], as_markdown: bool, code_columns: Sequence[int] = ()) -> str:
    """The table as Markdown or as aligned text."""
    if not as_markdown:
        shown = [[cell.replace("\n", " ")[:70] for cell in row] for row in table]
        widths = [max(len(row[column]) for row in shown) for column in range(len(table[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown
        )
    header, *rows = table
    shown = [[f"`{' '.join(cell.split())}`" if i in code_columns else cell for i, cell in enumerate(row)] for row in rows]
    return markdown.table(header, shown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the three tables; a wrong FILE is one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="python benchmarks/maths_agreement.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="SECONDS", help="time limit of one comparison (default 5)"
    )
    options = parser.parse_args(arguments)
    try:
        rows = read_rows(options.file)
    except ValueError as error:
        parser.error(str(error))
    comparison = compare(rows, options.timeout)
    print(f"Agreement with the label (false positives / false negatives), {len(rows):,} cases:\n")
    print(render(agreement_table(comparison), options.markdown))
    print(f"\nAnswers a second on {os.cpu_count()} cores, {maths_pool().num_workers} workers; math-verify in one process:\n")
    print(render(speed_table(comparison), options.markdown))
    print("\nDisagreements with the label:\n")
    print(render(disagreement_table(comparison), options.markdown, code_columns=(3, 4)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
