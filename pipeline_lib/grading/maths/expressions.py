"""Expressions: tokens parsed whole into a tree (see trees.py)."""

import re
from fractions import Fraction
from functools import lru_cache

from pipeline_lib.grading.maths.cursor import (
    ACCENTS,
    ALWAYS_APPLIED,
    APPLIED_TO_ONE,
    CALCULUS,
    CONSTANTS,
    FUNCTIONS,
    GREEK,
    TIMES,
    calculus_of,
)
from pipeline_lib.grading.maths.functions import Functions
from pipeline_lib.grading.maths.lexer import Tokens
from pipeline_lib.grading.maths.trees import MOST_DIGITS, NotWhole, Tree, decimal_text, negative

# C_5^2 is a number of selections; C_1^2 and C_2^2 may be squares of constants.
_SELECTIONS = re.compile(r"([CP])_\{([3-9]|[1-9][0-9]+)\}")


@lru_cache(maxsize=16_384)
def parse_expression(tokens: Tokens) -> Tree | None:
    """The tree of the tokens; None when they are not one whole expression."""
    if not tokens or tokens[0].kind == "newline":
        return None
    if any(token.text in CALCULUS for token in tokens):
        return calculus_of(tokens)
    try:
        parser = _Parser(tokens)
        tree = parser.sum()
    except (NotWhole, RecursionError):
        return None
    return tree if parser.position == len(parser.tokens) else None


class _Parser(Functions):
    """A recursive descent over tokens. Names of several letters are products, except functions, constants and Greek letters."""

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
        return term if sign == "+" else negative(term) if sign == "-" else ("±" if sign == "\\pm" else "∓", term)

    def term(self) -> Tree:
        tree = self.factor()
        while True:
            operator = self.peek()
            if operator in TIMES:
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
            return negative(self.factor()) if self.take() == "-" else self.factor()
        return self.factor()

    def factor(self) -> Tree:
        tree = self.postfixed(self.atom())
        if self.peek() in ("^", "**"):
            self.take()
            exponent = self.exponent()
            if self.peek() == "_" and tree[0] == "s" and "_" not in tree[1]:
                # v^2_0 is the square of v_0.
                tree = self.symbol(tree[1])
            if (
                tree[0] == "s"
                and (total := _SELECTIONS.fullmatch(tree[1]))
                and exponent[0] == "n"
                and exponent[1].isdigit()
                and int(exponent[1][:9]) <= int(total[2][:9])
            ):
                return ("f", "binom" if total[1] == "C" else "permutations", ("n", total[2]), exponent)
            tree = self.postfixed(("^", tree, exponent))
            if self.peek() in ("^", "**"):
                raise NotWhole
        return tree

    def exponent(self) -> Tree:
        if self.peek() == "{":
            return self.group("{", "}")
        if self.peek() in ("-", "+"):
            return negative(self.factor()) if self.take() == "-" else self.factor()
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

    def group(self, opening: str, closing: str) -> Tree:
        self.take(opening)
        bars, self.bars = self.bars, 0
        tree = self.sum()
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

    def word(self) -> Tree:
        name = self.take()
        if name in FUNCTIONS:
            return self.function(name)
        if name in CONSTANTS:
            return ("c", CONSTANTS[name])
        return self.symbol(name)

    def symbol(self, name: str) -> Tree:
        """A name with its subscript and primes, and what it is applied to."""
        if self.peek() == "_":
            self.take()
            name += f"_{{{self.spelled_argument()}}}"
        while self.peek() == "'":
            name += self.take()
        for star in (["^", "*"], ["^", "{", "*", "}"]):
            if [self.peek(place) for place in range(len(star))] == star:
                name, self.position = f"{name}*", self.position + len(star)
        if self.peek() == "^" and self.peek(1) == "{" and self.peek(2) == "'":
            self.position += 2
            while self.peek() == "'":
                name += self.take()
            self.take("}")
        if self.peek() == "(" and (arguments := self.arguments_of(name)) is not None:
            if name in ("\\Gamma", "\\zeta"):
                return ("f", name[1:].lower(), *arguments)
            if name in ("C", "P") and len(arguments) == 2:
                return ("f", "binom" if name == "C" else "permutations", *arguments)
            return ("f", f" {name}", *arguments)
        return ("c", name) if name in ("e", "i") else ("s", name)

    def arguments_of(self, name: str) -> list[Tree] | None:
        """What a named function is applied to; None where the bracket multiplies."""
        start = self.position
        base = name.rstrip("'").partition("_")[0]
        applied = base in ALWAYS_APPLIED or base in ("\\Theta", "\\Omega", "\\phi", "\\Gamma", "\\zeta") or name != base
        # I(0) is a value; nobody writes a product with 0.
        applied = applied or (self.peek(1) == "0" and self.peek(2) == ")")
        if not applied and base not in APPLIED_TO_ONE and base not in ("C", "P"):
            return None
        try:
            arguments = self.bracketed_arguments()
        except NotWhole:
            if applied:
                raise
            arguments = []
        is_single = len(arguments) == 1 and arguments[0][0] in ("n", "s", "c")
        if applied or (is_single and base in APPLIED_TO_ONE) or (len(arguments) == 2 and base in ("C", "P")):
            return arguments
        self.position = start
        return None

    def bracketed_arguments(self) -> list[Tree]:
        opening = self.take()
        arguments = [self.sum()]
        while self.peek() in (",", ";"):
            self.take()
            arguments.append(self.sum())
        self.take({"{": "}", "\\{": "\\}"}.get(opening, ")"))
        return arguments

    def command(self) -> Tree:
        text = self.take()
        name = text[1:]
        if name == "frac":
            return self.derivative() or ("/", self.argument(), self.argument())
        if name == "binom":
            return ("f", "binom", self.argument(), self.argument())
        if name == "sqrt":
            return self.root()
        if name == "root":
            index = self.argument()
            self.take("\\of")
            return ("root", self.argument(whole_number=True), index)
        if name in FUNCTIONS:
            return self.function(name)
        if name in CONSTANTS:
            return ("c", CONSTANTS[name])
        if name in GREEK:
            return self.symbol(text)
        if text in ("\\lfloor", "\\lceil"):
            tree = self.sum()
            self.take("\\rfloor" if text == "\\lfloor" else "\\rceil")
            return ("f", "floor" if text == "\\lfloor" else "ceil", tree)
        if text in ACCENTS:
            return self.symbol(f"{text} " + self.spelled_argument(letters=text in ("\\angle", "\\triangle")))
        raise NotWhole

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
