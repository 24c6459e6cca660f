"""Where the answer stands in a response, by an `AnswerRule`: the last box, the last number, behind a mark, or what a pattern finds.

A response that was cut off at its token limit may end in half a number or word. Only a closed box shows that it is whole, so the
other rules find nothing there; the response counts as truncated either way.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from pipeline_lib.grading.maths.boxed import extract_last_box
from pipeline_lib.records import AnswerRule

PATTERN_PROGRAM = Path(__file__).with_name("pattern_program.py")
# Processor time for one response: a sound pattern reads the longest in some milliseconds.
PATTERN_TIMEOUT_SECONDS = 0.25
# Wall time beyond which a process that looks for a pattern is killed, for its start and for each response.
START_TIMEOUT_SECONDS = 60.0
OVERRUN = 20
MAX_PROCESSES = 8
TEXTS_A_PROCESS = 64

# An answer, or None with the reason that there is none: no_answer, timeout or error.
Found = tuple[str | None, str]

_WHOLE = r"[0-9]{1,3}(?:(?:,|\{,\}|\\,)[0-9]{3})+(?![0-9])|[0-9]+"
# An integer, decimal or fraction, with its sign where that is no minus between two terms; not the 2 of H2O.
_NUMBER = re.compile(
    rf"(?:(?<![\w)\]}}])[-−])?(?:\\[dt]?frac\{{[0-9]+\}}\{{[0-9]+\}}|(?<![A-Za-z_])(?:{_WHOLE})(?:\.[0-9]+)?(?:/[0-9]+)?|(?<![\w.])\.[0-9]+)",
    re.ASCII,
)
_SEPARATOR = re.compile(r"(?:,|\{,\}|\\,)(?=[0-9]{3})")


def find_answers(rule: AnswerRule, responses: Sequence[str], finish_reasons: Sequence[str]) -> list[Found]:
    """The answer of each response, by a rule; `finish_reasons` are "stop" or "length"."""
    if rule.answer_from == "boxed":
        return [_found(extract_last_box(response)) for response in responses]
    whole = [number for number, reason in enumerate(finish_reasons) if reason == "stop"]
    texts = [responses[number] for number in whole]
    if rule.answer_from == "pattern":
        found = find_pattern(rule.text, texts)
    else:
        found = [_found(last_number(text) if rule.answer_from == "last_number" else behind(rule.text, text)) for text in texts]
    by_number = dict(zip(whole, found, strict=True))
    return [by_number.get(number, (None, "no_answer")) for number in range(len(responses))]


def last_number(response: str) -> str | None:
    r"""The last number of a text, without separators of thousands: "so it is 1,234.5 kg." holds 1234.5; None without any."""
    last = None
    for last in _NUMBER.finditer(response):  # noqa: B007
        pass
    return _SEPARATOR.sub("", last[0]).replace("−", "-") if last else None


def behind(mark: str, response: str) -> str | None:
    """The rest of the line behind the last `mark`, or the next line that is not empty; without a full stop at its end."""
    _, found, rest = response.rpartition(mark)
    line = rest.strip().partition("\n")[0].strip() if found else ""
    return line.removesuffix(".").strip() or None


def find_pattern(pattern: str, texts: Sequence[str]) -> list[Found]:
    """What a regular expression finds last in each text: its group `answer`, else its first group, else all that it matched.

    The search runs in processes of its own, where the limit is one of processor time: it does not depend on what else runs.
    """
    if not texts:
        return []
    num_processes = min(MAX_PROCESSES, os.cpu_count() or 1, 1 + len(texts) // TEXTS_A_PROCESS)
    size = -(-len(texts) // num_processes)
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    with ThreadPoolExecutor(num_processes) as threads:
        return list(chain.from_iterable(threads.map(lambda part: _search(pattern, part), parts)))


def _search(pattern: str, texts: Sequence[str]) -> list[Found]:
    request = json.dumps({"pattern": pattern, "timeout_seconds": PATTERN_TIMEOUT_SECONDS, "texts": [*texts]})
    wall_seconds = START_TIMEOUT_SECONDS + OVERRUN * PATTERN_TIMEOUT_SECONDS * len(texts)
    program = [sys.executable, "-P", str(PATTERN_PROGRAM)]
    try:
        written = subprocess.run(program, input=request.encode(), capture_output=True, timeout=wall_seconds).stdout
        missing = "error"
    except subprocess.TimeoutExpired as overrun:
        written, missing = overrun.stdout or b"", "timeout"
    found: list[Found] = [(answer, reason) for answer, reason in map(json.loads, written.splitlines()[: len(texts)])]
    return found + [(None, missing)] * (len(texts) - len(found))


def _found(answer: str | None) -> Found:
    return answer, "no_answer" if answer is None else ""
