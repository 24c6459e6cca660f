"""How a command ends; one that fails: one line in the terminal, the traceback in the home's errors.log."""

import atexit
import logging
import os
import signal
import sys
import threading
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from flows.commands.terminal import errors
from flows.server.termination import told_signal
from pipeline_lib.config import laconic_home
from pipeline_lib.messages.faults import RESUMES, explain, one_line
from pipeline_lib.messages.harmless import harmless_message

LOG_NAME = "errors.log"
LARGEST_LOG_BYTES = 1 << 20
LONGEST_RECORD = 300


def end_with_error(error: Exception) -> NoReturn:
    """Say in one line what went wrong and exit with status 1; LACONIC_DEBUG=1 shows the traceback, too."""
    line = "; ".join([explain(error, laconic_home()), *map(one_line, getattr(error, "__notes__", ()))])
    log = note_traceback(error)
    if os.environ.get("LACONIC_DEBUG") == "1":
        sys.stderr.write(_traceback(error))
    # A user's mistake needs no traceback, and neither does what the system refused.
    elif log and not isinstance(error, ValueError | OSError):
        line += f" (traceback: {log})"
    _say(line)
    end(1)


def end_as_told() -> NoReturn:
    """Say that a command was interrupted or terminated; exit status 128 and the signal's number."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    number = told_signal()
    _say(f"{'interrupted' if number == signal.SIGINT else 'terminated'}; {RESUMES}")
    end(128 + number)


def _say(line: str) -> None:
    """Say the last line: what libraries log while they end has no reader after it."""
    logging.disable()
    errors.print(f"laconic: {line}", style="red", soft_wrap=True)


def end(status: int) -> NoReturn:
    """Exit as the interpreter does, up to the tear-down of modules: DuckDB would list there what threads and errors still hold."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:  # whoever read it had enough
            continue
        except OSError:  # a full disk
            status = status or 1
    os._exit(status)


def note_traceback(error: BaseException) -> Path | None:
    """Append an error's traceback to the log; None where the home cannot be written."""
    path = laconic_home() / LOG_NAME
    try:
        if path.exists() and path.stat().st_size > LARGEST_LOG_BYTES:
            os.replace(path, path.with_suffix(".log.old"))
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as log:
            print(datetime.now(UTC).isoformat(timespec="seconds"), harmless_message(" ".join(sys.argv)), file=log)
            log.write(_traceback(error))
    except OSError:
        return None
    return path


def _traceback(error: BaseException) -> str:
    return harmless_message("".join(traceback.format_exception(error)))


def keep_terminal_quiet() -> None:
    """Warnings and errors that libraries log are one line each, their tracebacks go to the log; so do those of threads."""
    make = logging.getLogRecordFactory()

    def one_line_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.levelno >= logging.WARNING:
            text = one_line(record.getMessage().partition("Traceback (most recent call last)")[0])
            if record.exc_info and record.exc_info[1]:
                note_traceback(record.exc_info[1])
                text += f" ({explain(record.exc_info[1], laconic_home())})"
            cut = text if len(text) <= LONGEST_RECORD else f"{text[:LONGEST_RECORD]} …"
            record.msg, record.args, record.exc_info, record.exc_text = cut, (), None, None
        return record

    logging.setLogRecordFactory(one_line_record)
    threading.excepthook = lambda raised: raised.exc_value and note_traceback(raised.exc_value)
