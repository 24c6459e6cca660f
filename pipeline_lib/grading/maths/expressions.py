r"""Expressions: tokens parsed whole into a tree, and the exact value of a tree that is a rational number.

A tree is a nested tuple that travels as JSON: ("n", "1/3") a rational number, ("n", "0.25") a decimal as written, ("s", name) a symbol,
("c", "pi") a constant (pi, e, i, oo), ("+", ...), ("*", ...), ("/", a, b), ("^", a, b), ("root", a, n), ("±", a) and ("∓", a) signs,
("f", name, argument, ...) a function, ("latex", text) what only latex2sympy reads: sums, integrals and limits.
"""

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

from pipeline_lib.grading.maths.lexer import CLOSING, COMMON_WORDS, OPENING, Token, Tokens

Tree = tuple[Any, ...]

# Python refuses to read longer numbers, rightly: reading takes quadratic time.
MOST_DIGITS = 4000
MOST_BITS = 200_000
LARGEST_ARGUMENT = 5_000

_GREEK = frozenset((
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "rho",
    "sigma", "tau", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega",
    "ell", "hbar",
))  # fmt: skip
_CONSTANTS = {"pi": "pi", "infty": "oo", "infinity": "oo", "inf": "oo", "oo": "oo"}
_FUNCTIONS = frozenset((
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "sinh", "cosh", "tanh", "coth", "ln", "log",
    "lg", "exp", "gcd", "lcm", "max", "min", "sqrt", "abs", "asin", "acos", "atan", "floor", "ceil", "sgn", "cbrt", "arg",
))  # fmt: skip
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot"}
_SAME_FUNCTIONS = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_ACCENTS = frozenset(
    ("\\dot", "\\ddot", "\\vec", "\\hat", "\\tilde", "\\overline", "\\angle", "\\triangle", "\\widetilde", "\\nabla")
)
# Letters that stand for a function wherever brackets follow, and those that do so before a single name or number.
_ALWAYS_APPLIED, _APPLIED_TO_ONE = frozenset("fFO"), frozenset("ghGHPpqoyuv")
_CALCULUS = frozenset(("\\int", "\\sum", "\\prod", "\\lim", "\\iint", "\\oint", "\\partial", "\\limsup", "\\sup"))
_TIMES = frozenset(("\\cdot", "\\times", "*"))
_VOWELS = frozenset("aeiouAEIOU")
_WORD_FUNCTION = re.compile(r"(arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|ln|log|sqrt)([a-zA-Z]{0,2})")


class NotWhole(Exception):
    """The tokens are no expression from end to end."""


class BeyondComputing(Exception):
    """A number too large to compute, such as a tower of powers."""


@lru_cache(maxsize=16_384)
def parse_expression(tokens: Tokens) -> Tree | None:
    """The tree of the tokens; None when they are not one whole expression."""
    if not tokens or tokens[0].kind == "newline":
        return None
    if any(token.text in _CALCULUS for token in tokens):
        return _calculus(tokens)
    try:
        parser = _Parser(tokens)
        tree = parser.sum()
    except (NotWhole, RecursionError):
        return None
    return tree if parser.position == len(parser.tokens) else None


def _calculus(tokens: Tokens) -> Tree | None:
    """Sums, integrals and limits, for latex2sympy; it would skip what it does not know, so relations and words are refused."""
    text = "".join((" " if token.kind in ("word", "command") else "") + token.text for token in tokens)
    is_plain = not any(token.upright or token.kind == "newline" or token.text in ("<", ">", "&", ";", "?") for token in tokens)
    balanced = sum((token.text in OPENING) - (token.text in CLOSING) for token in tokens) == 0
    return ("latex", text.strip()) if is_plain and balanced and ("=" not in text or "_{" in text) else None


