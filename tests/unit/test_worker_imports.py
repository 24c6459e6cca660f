"""What a worker's libraries import only because it is installed is kept from them, not from a user's reward."""

import importlib
import importlib.util
import sys

import pytest

from pipeline_lib.worker.program import hidden


def test_hidden_modules_look_as_if_they_were_not_installed() -> None:
    sys.modules.pop("wave", None)
    with hidden("wave", "json"):
        assert importlib.util.find_spec("wave") is None
        with pytest.raises(ImportError):
            importlib.import_module("wave")
        assert importlib.import_module("json") is sys.modules["json"], "imported before: it stays"
    assert importlib.import_module("wave").__name__ == "wave"
