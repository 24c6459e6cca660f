"""The built-in tiny world: a task, a tokenizer and a small model in which more tokens buy more accuracy.

It stands in for a real base model and its prompts where there is no network, no GPU and no account.
"""

from pathlib import Path

# The base model that ships with the package, as configurations name it, and its folder.
BUILTIN_TINY = "builtin:tiny"
BASE_FOLDER: Path = Path(__file__).parent / "base"