class _Parser:
    """A recursive descent over tokens. Names of several letters are products, except functions, constants and Greek letters."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = list(_single_letters(tokens))
        self.position = 0
        self.bars = 0
        self.degrees = 0

    def peek(self, offset: int = 0) -> str:
        index = self.position + offset
        return self.tokens[index].text if index < len(self.tokens) else ""

    def kind(self, offset: int = 0) -> str:
        index = self.position + offset
        return self.tokens[index].kind if index < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        text = self.peek()
        if not text or (expected is not None and text != expected):
            raise NotWhole
        self.position += 1
        return text

    def sum(self) -> Tree:
        terms = [self.signed_term()]
        while self.peek() in ("+", "-", "\\pm", "\\mp"):
            terms.append(self.signed_term())
        return terms[0] if len(terms) == 1 else ("+", *terms)

    def signed_term(self) -> Tree:
        sign = self.take() if self.peek() in ("+", "-", "\\pm", "\\mp") else "+"
        if sign in ("+", "-") and self.peek() in ("+", "-"):
            raise NotWhole
        term = self.term()
        return term if sign == "+" else _negative(term) if sign == "-" else ("±" if sign == "\\pm" else "∓", term)

    def term(self) -> Tree:
        tree = self.factor()
        while True:
            operator = self.peek()
            if operator in _TIMES:
                self.take()
                tree = ("*", tree, self.signed_factor())
            elif operator in ("/", "\\mod", "\\bmod", "mod"):
                self.take()
                right = self.signed_factor()
                tree = ("/", tree, right) if operator == "/" else ("f", "mod", tree, right)
            elif self.starts_factor():
                tree = ("*", tree, self.factor())
            else:
                return tree

    def signed_factor(self) -> Tree:
        if self.peek() in ("-", "+"):
            return _negative(self.factor()) if self.take() == "-" else self.factor()
        return self.factor()

    def starts_factor(self) -> bool:
        """Whether what follows multiplies without a sign; a number never does."""
        text, kind = self.peek(), self.kind()
        if kind == "command":
            return text[1:] in _GREEK or text[1:] in _CONSTANTS or text[1:] in _FUNCTIONS or text in _ACCENTS or text in (
                "\\frac", "\\binom", "\\lfloor", "\\lceil",
            )  # fmt: skip
        return kind == "word" or text in ("(", "[", "{") or (text == "|" and not self.bars)

    def factor(self) -> Tree:
        tree = self.postfixed(self.atom())
        if self.peek() in ("^", "**"):
            self.take()
            exponent = self.exponent()
            if self.peek() == "_" and tree[0] == "s" and "_" not in tree[1]:
                # v^2_0 is the square of v_0.
                tree = self.symbol(tree[1])
            tree = self.postfixed(("^", tree, exponent))
            if self.peek() in ("^", "**"):
                raise NotWhole
        return tree

    def exponent(self) -> Tree:
        if self.peek() == "{":
            return self.group("{", "}")
        if self.peek() in ("-", "+"):
            return _negative(self.factor()) if self.take() == "-" else self.factor()
        if self.tokens[self.position - 1].text == "**":
            return self.factor()
        base = self.atom()
        return ("^", base, self.exponent()) if self.peek() == "^" and self.take() else base

    def postfixed(self, tree: Tree) -> Tree:
        while True:
            if self.peek() == "!":
                count = 0
                while self.peek() == "!":
                    self.take()
                    count += 1
                tree = ("f", "!!" if count == 2 else "!", tree)
                for _ in range(count - 1 if count > 2 else 0):
                    tree = ("f", "!", tree)
            elif self.degrees and self.degree_sign():
                tree = ("*", tree, ("/", ("c", "pi"), ("n", "180")))
            else:
                return tree

    def degree_sign(self) -> bool:
        for sign in (("°",), ("^", "\\circ"), ("^", "{", "\\circ", "}")):
            if all(self.peek(offset) == text for offset, text in enumerate(sign)):
                self.position += len(sign)
                return True
        return False

    def group(self, opening: str, closing: str) -> Tree:
        self.take(opening)
        bars, self.bars = self.bars, 0
        tree = self.sum()
        if self.peek() == "\\choose":
            self.take()
            tree = ("f", "binom", tree, self.sum())
        self.take(closing)
        self.bars = bars
        return tree

    def atom(self) -> Tree:
        text, kind = self.peek(), self.kind()
        if kind == "number":
            return self.number()
        if kind == "word":
            return self.word()
        if kind == "command":
            return self.command()
        if text == "(":
            return self.group("(", ")")
        if text == "[":
            return self.group("[", "]")
        if text == "{":
            if self.peek(1) == "}":
                self.position += 2
                return self.selections()
            return self.group("{", "}")
        if text in ("^", "_"):
            return self.selections()
        if text == "|":
            self.take()
            self.bars += 1
            tree = self.sum()
            self.take("|")
            self.bars -= 1
            return ("f", "abs", tree)
        raise NotWhole

    def number(self) -> Tree:
        text = self.take()
        if text.isdigit():
            part = self.fraction_of_mixed_number()
            if part is not None:
                return ("n", str(int(text[:MOST_DIGITS]) + part))
            if self.peek() in ("C", "P") and self.kind(1) == "number" and self.peek(1).isdigit():
                return ("f", "binom" if self.take() == "C" else "permutations", ("n", text), ("n", self.take()))
        if (text.endswith(".") and not text.endswith("..")) or self.peek() in ("\\overline", "\\dot"):
            return self.repeating(text)
        return ("n", decimal_text(text))

    def fraction_of_mixed_number(self) -> Fraction | None:
        """The proper fraction behind a whole number: 2\\frac{3}{4}, 2 3/4."""
        start = self.position
        if self.peek() == "\\frac":
            self.take()
            digits = [self.argument(), self.argument()]
            parts = [str(tree[1]) if tree[0] == "n" else "" for tree in digits]
        elif self.kind() == "number" and self.peek(1) == "/" and self.kind(2) == "number":
            parts = [self.peek(), self.peek(2)]
            self.position += 3
        else:
            return None
        if all(part.isdigit() for part in parts) and 0 < int(parts[0][:20]) < int(parts[1][:20]):
            return Fraction(int(parts[0]), int(parts[1]))
        self.position = start
        return None

    def repeating(self, text: str) -> Tree:
        if "." not in text or self.take() not in ("\\overline", "\\dot"):
            raise NotWhole
        digits = ""
        if self.peek() == "{":
            self.take()
            digits = self.take()
            self.take("}")
        else:
            digits = self.take()
        if not digits.isdigit():
            raise NotWhole
        return ("n", str(repeating_decimal(text, digits)))

    def word(self) -> Tree:
        name = self.take()
        if name in _FUNCTIONS:
            return self.function(name)
        if name in _CONSTANTS:
            return ("c", _CONSTANTS[name])
        return self.symbol(name)

    def symbol(self, name: str) -> Tree:
        """A name with its subscript and primes, and what it is applied to."""
        if self.peek() == "_":
            self.take()
            name += f"_{{{self.spelled_argument()}}}"
        while self.peek() == "'":
            name += self.take()
        if self.peek() == "^" and self.peek(1) == "{" and self.peek(2) == "'":
            self.position += 2
            while self.peek() == "'":
                name += self.take()
            self.take("}")
        if self.peek() == "(" and (arguments := self.arguments_of(name)) is not None:
            if name in ("C", "P") and len(arguments) == 2:
                return ("f", "binom" if name == "C" else "permutations", *arguments)
            return ("f", f" {name}", *arguments)
        return ("c", name) if name in ("e", "i") else ("s", name)

    def arguments_of(self, name: str) -> list[Tree] | None:
        """What a named function is applied to; None where the bracket multiplies."""
        start = self.position
        base = name.rstrip("'").partition("_")[0]
        applied = base in _ALWAYS_APPLIED or base in ("\\Theta", "\\Omega", "\\phi") or name != base
        if not applied and base not in _APPLIED_TO_ONE and base not in ("C", "P"):
            return None
        try:
            arguments = self.bracketed_arguments()
        except NotWhole:
            if applied:
                raise
            arguments = []
        is_single = len(arguments) == 1 and arguments[0][0] in ("n", "s", "c")
        if applied or (is_single and base in _APPLIED_TO_ONE) or (len(arguments) == 2 and base in ("C", "P")):
            return arguments
        self.position = start
        return None

    def bracketed_arguments(self) -> list[Tree]:
        opening = self.take()
        arguments = [self.sum()]
        while self.peek() in (",", ";"):
            self.take()
            arguments.append(self.sum())
        self.take("}" if opening == "{" else ")")
        return arguments

    def command(self) -> Tree:
        text = self.take()
        name = text[1:]
        if name == "frac":
            return ("/", self.argument(), self.argument())
        if name == "binom":
            return ("f", "binom", self.argument(), self.argument())
        if name == "sqrt":
            return self.root()
        if name in _FUNCTIONS:
            return self.function(name)
        if name in _CONSTANTS:
            return ("c", _CONSTANTS[name])
        if name in _GREEK:
            return self.symbol(text)
        if text in ("\\lfloor", "\\lceil"):
            tree = self.sum()
            self.take("\\rfloor" if text == "\\lfloor" else "\\rceil")
            return ("f", "floor" if text == "\\lfloor" else "ceil", tree)
        if text in _ACCENTS:
            return self.symbol(f"{text} " + self.spelled_argument(letters=text in ("\\angle", "\\triangle")))
        raise NotWhole

    def root(self) -> Tree:
        index: Tree = ("n", "2")
        if self.peek() == "[":
            index = self.group("[", "]")
        if self.peek() == "(":
            return ("root", self.group("(", ")"), index)
        return ("root", self.argument(whole_number=True), index)

    def argument(self, whole_number: bool = False) -> Tree:
        """A braced argument, or a single sign as TeX takes it: \\frac12 is a half."""
        if self.peek() == "{":
            return self.group("{", "}")
        if self.kind() == "number" and not whole_number:
            token = self.tokens[self.position]
            if not token.text.isdigit():
                raise NotWhole
            rest = [token._replace(text=token.text[1:])] if len(token.text) > 1 else []
            self.tokens[self.position : self.position + 1] = [token._replace(text=token.text[0]), *rest]
            return ("n", self.take())
        if self.kind() == "number":
            return ("n", decimal_text(self.take()))
        return self.atom()

    def spelled_argument(self, letters: bool = False) -> str:
        """The argument as text, for names: x_{max}, \\vec{v}, \\angle ABC."""
        if self.peek() == "{":
            depth = 0
            words: list[str] = []
            while True:
                text = self.take()
                depth += (text == "{") - (text == "}")
                if depth == 0:
                    return "".join(words[1:])
                words.append(text)
        spelled = self.take()
        while letters and self.kind() == "word" and not self.tokens[self.position].spaced:
            spelled += self.take()
        return spelled

    def function(self, name: str) -> Tree:
        exponent = base = None
        if self.peek() == "_":
            self.take()
            base = self.argument(whole_number=True)
        if self.peek() == "^":
            self.take()
            exponent = self.exponent()
        if self.peek() == "_" and base is None:
            self.take()
            base = self.argument(whole_number=True)
        name = _SAME_FUNCTIONS.get(name, name)
        self.degrees += 1
        if self.peek() in ("(", "{"):
            arguments = self.bracketed_arguments()
        elif self.peek() == "[":
            arguments = [self.group("[", "]")]
        elif self.kind() == "number" and name in ("sqrt", "cbrt"):
            arguments = [self.atom()]
        else:
            arguments = [self.function_argument()]
        self.degrees -= 1
        return _applied(name, arguments, base, exponent)

    def function_argument(self) -> Tree:
        """What a function without brackets takes: the product that follows, up to a sign, a bracket or another function."""
        sign = self.take() if self.peek() in ("-", "+") else "+"
        tree = self.factor()
        while True:
            if self.peek() == "/" and self.kind(1) in ("number", "word"):
                self.take()
                tree = ("/", tree, self.factor())
            elif self.starts_factor() and self.peek() not in ("(", "[") and self.peek().lstrip("\\") not in _FUNCTIONS:
                tree = ("*", tree, self.factor())
            else:
                return _negative(tree) if sign == "-" else tree

    def selections(self) -> Tree:
        """{}^5C_2, ^5C_2, _5C_2: the number of selections or arrangements."""
        if self.take() not in ("^", "_"):
            raise NotWhole
        total = self.argument(whole_number=True)
        letter = self.take()
        if letter not in ("C", "P") or self.take() != "_":
            raise NotWhole
        return ("f", "binom" if letter == "C" else "permutations", total, self.argument(whole_number=True))


def _applied(name: str, arguments: list[Tree], base: Tree | None, exponent: Tree | None) -> Tree:
    if base is not None and name != "log":
        raise NotWhole
    if len(arguments) > 1 and name not in ("gcd", "lcm", "max", "min"):
        raise NotWhole
    if exponent == ("n", "-1"):
        if name not in _INVERSES:
            raise NotWhole
        return ("f", _INVERSES[name], *arguments)
    if name in ("sqrt", "cbrt"):
        tree: Tree = ("root", arguments[0], ("n", "2" if name == "sqrt" else "3"))
    elif name == "exp":
        tree = ("^", ("c", "e"), arguments[0])
    elif name == "lg":
        tree = ("f", "log", arguments[0], ("n", "10"))
    else:
        tree = ("f", "ln" if name == "log" and base is None else name, *arguments, *((base,) if base is not None else ()))
    return tree if exponent is None else ("^", tree, exponent)


def _negative(tree: Tree) -> Tree:
    if tree[0] == "n":
        return ("n", tree[1][1:] if tree[1].startswith("-") else f"-{tree[1]}")
    return ("*", ("n", "-1"), tree)


def _single_letters(tokens: Tokens) -> Iterator[Token]:
    """The tokens with words taken apart into letters, as products; raises NotWhole for a word that is none."""
    for index, token in enumerate(tokens):
        word = token.text
        # In at^2 the letters are factors; in "at least" they are not.
        glued = len(word) == 2 and not token.spaced and not (index + 1 < len(tokens) and tokens[index + 1].kind == "word")
        if token.kind != "word" or len(word) == 1 or word in _FUNCTIONS or word in _CONSTANTS or word == "mod":
            yield token
        elif word in _GREEK:
            yield Token("command", f"\\{word}", token.spaced)
        elif index and _in_subscript(tokens, index):
            yield token
        elif token.upright or not ((glued and word.islower()) or is_product(word)):
            match = _WORD_FUNCTION.fullmatch(word)
            if match is None or token.upright:
                raise NotWhole
            yield token._replace(text=match[1])
            yield from (Token("word", letter) for letter in match[2])
        else:
            yield from (Token("word", letter, token.spaced and not place) for place, letter in enumerate(word))


def _in_subscript(tokens: Tokens, index: int) -> bool:
    """Whether the token stands behind the opening of a subscript or of an accent's argument."""
    before = tokens[index - 2].text if tokens[index - 1].text == "{" and index > 1 else ""
    return tokens[index - 1].text in _ACCENTS or tokens[index - 1].text == "_" or before == "_" or before in _ACCENTS


