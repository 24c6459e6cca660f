"""The public grading cases: no source below what was measured, fewer false positives than plain math-verify, every case explained."""

import os
from collections import Counter
from pathlib import Path
from time import perf_counter

import pytest

from benchmarks.maths_agreement import REASONS, is_equal_text, main, read_rows
from pipeline_lib.grading.maths.grader import judge_answers, judge_file_predictions
from pipeline_lib.grading.maths.normal_form import normalise

REPOSITORY = Path(__file__).parents[2]
CASES = Path(os.environ.get("LACONIC_DATA", REPOSITORY.parent / "shared" / "data")) / "grading_public.parquet"

# Plain math-verify 0.9.0, the best of three ways to hand it the texts, source by source: cases it agrees with the label on.
# Measured with `python benchmarks/maths_agreement.py`, which a slow machine need not repeat here.
PLAIN_AGREEMENT = {
    "prm800k": 796, "gsm8k": 381, "mr-gsm8k": 223, "math-verify": 123, "lighteval": 8, "olympiadbench": 16, "inspect_ai": 14,
    "skythought": 9,
}  # fmt: skip
PLAIN_FALSE_POSITIVES = 15

needs_cases = pytest.mark.skipif(not CASES.is_file(), reason=f"no public grading cases at {CASES}")


@pytest.fixture(scope="module")
def rows():
    return read_rows(CASES)


@needs_cases
def test_agreement_with_the_labels_beats_plain_math_verify_and_every_disagreement_has_its_reason(rows):
    verdicts = judge_file_predictions([row["gold"] for row in rows], [row["prediction"] for row in rows], 30.0)
    agreed = Counter()
    false_positives = 0
    for row, verdict in zip(rows, verdicts, strict=True):
        agreed[row["source"].partition("/")[0]] += verdict.correct == row["label"]
        false_positives += verdict.correct and not row["label"]
    assert {source: count for source, count in PLAIN_AGREEMENT.items() if agreed[source] < count} == {}
    assert sum(agreed.values()) > sum(PLAIN_AGREEMENT.values())
    assert false_positives < PLAIN_FALSE_POSITIVES
    disagreements = {row["id"] for row, verdict in zip(rows, verdicts, strict=True) if verdict.correct != row["label"]}
    assert disagreements == set(REASONS)
    assert {verdict.reason for verdict in verdicts} <= {"correct", "wrong"}


@needs_cases
def test_equal_texts_take_no_algebra_and_no_time(rows):
    pairs = [(row["prediction"], row["gold"]) for row in rows if is_equal_text(row)] * 5
    normalise.cache_clear()
    start = perf_counter()
    # A negative time limit would fail any comparison that reached a worker.
    assert set(judge_answers(pairs, timeout_seconds=-1.0)) == {"correct"}
    assert len(pairs) / (perf_counter() - start) > 3000


def test_a_missing_file_is_one_line(capsys, tmp_path):
    with pytest.raises(SystemExit) as exit_info:
        main([str(tmp_path / "none.parquet")])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("none.parquet is not a file")
