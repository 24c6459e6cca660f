r"""The tokens of an answer: numbers, words, LaTeX commands and signs, in one spelling.

Only what cannot change a meaning is left out: delimiters of mathematics, sizes, fonts, colours and spaces (a token remembers whether
one stood before it). `\text{...}` and its kin mark their words as upright. An unknown character or command stays a token, which no
grammar accepts.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from pipeline_lib.grading.maths.characters import plain_characters
from pipeline_lib.grading.maths.notations import closing_brace, plain_notation

LONGEST_ANSWER = 10_000
MOST_TOKENS = 1_200
DEEPEST_BRACKETS = 40


class Token(NamedTuple):
    """kind: number, word, command, sign or newline; `spaced`: white space stands before; `upright`: inside \\text{} and its kin."""

    kind: str
    text: str
    spaced: bool = False
    upright: bool = False


Tokens = tuple[Token, ...]

_SYNONYMS = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "le": "leq", "leqslant": "leq", "leqq": "leq", "ge": "geq", "geqslant": "geq",
    "geqq": "geq", "ne": "neq", "thickapprox": "approx", "simeq": "approx", "doteq": "approx", "cdots": "ldots", "dots": "ldots",
    "dotsc": "ldots", "dotsb": "ldots", "vdots": "ldots", "varnothing": "emptyset", "dbinom": "binom", "tbinom": "binom",
    "vartheta": "theta", "varphi": "phi", "varepsilon": "epsilon", "operatorname*": "operatorname", "widehat": "hat", "ast": "cdot",
    "overrightarrow": "vec", "rightarrow": "to", "longrightarrow": "to", "lor": "or", "vee": "or", "land": "and", "wedge": "and",
    "backslash": "setminus", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "langle": "(", "rangle": ")",
    "lparen": "(", "rparen": ")", "lbrack": "[", "rbrack": "]", "lbrace": r"\{", "rbrace": r"\}", "lt": "<", "gt": ">", "colon": ":",
    "div": "/", "degree": "°", "textdegree": "°", "textdollar": "$", "dollar": "$", "pounds": "£", "euro": "€", "textpercent": "%",
    "percent": "%", "implies": "to", "Rightarrow": "to", "Longrightarrow": "to", "bar": "overline", "sfrac": "frac", "nicefrac": "frac",
    "flatfrac": "frac", "measuredangle": "angle", "lVert": "||", "rVert": "||", "Vert": "||", "cent": "¢", "prime": "'",
}  # fmt: skip
_LAYOUT = frozenset((
    "left", "right", "middle", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "Biggl", "Biggr",
    "displaystyle", "textstyle", "scriptstyle", "limits", "nolimits", "hline", "rm", "bf", "it", "tiny", "small", "normalsize",
    "large", "Large", "LARGE", "huge", "Huge", "thinspace", "enspace", "space", "mathstrut", "strut", "!",
))  # fmt: skip
# Layout with an argument that is no part of the answer: a colour that shows on paper, or room. What is hidden, struck out or put
# aside (\\phantom, \\cancel, \\tag) is no layout.
_INK = (
    "red|green|blue|black|cyan|magenta|orange|purple|violet|brown|(?:dark)?gr[ae]y|teal|olive|pink|lime|maroon|navy|forestgreen"
)
_SILENT = {"color": re.compile(f"(?i:{_INK})")} | dict.fromkeys(
    ("hspace", "hspace*", "vspace", "vspace*"), re.compile(r"[0-9]*\.?[0-9]+\s*[a-z]{2}|\\[a-z]+")
)
# Fonts and frames: the content counts as it stands.
_FONTS = frozenset((
    "mathbf", "boldsymbol", "bm", "pmb", "mathit", "mathcal", "mathsf", "mathnormal", "underline", "boxed", "fbox", "textcolor",
    "colorbox", "bold", "ensuremath",
))  # fmt: skip
_UPRIGHT = frozenset((
    "text", "mathrm", "textbf", "textit", "textrm", "textnormal", "textsf", "texttt", "textsc", "textup", "mbox",
    "hbox", "emph", "operatorname",
))  # fmt: skip

# Words that are neither a product of letters nor a thing counted: a text with one of them says something else.
_COMMON = """
or and is are was be it not no because if for when where since but so then mod approximately about maybe perhaps than at
least most more less plus minus times over one two three four five six seven eight nine ten equals only rather instead wrong
right correct false true never without pi any all the in with which other of to by can that this he she we they has have had
its as on from yes would will odd even none both either
"""
COMMON_WORDS = frozenset(_COMMON.split())

_DOTS = r"(?:\.\.\.|\\ldots|\\dots|\\cdots)"
_TOKEN = re.compile(
    r"(?P<space>(?:\s|~|&nbsp;|\\[,:;> ]|\\q?quad)+)"
    # 1.234.567,8 as in Europe; 0.(3); 0.333...; 6.02E23; 0.\overline{3}.
    r"|(?P<number>[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}(?:,[0-9]+)?(?![0-9.])|[0-9]*\.[0-9]*\([0-9]+\)"
    rf"|[0-9]*\.[0-9]+\s?{_DOTS}(?![a-z])"
    r"|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+(?![\w.]))?(?:\.(?=\s*\\(?:overline|bar|dot)(?![a-z])))?"
    r"|\.(?=\s*\\(?:overline|bar|dot)(?![a-z])))"
    r"|(?P<word>[^\W\d_]+)"
    r"|(?P<newline>\\\\(?:\[[0-9]+\w+\])?)"
    r"|(?P<environment>\\(?:begin|end)\s*\{\w+\*?\}(?:\{[clr|@{}: ]*\})?)"
    r"|(?P<command>\\[A-Za-z]+\*?|\\!)"
    r"|(?P<sign>\\.|\*\*|<=|>=|(?<![0-9)])!=|:=|==|.)",
    re.DOTALL,
)
_DOUBLED_BACKSLASH = re.compile(r"\\\\(?=[a-zA-Z({\[\])}%$,;:!])")
_INFIX_COMMAND = re.compile(r"\\(?:over|choose|atop)(?![a-zA-Z])")
_INFIX = {"\\over": "\\frac", "\\choose": "\\binom", "\\atop": "\\binom"}
_NOT = re.compile(r"\\not\s*(?:=|\\in(?![a-z]))")
_DELIMITERS = re.compile(r"(?<!\\)\\[()\[\]](?![0-9]*(?:pt|em|ex)\])")
_CURRENCY_DOLLAR = re.compile(r"(?<!\\)\$(?=\s*[0-9.])|(?<=[0-9])\$|(?<=[0-9] )\$")
_SIGNS = {
    "<=": "\\leq", ">=": "\\geq", "!=": "\\neq", ":=": "=", "==": "=", "\\%": "%", "％": "%", "\\$": "$", "\\|": "||", "\\_": "_",
    "<": "<", "\\#": "#", "\\&": "&",
}  # fmt: skip


@lru_cache(maxsize=65_536)
def lex(text: str) -> Tokens | None:
    """The tokens of an answer; None when it is too long or too deep to be one."""
    text = text.strip()
    if len(text) > LONGEST_ANSWER:
        return None
    text = plain_characters(text)
    if "\\\\" in text and "\\begin" not in text:
        text = _DOUBLED_BACKSLASH.sub(r"\\", text)
    text = plain_notation(_DELIMITERS.sub(" ", text))
    text = _NOT.sub(lambda match: "\\notin " if "in" in match[0] else "\\neq ", text)
    if "$" in text:
        # A pair of dollars delimits mathematics, a single one beside a number is money; \$ always is.
        paired = len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
        text = re.sub(r"(?<!\\)\$", " ", text if paired else _CURRENCY_DOLLAR.sub(r"\\$", text))
    tokens = _scan(text, False)
    if "\\" in text and _INFIX_COMMAND.search(text):
        tokens = _prefixed(tokens)
    if len(tokens) > MOST_TOKENS or _depth(tokens) > DEEPEST_BRACKETS:
        return None
    if tokens:
        tokens[0] = tokens[0]._replace(spaced=False)
    return tuple(tokens)


def _scan(text: str, upright: bool) -> list[Token]:
    tokens: list[Token] = []
    position, spaced = 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None and match.lastgroup is not None
        kind, found, position = match.lastgroup, match[0], match.end()
        if kind == "space":
            spaced = True
        elif kind == "command" and (start := _argument(found[1:], text, position)) is not None:
            # A font, or layout with an argument.
            name, end = found[1:], closing_brace(text, start)
            if end is None:
                tokens.append(Token(kind, found, spaced, upright))
                continue
            if name not in _SILENT:
                inner = _scan(text[start + 1 : end], upright or name in _UPRIGHT)
                _append_inner(tokens, inner, spaced or text[start + 1 : start + 2].isspace(), name)
                spaced = text[start + 1 : end].endswith((" ", "~", "\\ "))
            position = end + 1
        elif kind == "command" and found[1:] in _LAYOUT:
            if found in ("\\left", "\\right") and text[position : position + 1] == ".":
                position += 1
            spaced = spaced or found.endswith("space")
        else:
            tokens.append(Token(*_spelling(kind, found), spaced, upright))
            spaced = False
    return tokens


def _prefixed(tokens: list[Token]) -> list[Token]:
    r"""{a \\over b} as \\frac{a}{b}, and \\choose likewise; \\atop is a number of selections in round brackets."""
    place = next((place for place, token in enumerate(tokens) if token.text in _INFIX), None)
    if place is None:
        return tokens
    start, end = place - 1, place + 1
    for step in (-1, 1):
        index, depth = place + step, 0
        while 0 <= index < len(tokens) and depth >= 0:
            change = (tokens[index].text in OPENING) - (tokens[index].text in CLOSING)
            depth += change * step
            index += step
        # The bracket that holds both parts, or the ends of the text.
        start, end = (index + (depth < 0), end) if step < 0 else (start, index - (depth < 0))
    name = tokens[place].text
    has_bracket = start >= 0 and end < len(tokens)
    if (start >= 0 and not has_bracket) or (name == "\\atop" and (not has_bracket or tokens[start].text != "(")):
        return tokens
    inner = [Token("command", _INFIX[name]), *_braced(tokens[start + 1 : place]), *_braced(tokens[place + 1 : end])]
    outer = tokens[: max(start, 0)], tokens[end + 1 :]
    if has_bracket and name != "\\atop" and (tokens[start].text != "{" or _is_argument(tokens[:start])):
        inner = [tokens[start], *inner, tokens[end]]
    return _prefixed([*outer[0], *inner, *outer[1]])


def _braced(tokens: list[Token]) -> list[Token]:
    return [Token("sign", "{"), *tokens, Token("sign", "}")]


def _is_argument(before: list[Token]) -> bool:
    return bool(before) and (before[-1].text in ("^", "_", "}", "]") or before[-1].kind == "command")


def _argument(name: str, text: str, position: int) -> int | None:
    """Where the braces of a command open that only sets looks; None for another command, or one without braces."""
    if name not in _FONTS and name not in _UPRIGHT and name not in _SILENT:
        return None
    while text[position : position + 1].isspace():
        position += 1
    style = _SILENT.get("color" if name in ("textcolor", "colorbox") else name)
    if style is not None and ((end := closing_brace(text, position)) is None or not style.fullmatch(text[position + 1 : end])):
        return None
    if name in ("textcolor", "colorbox"):
        position = text.index("}", position) + 1
    return position if text[position : position + 1] == "{" else None


def _append_inner(tokens: list[Token], inner: list[Token], spaced: bool, name: str) -> None:
    """Add the tokens of a font's braces; in a group of their own where they are the argument of what stands before."""
    if inner:
        inner[0] = inner[0]._replace(spaced=spaced)
    is_argument = bool(tokens) and (tokens[-1].text in ("^", "_", "}") or tokens[-1].kind == "command") and len(inner) != 1
    if (is_argument and name not in ("boxed", "fbox") and not any(token.upright for token in inner)) or (
        bool(tokens) and tokens[-1].text in ("^", "_") and len(inner) != 1
    ):
        inner = [Token("sign", "{", spaced), *inner, Token("sign", "}")]
    tokens += inner


def _spelling(kind: str, found: str) -> tuple[str, str]:
    """Kind and text of a token in the one spelling of synonyms."""
    if kind == "newline" or found == "\\cr":
        return "newline", "\\\\"
    if kind == "environment":
        name = re.sub(r"[\s*]", "", found)
        return "command", name[: name.index("}") + 1]
    if kind == "sign":
        return kind, _SIGNS.get(found, found)
    if kind == "command":
        name = _SYNONYMS.get(found[1:], found[1:])
        return (kind, f"\\{name}") if name.isalpha() else ("sign", name)
    return kind, found


OPENING = frozenset(("(", "[", "{", "\\{"))
CLOSING = frozenset((")", "]", "}", "\\}"))


def _depth(tokens: list[Token]) -> int:
    depth = deepest = bars = 0
    for token in tokens:
        depth += (token.text in OPENING) - (token.text in CLOSING)
        bars += token.text == "|"
        deepest = max(deepest, depth)
    # Bars open and close alike; a parser tries every way to pair them.
    return max(deepest, 2 * bars)