def is_product(word: str) -> bool:
    """Whether letters side by side are a product rather than a word or a name."""
    if not word.isascii() or word in COMMON_WORDS or _WORD_FUNCTION.fullmatch(word):
        return False
    if len(word) > 2 and (word.isupper() or word.istitle()):
        return False
    return (len(word) <= 3 and not (len(word) == 2 and word.istitle())) or not _VOWELS.intersection(word)


def decimal_text(text: str) -> str:
    """A number token as Fraction reads it: European points and commas resolved, repeated digits with dots as a fraction."""
    if len(text) > MOST_DIGITS:
        raise NotWhole
    digits = re.sub(r"\s?(?:\.\.\.|\\[a-z]+)$", "", text)
    if digits != text:
        match = re.fullmatch(r"(\d*\.\d*?)(\d+?)\2+", digits)
        # One digit said twice, or a block of digits said twice.
        return str(repeating_decimal(match[1], match[2])) if match else digits
    if "(" in text:
        whole, _, block = text.partition("(")
        return str(repeating_decimal(whole, block[:-1]))
    if text.count(".") > 1:
        text = text.replace(".", "").replace(",", ".")
    if "e" in text.lower():
        mantissa, _, exponent = text.lower().partition("e")
        if len(exponent) > 6 or abs(int(exponent)) > 20_000:
            raise NotWhole
        return str(Fraction(mantissa) * Fraction(10) ** int(exponent))
    return text


