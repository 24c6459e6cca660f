"""The program of a response: its last fenced code block."""

import re

# A fence may stand in a list, also right behind the mark of an item. Possessive: on a line that is no fence, giving characters
# back would take quadratic time.
_FENCE = re.compile(
    r"^(?P<indent>[ \t]*+(?P<mark>(?:(?:[-*+]|\d{1,9}+[.)])[ \t]++)*+))(?P<ticks>`{3,}+|~{3,}+)[ \t]*+(?P<info>[^\n`]*+)$"
)
_ITEM = re.compile(r"^[ \t]*+(?:[-*+]|\d{1,9}+[.)])[ \t]")
_MOST_INDENT = 3
_LANGUAGES = {"", "python", "python3", "py", "py3"}
_END_OF_THOUGHT = "</think>"


def extract_program(response: str) -> str | None:
    """The content of the last fenced block; None when there is none, or the last one is unclosed, empty or another language.

    Only what follows the last </think> counts, if there is one. A block opens with a line of three or more backticks (or tildes)
    and an optional language, and closes with a line of at least as many of the same and nothing else. In a list it may be
    indented, by more than three signs too, and its lines lose as much as its opening has. The last block decides: an unclosed one
    is not replaced by an earlier one, just as a malformed last box is not. Blocks marked as another language (```text, ```bash:
    sample outputs and the like) are passed over.
    """
    text = response.rpartition(_END_OF_THOUGHT)[2]
    program: str | None = None
    opening: re.Match[str] | None = None
    is_program = in_list = False
    lines: list[str] = []
    for line in text.split("\n"):
        fence = _FENCE.match(line.rstrip("\r"))
        if opening is None:
            in_list = bool(_ITEM.match(line)) or (in_list and line[:1] in ("", " ", "\t", "\r"))
            if fence and (in_list or len(fence["indent"]) <= _MOST_INDENT):
                opening, lines = fence, []
                is_program = (fence["info"].split() or [""])[0].lower() in _LANGUAGES
                # An unclosed block cancels the earlier ones.
                program, before = (None, program) if is_program else (program, program)
        elif fence and _closes(fence, opening):
            program = "\n".join(lines) if is_program else before
            opening = None
        else:
            lines.append(_without_indent(line, len(opening["indent"])))
    return program if program is not None and program.strip() else None


def _closes(fence: re.Match[str], opening: re.Match[str]) -> bool:
    is_bare = not fence["info"].strip() and not fence["mark"]
    is_near = len(fence["indent"]) <= len(opening["indent"]) + _MOST_INDENT
    return is_bare and is_near and fence["ticks"].startswith(opening["ticks"])


def _without_indent(line: str, count: int) -> str:
    """The line without its first `count` signs, as far as they are white space."""
    return line[:count].lstrip(" \t") + line[count:]
