"""LiveCodeBench's rows as test specifications."""

import base64
import binascii
import io
import json
import pickle
import re
import zlib
from collections.abc import Mapping
from typing import Any

_METHOD = re.compile(r"^[ \t]*def[ \t]+(\w+)[ \t]*\([ \t]*self\b", re.MULTILINE)
_MAX_DECOMPRESSED_BYTES = 1 << 30


def livecodebench_tests(row: Mapping[str, Any]) -> str:
    """From a LiveCodeBench row: public and private cases together. Raises KeyError, ValueError.

    Columns public_test_cases and private_test_cases (JSON, the latter also base64 of zlib of a pickled JSON text) with metadata
    (JSON with func_name), or public_tests (JSON); cases are {input, output, testtype}. Where no func_name is given, the function
    is the first method of the starter code. A column extended_tests is not read: in the copy that has one, the same twelve cases
    of a foreign problem were added to every row, so that no right program could pass.
    """
    public = row["public_test_cases"] if "public_test_cases" in row else row["public_tests"]
    private = row.get("private_test_cases")
    examples = _read_cases(public)
    kinds = {case["testtype"] for case in examples or _read_cases(private)}
    # Some carriers give problems that read standard input the calls of another problem as well: the statement's own examples say
    # of which kind a problem is.
    cases = [case for case in examples + _read_cases(private) if case["testtype"] in kinds]
    if len(kinds) != 1 or not kinds <= {"stdin", "functional"}:
        raise ValueError(
            f"testtype = {', '.join(sorted(map(str, kinds))) or 'nothing'}: need stdin or functional, one a problem"
        )
    # Private cases may repeat the public ones.
    distinct = dict.fromkeys((case["input"], case["output"]) for case in cases)
    plain = [{"input": given, "output": expected} for given, expected in distinct]
    if kinds == {"stdin"}:
        return json.dumps({"type": "stdin", "cases": plain})
    return json.dumps({"type": "function", "entry_point": _function_name(row), "cases": plain})


def _function_name(row: Mapping[str, Any]) -> str:
    metadata = row.get("metadata") or {}
    name = (json.loads(metadata) if isinstance(metadata, str) else metadata).get("func_name")
    if name:
        return str(name)
    methods = [method for method in _METHOD.findall(row["starter_code"] or "") if not method.startswith("__")]
    if not methods:
        raise ValueError("neither metadata nor starter_code names a function")
    return str(methods[0])


def _read_cases(column: Any) -> list[dict[str, Any]]:
    if not column:
        return []
    if not isinstance(column, str):
        return list(column)
    try:
        cases = json.loads(column)
    except ValueError:
        cases = json.loads(_decompress(column))
    return list(cases)


class _TextUnpickler(pickle.Unpickler):
    """Reads texts and the like; refuses anything that would import or call something."""

    def find_class(self, module: str, name: str) -> Any:
        """Always refuses."""
        raise pickle.UnpicklingError(f"the tests name {module}.{name}, only plain values are read")


def _decompress(column: str) -> str:
    try:
        decompressor = zlib.decompressobj()
        pickled = decompressor.decompress(base64.b64decode(column, validate=True), _MAX_DECOMPRESSED_BYTES)
        if not decompressor.eof:
            raise ValueError(f"more than {_MAX_DECOMPRESSED_BYTES} bytes, or cut off")
        text = _TextUnpickler(io.BytesIO(pickled)).load()
    except (binascii.Error, zlib.error, pickle.UnpicklingError, EOFError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"the private tests cannot be read: {error}") from error
    if not isinstance(text, str):
        raise ValueError(f"the private tests are a {type(text).__name__}, not a text")
    return text