def repeating_decimal(text: str, block: str) -> Fraction:
    """The value of a decimal whose last digits repeat for ever."""
    whole, _, digits = text.partition(".")
    shift = 10 ** len(digits)
    return Fraction(int((whole or "0") + digits), shift) + Fraction(int(block), shift * (10 ** len(block) - 1))


@lru_cache(maxsize=16_384)
def rational_value(tree: Tree) -> Fraction | None:
    """The exact value of a tree of rational numbers; None for any other.

    Raises BeyondComputing when the value or a part of the tree is too large to compute, ZeroDivisionError for a zero denominator.
    """
    kind = tree[0]
    if kind == "n":
        return Fraction(tree[1])
    if kind in ("s", "c", "latex"):
        return None
    values = [rational_value(part) for part in (tree[2:] if kind == "f" else tree[1:])]
    if kind == "/" and values[1] == 0:
        raise ZeroDivisionError
    if any(value is None for value in values):
        return None
    return _value(tree, [value for value in values if value is not None])


def _value(tree: Tree, values: list[Fraction]) -> Fraction | None:
    kind = tree[0]
    if kind == "+":
        return sum(values, Fraction(0))
    if kind == "*":
        return _bounded(values[0] * values[1])
    if kind == "/":
        return _bounded(values[0] / values[1])
    if kind == "^":
        return _power(*values)
    if kind == "root":
        return _exact_root(*values)
    return _function_value(tree[1], values) if kind == "f" else None


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > 2 * MOST_BITS:
        raise BeyondComputing
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if base == 0 and exponent < 0:
        raise ZeroDivisionError
    size = base.numerator.bit_length() + base.denominator.bit_length() if abs(base) not in (0, 1) else 0
    if size * abs(exponent) > MOST_BITS or max(exponent.numerator.bit_length(), exponent.denominator.bit_length()) > 64:
        raise BeyondComputing
    if exponent.denominator == 1:
        return Fraction(base) ** int(exponent)
    root = _exact_root(base, Fraction(exponent.denominator)) if base >= 0 else None
    return None if root is None else Fraction(root) ** exponent.numerator


