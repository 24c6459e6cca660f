"""Which column of somebody's data is what: told by its name and by what stands in it."""

from typing import Any

from pipeline_lib.files.tables import is_missing, text_of

PROBLEMS = ("problem", "question", "prompt", "instruction", "query", "input", "text")
ANSWERS = (
    "answer",
    "final_answer",
    "expected_answer",
    "gold",
    "ground_truth",
    "target",
    "solution",
    "label",
    "output",
    "response",
)
IDS = ("id", "unique_id", "problem_id", "key", "uid")
CHOICES = ("choices", "options")
MARK = "####"  # GSM8K's: the column holds the worked solution, then the answer


def detect_columns(rows: list[dict[str, Any]], told: dict[str, str]) -> dict[str, str]:
    """Settings of a prompt source with these rows: its columns and its grader. What was `told` is kept.

    Raises ValueError, naming the columns that there are, where none is known as problem or answer.
    """
    names = {name.lower(): name for row in rows[:1] for name in row}
    found = dict(told)
    for key, known in (("problem_field", PROBLEMS), ("answer_field", ANSWERS), ("choices_field", CHOICES), ("id_field", IDS)):
        column = next((names[name] for name in known if name in names), None)
        if column is not None and not (key == "id_field" and not _identifies(rows, column)):
            found.setdefault(key, column)
    optional = {"answer_field"} if told.get("grader") == "python" else set()
    for key in ("problem_field", "answer_field"):
        if key not in optional and found.get(key) not in names.values():
            option = f"--{key.replace('_', '-')}"
            raise ValueError(f"which column is the {key[:-6]}? {option} one of {', '.join(names.values()) or 'none'}")
    if found.setdefault("grader", "choice" if "choices_field" in found else "") != "choice":
        found.pop("choices_field", None)
    answers = [text_of(row.get(found.get("answer_field", ""))) for row in rows]
    if found["grader"] != "choice" and 2 * sum(MARK in answer for answer in answers) > len(rows):
        found.setdefault("answer_after", MARK)
    if not found["grader"]:
        after = [answer.rpartition(found.get("answer_after", "\0"))[2] for answer in answers]
        found["grader"] = (
            "math" if 2 * sum(any(map(str.isdigit, text)) or "\\" in text for text in after) > len(rows) else "exact"
        )
    return found


def _identifies(rows: list[dict[str, Any]], column: str) -> bool:
    values = [row[column] for row in rows]
    return not any(map(is_missing, values)) and len(set(map(str, values))) == len(values)
