"""The program of a response: its last fenced code block."""

import re

# Possessive: on a line that is no fence, giving characters back would take quadratic time.
_FENCE = re.compile(r"^[ ]{0,3}(?P<ticks>`{3,}+|~{3,}+)[ \t]*+(?P<info>[^\n`]*+)$")
_LANGUAGES = {"", "python", "python3", "py", "py3"}
_END_OF_THOUGHT = "</think>"


def extract_program(response: str) -> str | None:
    """The content of the last fenced block; None when there is none, or the last one is unclosed, empty or another language.

    Only what follows the last </think> counts, if there is one. A block opens with a line of three or more backticks (or tildes)
    and an optional language, and closes with a line of at least as many of the same and nothing else. The last block decides: an
    unclosed one is not replaced by an earlier one, just as a malformed last box is not. Blocks marked as another language
    (```text, ```bash: sample outputs and the like) are passed over.
    """
    text = response.rpartition(_END_OF_THOUGHT)[2]
    program: str | None = None
    opening: str | None = None
    is_program = False
    lines: list[str] = []
    for line in text.split("\n"):
        fence = _FENCE.match(line.rstrip("\r"))
        if opening is None:
            if fence:
                opening, lines = fence["ticks"], []
                is_program = (fence["info"].split() or [""])[0].lower() in _LANGUAGES
                # An unclosed block cancels the earlier ones.
                program, before = (None, program) if is_program else (program, program)
        elif fence and not fence["info"].strip() and fence["ticks"].startswith(opening):
            program = "\n".join(lines) if is_program else before
            opening = None
        else:
            lines.append(line)
    return program if program is not None and program.strip() else None
