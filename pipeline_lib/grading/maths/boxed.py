r"""The final answer of a response: the content of its last \boxed{...} or \fbox{...}."""

import re

from pipeline_lib.grading.maths.notations import closing_brace

BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
LONGEST_LINK = 70
MOST_BOXES = 40

# What may stand between two boxes that are one answer: "and", "or", punctuation, mathematics delimiters.
_SENTENCE_END = re.compile(r"[.!?]\s")
LINK = re.compile(r"(?<![A-Za-z])(?:and|or)(?![A-Za-z])|[,;]")


def extract_last_box(response: str) -> str | None:
    r"""The stripped content of the last \boxed{...} or \fbox{...}; None when there is none, or it is empty or malformed.

    A malformed last box (unbalanced or missing braces) is not replaced by an earlier one: the response ended in no answer.
    Escaped braces (\{ and \}) are text.
    """
    start = last_box_start(response)
    if start is None:
        return None
    content, _ = _box_at(response, start)
    return (content or "").strip() or None


def last_box_start(response: str) -> int | None:
    """Where the last box command starts; None without one."""
    end = len(response)
    while (start := max(response.rfind("\\boxed", 0, end), response.rfind("\\fbox", 0, end))) >= 0:
        if BOX.match(response, start):
            return start
        end = start
    return None


def extract_final_boxes(response: str) -> str | None:
    r"""As `extract_last_box`, but boxes that belong together are one answer: "\boxed{1} and \boxed{2}" is "1, 2".

    Boxes belong together when fewer than 10 characters stand between them, or up to 70 with a comma, "and" or "or" among them.
    """
    starts = [match.start() for match in BOX.finditer(response)][-MOST_BOXES:]
    contents: list[str] = []
    later_start = len(response)
    for start in reversed(starts):
        content, end = _box_at(response, start)
        if not contents:
            if content is None or not content.strip():
                return None
        elif content is None or end > later_start or not _are_linked(response[end:later_start]):
            break
        if content.strip() not in contents:
            contents.insert(0, content.strip())
        later_start = start
    return ", ".join(contents) or None


def _are_linked(between: str) -> bool:
    if len(between) < 10:
        return True
    return len(between) < LONGEST_LINK and bool(LINK.search(between)) and not _SENTENCE_END.search(between)


def _box_at(response: str, start: int) -> tuple[str | None, int]:
    """The content of the box command at `start` and where the box ends; (None, start) when it is malformed."""
    match = BOX.match(response, start)
    if match is None:
        return None, start
    position = match.end()
    while position < len(response) and response[position].isspace():
        position += 1
    end = closing_brace(response, position)
    return (None, start) if end is None else (response[position + 1 : end], end + 1)
