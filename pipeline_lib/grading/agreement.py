r"""Agreement and speed of the maths grader beside plain math-verify, on files of labelled cases.

    python -m pipeline_lib.grading.agreement FILE... [--timeout SECONDS]

A FILE is Parquet, JSONL or CSV with the columns gold, prediction and label (is the prediction right?), optionally id, source, problem
and grader (rows of another grader than math are left out). Plain math-verify is `verify(parse(gold), parse(prediction))` in one process
with its own time-outs; bare texts (no \boxed, no dollar sign) are boxed for it, which suits it best.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from pipeline_lib.files import markdown
from pipeline_lib.files.tables import read_table
from pipeline_lib.grading import extract_last_box
from pipeline_lib.grading.maths.answer_in_text import read_gold, read_pair
from pipeline_lib.grading.maths.answers import read, whole
from pipeline_lib.grading.maths.grader import MATHS, is_same_text, judge_answers, judge_file_predictions
from pipeline_lib.grading.maths.lexer import lex
from pipeline_lib.grading.pool import Outcome, worker_pool

COLUMNS = ("gold", "prediction", "label")
REPEATS_OF_EQUAL = 20

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file that the maths grader judges. Raises ValueError when it is missing or lacks a column."""
    rows: list[Row] = read_table(path, list(COLUMNS)).to_pylist()
    return [row for row in rows if (row.get("grader") or "math") == "math"]


def ours(rows: Sequence[Row], timeout_seconds: float) -> list[Outcome]:
    """Our verdicts, predictions and gold answers read as files are."""
    golds, predictions = [row["gold"] for row in rows], [row["prediction"] for row in rows]
    return judge_file_predictions(golds, predictions, timeout_seconds, problems=[row.get("problem") for row in rows])


def strict(rows: Sequence[Row], timeout_seconds: float) -> list[bool]:
    """Our verdicts as in training, the last box or nothing; gold answers may be whole solutions here."""
    pairs = [(extract_last_box(row["prediction"]), read_gold(row["gold"])) for row in rows]
    return [
        reason == "correct" for reason in judge_answers(pairs, timeout_seconds, problems=[row.get("problem") for row in rows])
    ]


def plain(rows: Sequence[Row]) -> list[bool]:
    """What math-verify says to each row; an exception is a no, as in its own metric."""
    from math_verify import parse, verify

    def boxed(text: str) -> str:
        return text if "\\boxed" in text or "$" in text else f"\\boxed{{{text}}}"

    verdicts = []
    for row in rows:
        try:
            verdicts.append(bool(verify(parse(boxed(row["gold"])), parse(boxed(row["prediction"])))))
        except Exception:
            verdicts.append(False)
    return verdicts


def agreement(name: str, rows: Sequence[Row], judged: Sequence[bool]) -> list[str]:
    """A line of cells: what was judged, cases, agreement, false positives, false negatives."""
    false_positives = sum(verdict and not row["label"] for row, verdict in zip(rows, judged, strict=True))
    false_negatives = sum(row["label"] and not verdict for row, verdict in zip(rows, judged, strict=True))
    right = len(rows) - false_positives - false_negatives
    return [name, str(len(rows)), f"{right / max(len(rows), 1):.2%}", str(false_positives), str(false_negatives)]


def forget() -> None:
    """Empty what this process remembers of texts."""
    for function in (lex, read, whole):
        function.cache_clear()


def speed(num_answers: int, judge: Callable[[], object], repeats: int = 1) -> str:
    """How many answers a second are judged, texts not remembered."""
    seconds = 0.0
    for _ in range(repeats):
        forget()
        start = perf_counter()
        judge()
        seconds += perf_counter() - start
    return f"{num_answers * repeats / seconds:,.0f}/s" if num_answers else "–"


def speeds(rows: Sequence[Row], timeout_seconds: float) -> list[list[str]]:
    """Lines of cells: grader, speed where the texts are equal, speed on the rest; the workers run already."""
    equal = [row for row in rows if is_same_text(row["gold"], row["prediction"])]
    rest = [row for row in rows if not is_same_text(row["gold"], row["prediction"])]
    pairs = [(row["prediction"], row["gold"]) for row in equal]
    fast = speed(len(equal), lambda: judge_answers(pairs, timeout_seconds), REPEATS_OF_EQUAL)
    return [
        ["Laconic", fast, speed(len(rest), lambda: ours(rest, timeout_seconds))],
        ["math-verify", speed(len(equal), lambda: plain(equal)), speed(len(rest), lambda: plain(rest))],
    ]


def disagreements(rows: Sequence[Row], verdicts: Sequence[Outcome]) -> list[list[str]]:
    """Lines of cells: id, label, our reason, gold answer, what was read from the prediction."""
    return [
        [
            str(row.get("id") or ""),
            "right" if row["label"] else "wrong",
            verdict.reason,
            f"`{' '.join(row['gold'].split())[-80:]}`",
            f"`{' '.join((read_pair(row['gold'], row['prediction'])[1] or '').split())[:80]}`",
        ]
        for row, verdict in zip(rows, verdicts, strict=True)
        if verdict.correct != row["label"]
    ]


def compare(path: Path, timeout_seconds: float) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Title → header and lines of each table for one file."""
    rows = read_rows(path)
    verdicts = ours(rows, timeout_seconds)
    boxed = [row for row in rows if "\\boxed" in row["prediction"]]
    lines = [
        agreement("Laconic", rows, [verdict.correct for verdict in verdicts]),
        agreement("math-verify", rows, plain(rows)),
        agreement("Laconic, strict, predictions with a box", boxed, strict(boxed, timeout_seconds)),
        agreement("math-verify, predictions with a box", boxed, plain(boxed)),
    ]
    sources = sorted({str(row.get("source") or "").partition("/")[0] for row in rows} - {""})
    for source in sources:
        chosen = [(row, verdict.correct) for row, verdict in zip(rows, verdicts, strict=True) if _is_from(row, source)]
        lines.append(agreement(f"Laconic, {source}", [row for row, _ in chosen], [correct for _, correct in chosen]))
    return {
        f"{path.name}: agreement with the label": (
            ["grader", "cases", "agreement", "false positives", "false negatives"],
            lines,
        ),
        f"{path.name}: answers a second": (["grader", "equal texts", "the rest"], speeds(rows, timeout_seconds)),
        f"{path.name}: disagreements": (["id", "label", "ours", "gold", "answer read"], disagreements(rows, verdicts)),
    }


def _is_from(row: Row, source: str) -> bool:
    return str(row.get("source") or "").partition("/")[0] == source


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of each file; a wrong FILE is one line and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_lib.grading.agreement", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("files", type=Path, metavar="FILE", nargs="+")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="limit of one comparison (default 5)")
    options = parser.parse_args(arguments)
    for path in options.files:
        try:
            tables = compare(path, options.timeout)
        except ValueError as error:
            parser.error(str(error))
        for title, (header, lines) in tables.items():
            print(f"\n{title}\n\n{markdown.table(header, lines)}")
    print(f"\n{os.cpu_count()} cores, {worker_pool(MATHS).num_workers} workers; math-verify in one process.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
