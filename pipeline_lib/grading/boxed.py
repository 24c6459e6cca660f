r"""The final answer of a response: the content of its last \boxed{...}."""

BOX = "\\boxed"


def extract_last_box(response: str) -> str | None:
    r"""The stripped content of the last \boxed{...}; None when there is no box, or the last one is empty or malformed.

    A malformed last box (unbalanced or missing braces) is not replaced by an earlier one: the response ended in no answer.
    Escaped braces (\{ and \}) are text.
    """
    start = response.rfind(BOX)
    if start < 0:
        return None
    content = _balanced_braces(response[start + len(BOX) :].lstrip())
    return (content or "").strip() or None


def _balanced_braces(text: str) -> str | None:
    """What lies between the opening brace that starts the text and the one that closes it."""
    if not text.startswith("{"):
        return None
    depth = 0
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return text[1:position]
        position += 1
    return None
