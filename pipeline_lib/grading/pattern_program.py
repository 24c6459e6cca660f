"""The program that looks for a user's pattern in responses: a request as JSON on its input, a line [answer, reason] for each text.

It imports nothing of this package, so that it starts fast. `regex` counts its time-out in the processor time of the process, so
nothing else may run in here.
"""

import json
import resource
import sys

import regex

MEMORY_BYTES = 1 << 30


def find(pattern: "regex.Pattern[str]", text: str, timeout_seconds: float) -> tuple[str | None, str]:
    """The answer in a text, or None with the reason: no_answer, timeout, or error (out of memory)."""
    last = None
    try:
        for last in pattern.finditer(text, timeout=timeout_seconds):  # noqa: B007
            pass
    except TimeoutError:
        return None, "timeout"
    except MemoryError:
        return None, "error"
    if last is None:
        return None, "no_answer"
    named = last.groupdict().get("answer")
    groups = [group for group in last.groups() if group is not None]
    answer = (named or (groups[0] if groups else last[0] if not pattern.groups else "")).strip()
    return answer or None, "" if answer else "no_answer"


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    request = json.load(sys.stdin)
    compiled = regex.compile(request["pattern"])
    for response in request["texts"]:
        print(json.dumps(find(compiled, response, request["timeout_seconds"])), flush=True)