def _exact_root(value: Fraction, index: Fraction) -> Fraction | None:
    """The rational root; an odd root of a negative number is the real one."""
    if index.denominator != 1 or not 0 < index <= LARGEST_ARGUMENT:
        if index > LARGEST_ARGUMENT:
            raise BeyondComputing
        return None
    if value < 0:
        positive = _exact_root(-value, index) if index % 2 else None
        return None if positive is None else -positive
    roots = [_integer_root(number, int(index)) for number in (value.numerator, value.denominator)]
    return None if None in roots else Fraction(roots[0] or 0, roots[1] or 1)


def _integer_root(number: int, index: int) -> int | None:
    if number.bit_length() > 4096:
        return None
    low: int = 0
    high: int = 1 << (number.bit_length() // index + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if int(middle**index) < number else (low, middle)
    return low if int(low**index) == number else None


def _function_value(name: str, values: list[Fraction]) -> Fraction | None:
    first = values[0]
    if name in ("abs", "floor", "ceil", "max", "min"):
        if name in ("max", "min"):
            return max(values) if name == "max" else min(values)
        return abs(first) if name == "abs" else Fraction(math.floor(first) if name == "floor" else math.ceil(first))
    if name in ("ln", "log") and first == 1:
        return Fraction(0)
    if any(value.denominator != 1 for value in values):
        return None
    whole = [int(value) for value in values]
    if name in ("!", "!!", "binom", "permutations") and whole[0] > LARGEST_ARGUMENT:
        raise BeyondComputing
    if name in ("!", "!!") and whole[0] >= 0:
        return Fraction(math.factorial(whole[0]) if name == "!" else math.prod(range(whole[0], 0, -2)))
    if name in ("binom", "permutations") and min(whole) >= 0:
        return Fraction((math.comb if name == "binom" else math.perm)(*whole))
    if name in ("gcd", "lcm"):
        return Fraction((math.gcd if name == "gcd" else math.lcm)(*whole))
    return Fraction(whole[0] % whole[1]) if name == "mod" and whole[1] > 0 else None


def expand_signs(tree: Tree) -> list[Tree]:
    r"""The trees with \pm resolved: signs of several \pm are free of each other, a \mp is the opposite of them all."""
    count = _count_signs(tree, "±")
    if not count and not _count_signs(tree, "∓"):
        return [tree]
    if count > 1 and not _count_signs(tree, "∓") and count <= 3:
        choices = [[bool(number >> place & 1) for place in range(count)] for number in range(2**count)]
    else:
        choices = [[minus] * max(count, 1) for minus in (False, True)]
    return list(dict.fromkeys(_with_signs(tree, iter(choice), choice[0]) for choice in choices))


def _count_signs(tree: Tree, sign: str) -> int:
    return int(tree[0] == sign) + sum(_count_signs(part, sign) for part in tree[1:] if isinstance(part, tuple))


def _with_signs(tree: Tree, choice: Iterator[bool], first: bool) -> Tree:
    if tree[0] in ("±", "∓"):
        minus = next(choice) if tree[0] == "±" else not first
        inner = _with_signs(tree[1], choice, first)
        return _negative(inner) if minus else inner
    return (tree[0], *(_with_signs(part, choice, first) if isinstance(part, tuple) else part for part in tree[1:]))


def symbols(tree: Tree) -> set[str]:
    """The names of all free symbols and undetermined functions in a tree."""
    if tree[0] == "s":
        return {str(tree[1])}
    own = {str(tree[1])} if tree[0] == "f" and tree[1].startswith(" ") else {tree[1]} if tree[0] == "latex" else set()
    return own.union(*(symbols(part) for part in tree[1:] if isinstance(part, tuple)))


def renamed(tree: Tree, names: dict[str, str]) -> Tree:
    """The tree with symbols renamed."""
    if tree[0] == "s":
        return ("s", names.get(tree[1], tree[1]))
    return (tree[0], *(renamed(part, names) if isinstance(part, tuple) else part for part in tree[1:]))
