"""Cutting tokens at what stands outside brackets, and the readings of commas between digits."""

import re
from collections.abc import Callable, Sequence

from pipeline_lib.grading.maths.lexer import CLOSING, OPENING, Token, Tokens

MOST_ITEMS = 64
_EUROPEAN = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+")
# What ends a sentence or a proof, and what says that an answer follows.
_BEHIND = frozenset((".", ",", ";", ":", "\\", "\\\\", "\\blacksquare", "\\square", "\\Box", "\\qed", "\\checkmark"))
_BEFORE = frozenset((".", ",", "=", "\\approx", "\\to", "\\therefore"))


def depth_change(text: str) -> int:
    """1 where a token opens a bracket or an environment, -1 where it closes one."""
    if len(text) < len("\\end{"):
        return (text in OPENING) - (text in CLOSING)
    return text.startswith("\\begin{") - text.startswith("\\end{")


def closing(tokens: Tokens, start: int) -> int | None:
    """Where the bracket or environment closes that opens at `start`; brackets of all kinds are counted alike."""
    depth = 0
    for index in range(start, len(tokens)):
        text = tokens[index].text
        depth += depth_change(text)
        if depth <= 0:
            return index if depth == 0 and index > start else None
    return None


def split(tokens: Tokens, is_separator: Callable[[Token], bool]) -> list[Tokens]:
    """The parts between separators outside brackets and environments."""
    if not any(map(is_separator, tokens)):
        return [tokens]
    parts, start, depth = [], 0, 0
    for index, token in enumerate(tokens):
        text = token.text
        if depth == 0 and is_separator(token):
            parts.append(tokens[start:index])
            start = index + 1
        # C) or D): a round bracket that nothing opened.
        if depth or text != ")":
            depth += depth_change(text)
    return [*parts, tokens[start:]]


def adjacent_points(tokens: Tokens) -> list[Tokens]:
    """The points of (1,2)(3,4), written without a sign between them; none for anything else."""
    points = []
    while tokens:
        end = closing(tokens, 0) if tokens[0].text == "(" else None
        if end is None or len(split(tokens[1:end], lambda token: token.text == ",")) == 1:
            return []
        points.append(tokens[: end + 1])
        tokens = tokens[end + 1 :]
    return points if len(points) > 1 else []


def trimmed(tokens: Tokens) -> Tokens:
    """The tokens without braces around the whole of them, and without the signs at their ends that are no part of an answer."""
    while tokens:
        if tokens[-1].text in _BEHIND or tokens[-1].kind == "newline":
            # "5..." may go on.
            if len(tokens) > 1 and tokens[-1].text == tokens[-2].text == ".":
                break
            tokens = tokens[:-1]
        elif tokens[0].kind == "newline" or (tokens[0].text in _BEFORE and tokens[0].kind != "number"):
            # A decimal may be a rounding; "about 5" leaves open what it is.
            if tokens[0].text == "\\approx" and not any("." in token.text for token in tokens):
                break
            tokens = tokens[1:]
        elif (tokens[0].text == "{" and closing(tokens, 0) == len(tokens) - 1) or (
            tokens[0].text == tokens[-1].text == '"' and len(tokens) > 2
        ):
            tokens = tokens[1:-1]
        else:
            break
    return tokens


def comma_variants(tokens: Tokens) -> list[Tokens]:
    """The tokens with commas between digits as separators of thousands, of a list, and as decimal commas, where each is possible."""
    runs: list[tuple[int, int]] = []
    for index in range(1, len(tokens) - 1):
        if tokens[index].text == "," and _is_tight(tokens, index):
            if runs and runs[-1][1] == index - 1:
                runs[-1] = (runs[-1][0], index + 1)
            else:
                runs.append((index - 1, index + 1))
    if not runs:
        return [tokens]
    texts = [[token.text for token in tokens[start : end + 1 : 2]] for start, end in runs]
    loose = any(token.text == ";" or (token.text == "," and not _is_tight(tokens, place)) for place, token in enumerate(tokens))
    in_brackets = any(token.text in ("(", "[", "\\{") for token in tokens)
    variants = []
    if all(_are_thousands(parts) for parts in texts) and (loose or not in_brackets):
        variants.append(_joined(tokens, runs, ""))
    if not any(re.match(r"0\d", part) for parts in texts for part in parts[1:]):
        variants.append(tokens)
    if all(len(parts) == 2 and parts[1].isdigit() and _EUROPEAN.fullmatch(parts[0]) for parts in texts) and not in_brackets:
        variants.append(_joined(tuple(token._replace(text=token.text.replace(".", "")) for token in tokens), runs, "."))
    pairs = all(len(parts) == 2 and all(part.isdigit() for part in parts) and not _are_thousands(parts) for parts in texts)
    if pairs and (not in_brackets or any(token.text == ";" for token in tokens)):
        variants.append(_joined(tokens, runs, "."))
    return variants or [tokens]


def _is_tight(tokens: Tokens, index: int) -> bool:
    before, comma, after = tokens[index - 1 : index + 2] if 0 < index < len(tokens) - 1 else (Token("", ""),) * 3
    return before.kind == after.kind == "number" and not comma.spaced and not after.spaced


def _are_thousands(parts: Sequence[str]) -> bool:
    last = parts[-1].partition(".")[0]
    return bool(re.fullmatch(r"[1-9]\d{0,2}", parts[0])) and all(re.fullmatch(r"\d{3}", part) for part in [*parts[1:-1], last])


def _joined(tokens: Tokens, runs: list[tuple[int, int]], joint: str) -> Tokens:
    joined, position = [], 0
    for start, end in runs:
        text = joint.join(token.text for token in tokens[start : end + 1 : 2])
        joined += [*tokens[position:start], tokens[start]._replace(text=text)]
        position = end + 1
    return (*joined, *tokens[position:])
