"""Reads a configuration: TOML, overrides, validation, one line for a mistake."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar, overload

import tomli_w
from pydantic import ValidationError

from pipeline_lib.config.run import RunConfig
from pipeline_lib.section import STORED, Section, is_name

ConfigT = TypeVar("ConfigT", bound=Section)

# Keys of files written before a section was split, and where they are; what is stored was moved by the store's migrations.
_NOW_IN_COMPUTE = (
    "gradient_checkpointing", "launcher", "micro_batch_tokens", "num_processes", "num_threads", "precision", "zero_stage",
)  # fmt: skip
MOVED = {f"train.{key}": f"compute.{key}" for key in _NOW_IN_COMPUTE}


@overload
def load_config(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> RunConfig: ...
@overload
def load_config(path: str | Path, overrides: list[str] | tuple[str, ...] = (), *, model: type[ConfigT]) -> ConfigT: ...
def load_config(path: str | Path, overrides: list[str] | tuple[str, ...] = (), *, model: type[Any] = RunConfig) -> Any:
    """Read a TOML file, apply `section.key=value` overrides (values in TOML syntax, bare words as text), validate.

    Raises ValueError naming the file, the key, the value and what is allowed.
    """
    path = Path(path)
    # Included first, so that an override can reach into a benchmark; and after, so that it can name one.
    tree = include_sources(read_run(path), path.parent)
    for override in overrides:
        apply_override(tree, override)
        tree = include_sources(tree, path.parent)
    return parse_config(include_sources(tree, path.parent), model, origin=str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The tree of a TOML file. Raises ValueError for a file that is not there or not valid."""
    if not path.is_file():
        raise ValueError(f"no configuration file at {path}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error


def read_run(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of a file, over that of the file which it `extends`: a name (as for sources), or a path ending in .toml.

    Tables are merged key by key. Raises ValueError for a file that is not there, not valid, or among those `above` it.
    """
    if path.resolve() in above:
        raise ValueError(f"{path} extends itself")
    tree = read_toml(path)
    if "extends" not in tree:
        return tree
    below = _named_file(str(tree.pop("extends")), path.parent, "configuration", [path.parent, SHIPPED_CONFIGS])
    return _merged(read_run(below, (*above, path.resolve())), tree)


def _merged(base: dict[str, Any], tree: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(base[key], tree[key]) for key in tree if isinstance(tree[key], dict) and isinstance(base.get(key), dict)
    }
    return base | tree | both


# Keys whose value is a prompt source, or a list of them: a bare name there means a shipped benchmark file.
_SOURCE_KEYS = ("prompts", "source", "benchmarks", "sources")
_WITHOUT_SOURCES = ("retrain",)  # its prompts and benchmarks are words
SHIPPED_CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def include_sources(tree: Any, folder: Path, key: str = "") -> Any:
    """The tree with every prompt source that names a file replaced by the file's content.

    A source is a name (`"aime25"`), or a table with `include = NAME` whose other keys win over the file's. A name means
    `benchmarks/NAME.toml` beside the configuration (`folder`) or among the shipped ones; a path ending in .toml is relative to
    `folder`, and so are files of `examples` and `chat_template` that are not there as given. So what is stored with a run is
    complete. Raises ValueError for a file that is not there.
    """
    if isinstance(tree, list):
        return [include_sources(item, folder, key) for item in tree]
    if isinstance(tree, str) and key in _SOURCE_KEYS:
        return read_toml(_source_file(tree, folder))
    if isinstance(tree, str) and key in ("examples", "chat_template") and "{" not in tree:
        return str(folder / tree) if not Path(tree).expanduser().is_file() and (folder / tree).is_file() else tree
    if not isinstance(tree, dict) or key in _WITHOUT_SOURCES:
        return tree
    own = {name: include_sources(value, folder, name) for name, value in tree.items() if name != "include"}
    if "include" not in tree:
        return own
    return read_toml(_source_file(str(tree["include"]), folder)) | own


def _source_file(name: str, folder: Path) -> Path:
    return _named_file(name, folder, "prompt source", [folder / "benchmarks", SHIPPED_CONFIGS / "benchmarks"])


def _named_file(name: str, folder: Path, kind: str, folders: list[Path]) -> Path:
    if name.endswith(".toml"):
        return folder / name
    for candidate in folders if is_name(name) else ():
        if (candidate / f"{name}.toml").is_file():
            return candidate / f"{name}.toml"
    known = sorted({path.stem for candidate in folders for path in candidate.glob("*.toml")})
    raise ValueError(f"no {kind} named {name!r}; there are {', '.join(known) or 'none'} in {folders[0]}")


def parse_config(tree: dict[str, Any], model: type[ConfigT], origin: str = "configuration") -> ConfigT:
    """Validate a tree of plain values. Raises ValueError with one line per problem."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        problems = error.errors()
        # A list loses the items that are wrong, and is then found to be too short as well.
        inner = {problem["loc"][:length] for problem in problems for length in range(len(problem["loc"]))}
        lines = [_explain(problem) for problem in problems if problem["loc"] not in inner]
        raise ValueError(f"{origin}: " + "; ".join(lines)) from error


def stored_config(tree: dict[str, Any], model: type[ConfigT]) -> ConfigT:
    """A configuration that was stored with its run, whatever names earlier versions allowed. Raises ValueError."""
    return model.model_validate(tree, context=STORED)


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
    if key in MOVED:
        return f"{key} is now {MOVED[key]}"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key} = {problem['input']!r}"
    if problem["type"] == "missing":
        return f"missing key {key}"
    message = problem["msg"].removeprefix("Value error, ")
    return message if isinstance(problem["input"], dict) else f"{key} = {problem['input']!r}: {message}"


def to_toml_value(value: Any) -> str:
    return tomli_w.dumps({"value": value}).partition("=")[2].strip() if not isinstance(value, dict) else _inline_table(value)


def _inline_table(value: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key} = {to_toml_value(item)}" for key, item in value.items()) + "}"


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one `section.key=value` in place; list items by number (`evaluate.benchmarks.0.num_prompts=50`)."""
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ValueError(f"override {override!r} is not of the form section.key=value")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    node: Any = tree
    for part in parts[:-1]:
        node = _child(node, part, override)
    if isinstance(node, list):
        node[_list_index(node, parts[-1], override)] = value
    elif isinstance(node, dict):
        node[parts[-1]] = value
    else:
        raise ValueError(f"override {override!r}: {'.'.join(parts[:-1])} is not a section")


def _child(node: Any, part: str, override: str) -> Any:
    if isinstance(node, list):
        return node[_list_index(node, part, override)]
    if isinstance(node, dict):
        return node.setdefault(part, {})
    raise ValueError(f"override {override!r}: nothing lies below {part!r}")


def _list_index(node: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise ValueError(f"override {override!r}: {part!r} is not one of the items 0..{len(node) - 1}")
    return int(part)
