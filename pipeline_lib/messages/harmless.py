"""What others wrote (models, data sets, servers), shown so that it does nothing: to terminals, spreadsheets, Markdown, logs."""

import csv
import itertools
import json
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from pipeline_lib.messages.addresses import without_password

# Signs that emoji are made of: between them a joiner, behind them a variation selector is part of the writing.
_PICTURE = "\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, DEL, C1: what terminals obey
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f"  # bidi, zero width
    "\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"  # tags and selectors, which hide whole texts
    "\ud800-\udfff"  # lone surrogates, which no terminal can be sent
)
_DECEPTIVE = re.compile(
    rf"[{_HIDDEN}]|(?<![{_PICTURE}])[\ufe0e\ufe0f](?!\u20e3)|(?<![{_PICTURE}\ufe0f])\u200d|\u200d(?![{_PICTURE}])"
)
_LOOKALIKE = re.compile(r"<(?=U\+[0-9A-F]{4,6}>)")

# What spreadsheets take for a formula, also behind white space; and a plain number, which stays one.
_FORMULA = re.compile("[\\s\ufeff\u200b]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_MARKDOWN = re.compile(r"[\\`*\[\]<|~&]|(?<!\w)_|_(?!\w)|^[#>]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def visible(text: str) -> str:
    """The text with every character that a terminal obeys, hides or reorders by written as <U+202E>.

    Line feeds and tabs stay. A text that holds such a notation itself gets its < written out, so that none can be forged.
    """
    return _reveal(_LOOKALIKE.sub("<U+003C>", text))


def visible_line(text: str) -> str:
    """The same for what is one line: line feeds and tabs are written out, too."""
    return visible(text).replace("\n", "<U+000A>").replace("\t", "<U+0009>")


def _reveal(text: str) -> str:
    return _DECEPTIVE.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON of the same value, deceptive characters in JSON's own notation; what JSON does not know as text."""
    written = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    # Between strings there is none of them.
    return _DECEPTIVE.sub(lambda found: json.dumps(found[0])[1:-1] if found[0] != "\x7f" else "\\u007f", written)


def write_csv(file: TextIO, header: Sequence[str], rows: Iterable[Sequence[Any]], raw: bool, line_end: str = "\n") -> None:
    """Write CSV; unless `raw`, cells that a spreadsheet would execute get an apostrophe before them (OWASP, CSV injection).

    On a terminal deceptive characters are made visible, too; in a file or a pipe they are data.
    """
    is_shown = file.isatty() and not raw
    writer = csv.writer(_Lines(file, line_end))

    def cell(value: Any) -> Any:
        if raw or value is None or isinstance(value, bool | int | float | Decimal):
            return value
        text = str(value)
        text = f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
        return visible(text) if is_shown else text

    writer.writerows([cell(value) for value in row] for row in itertools.chain([header], rows))


class _Lines:
    """A file for the csv module: it quotes a cell's carriage return only where its own lines end in one, too."""

    def __init__(self, file: TextIO, line_end: str) -> None:
        self._file, self._line_end = file, line_end

    def write(self, line: str) -> None:
        self._file.write(line.removesuffix("\r\n") + self._line_end)


def markdown_text(text: str) -> str:
    """The text as Markdown that shows it and nothing else: no link, picture, HTML, table or heading of its own."""
    return _MARKDOWN.sub(r"\\\g<0>", visible_line(text))


def markdown_code(text: str) -> str:
    """The text as code in a line of Markdown, in more backticks than it holds."""
    shown = visible_line(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence} {shown} {fence}" if "`" in shown else f"`{shown}`"


class HarmlessConsole(Console):
    """A console that interprets nothing in what it prints and shows no password: neither markup, emoji names nor escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(_reveal(without_password(text)), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments; the last place that everything passes before rich adds escapes of its own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(_reveal(segment.text), segment.style)


class _HarmlessRecord(logging.LogRecord):
    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        if isinstance(self.exc_info, tuple) and self.exc_info[0] is not None:
            # Formatters take what is here already.
            self.exc_text = harmless_message("".join(traceback.format_exception(*self.exc_info)).rstrip("\n"))

    def getMessage(self) -> str:
        try:
            text = super().getMessage()
        except Exception:  # a call whose arguments do not fit its format is a mistake of a library that must not end the work
            text = f"{self.msg} {self.args}"
        return harmless_message(text)


def make_messages_harmless() -> None:
    """From here on, what this process logs, warns of or dies of is shown without escapes and passwords."""
    if sys.excepthook is _print_traceback:
        return
    logging.setLogRecordFactory(_HarmlessRecord)
    format_warning = warnings.formatwarning
    warnings.formatwarning = lambda *args, **options: harmless_message(format_warning(*args, **options))
    sys.excepthook = _print_traceback


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(harmless_message("".join(traceback.format_exception(kind, error, trace))))


def harmless_message(text: str) -> str:
    """What is said to a user or a log: nothing that a terminal obeys, no password."""
    return _reveal(without_password(text))
