"""Data as somebody names them, as prompt sources of a first configuration: what is trained on, and what is held out of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline_lib.config import PromptSource, parse_config
from pipeline_lib.config.loading import SHIPPED_CONFIGS, read_toml
from pipeline_lib.files.jsonl import first_line
from pipeline_lib.files.tables import FORMATS, text_of
from pipeline_lib.prompts.columns import detect_columns
from pipeline_lib.prompts.tables import read_rows
from pipeline_lib.section import name_from

Reasoned = dict[str, tuple[Any, str]]
MOST_PROMPT_TOKENS = 8192
TURNS_TOKENS = 192  # room for the chat template and the suffix, of which each character is a token to the tiny model


@dataclass(frozen=True, slots=True)
class DataSource:
    """Settings of a prompt source, each with its reason, without the draw; `longest` is that of a problem, in characters."""

    name: str
    kind: str
    settings: Reasoned
    noticed: str
    num_rows: int | None = None
    longest: int | None = None

    def training(self, most: int) -> Reasoned:
        """The training prompts, at most so many."""
        drawn: Reasoned = {"split": ("train", "the three splits share no problem")} if self.kind == "tiny" else {}
        if self.kind in ("tiny", "gym"):
            drawn["num_prompts"] = (most, "generated")
        elif (self.num_rows or 0) > most or (self.kind == "shipped" and self.num_rows is None):
            drawn["num_prompts"] = (most, "drawn: each is profiled, which takes time; more are better")
        return self._named("", drawn)

    def held_out(self, number: int) -> Reasoned:
        """Prompts on which checkpoints are compared."""
        return self._drawn("-validation", "validation", number, 1)

    def judged(self, number: int) -> list[Reasoned]:
        """The benchmarks: of the same kind as the training prompts, and in the tiny world of its other family, too."""
        same = self._drawn("-test", "test", number, 2)
        other = {"family": ("wheel", "never trained: what carries over?")}
        return [same, replace(self, name="tiny-wheel", settings=self.settings | other)._drawn("", "test", number, 2)][
            : 1 + (self.kind == "tiny")
        ]

    def whole(self) -> Reasoned:
        """All of it as a benchmark; generated problems are drawn."""
        return self.judged(100)[0] if self.kind in ("tiny", "gym") else self._named("", {})

    def prompt_tokens(self, is_character: bool) -> int:
        """Room for the longest prompt in tokens; `is_character` for a tokenizer that makes each character one."""
        known = {"tiny": 1, "gym": 1024 - TURNS_TOKENS}.get(
            self.kind, self.longest and self.longest // (1 if is_character else 2)
        )
        return min(-(-((known or 2048 - TURNS_TOKENS) + TURNS_TOKENS) // 64) * 64, MOST_PROMPT_TOKENS)

    def _drawn(self, suffix: str, split: str, number: int, seed: int) -> Reasoned:
        part: Reasoned = {"split": (split, "")} if self.kind == "tiny" else {"seed": (seed, "another draw than the training's")}
        number = number if self.num_rows is None else max(min(number, self.num_rows // 5), 1)
        why = "" if self.kind in ("tiny", "gym") else "the filter takes these out of the training prompts"
        return self._named(suffix, part | {"num_prompts": (number, why)})

    def _named(self, suffix: str, drawn: Reasoned) -> Reasoned:
        # A shipped file has the name under which its results are known.
        name: Reasoned = {} if self.kind == "shipped" and not suffix else {"name": (self.name + suffix, "")}
        return name | self.settings | drawn


def data_source(spec: str, answer: str | None, told: dict[str, str]) -> DataSource:
    """The source that is meant by 'tiny', 'gym:TASK[,TASK]', a shipped benchmark's name, a file or folder, or a hub id.

    `answer` is where answers stand (`answer_settings`), `told` columns by their settings. Raises ValueError.
    """
    given = answer_settings(answer) if answer else {}
    if spec == "tiny":
        family: Reasoned = {"kind": ("tiny", "generated"), "family": ("sum", "chains of steps"), "domain": ("tiny", "")}
        return DataSource("tiny-sum", "tiny", family | {"grader": ("exact", "")} | given, "the tiny world's sums")
    if spec.startswith("gym:"):
        tasks = [task.strip() for task in spec[4:].split(",")]
        task = (tasks if len(tasks) > 1 else tasks[0], "docs/howto/reasoning-gym.md: dials under `parameters`")
        settings: Reasoned = {"kind": ("gym", "Reasoning Gym, with its own scorers"), "task": task, **given}
        return DataSource(f"gym-{name_from(tasks[0])}", "gym", settings, f"families of Reasoning Gym: {', '.join(tasks)}")
    if "/" not in spec and (file := SHIPPED_CONFIGS / "benchmarks" / f"{spec}.toml").is_file():
        number = read_toml(file).get("num_problems")
        return DataSource(
            spec, "shipped", {"include": (spec, f"configs/benchmarks/{spec}.toml"), **given}, "a shipped source", number
        )
    path = Path(spec).expanduser()
    if path.exists() or path.suffix in FORMATS:
        return _table(spec, "file", answer, told)
    if spec.count("/") == 1 and not spec.startswith((".", "/")):
        return _table(spec, "hub", answer, told)
    known = ", ".join(sorted(file.stem for file in (SHIPPED_CONFIGS / "benchmarks").glob("*.toml")))
    raise ValueError(f"data {spec!r}: no file, hub id (OWNER/NAME), 'tiny', 'gym:TASK' or shipped one ({known})")


def _table(spec: str, kind: str, answer: str | None, told: dict[str, str]) -> DataSource:
    given = answer_settings(answer or "boxed")
    told = told | ({"grader": "python"} if "function" in given else {})
    name = name_from(Path(spec).stem) or "data"
    source = parse_config({"name": name, "kind": kind, "path": spec}, PromptSource)
    rows: list[dict[str, Any]] = []
    unread = ""
    try:
        rows = list(read_rows(source))
    except ValueError as error:
        if kind == "file":
            raise
        unread = first_line(error)
    found = (
        detect_columns(rows, told) if rows else {"problem_field": "problem", "answer_field": "answer", "grader": "math"} | told
    )
    why = "detected" if rows else "a guess: the data could not be read"
    settings: Reasoned = {"kind": (kind, ""), "path": (spec, "from where the command is given" if kind == "file" else "")}
    settings |= {key: (value, "as told" if key in told else why) for key, value in found.items()} | given
    longest = max((len(text_of(row[found["problem_field"]])) for row in rows), default=None)
    noticed = ", ".join(f"{key} = {value}" for key, value in found.items())
    noticed = f"{len(rows)} rows; {noticed} (detected)" if rows else f"{unread}; guessed: {noticed}"
    return DataSource(name, kind, settings, noticed, len(rows) or None, longest)


def answer_settings(answer: str) -> Reasoned:
    """Where the answer stands: 'boxed', 'last_number', 'after:MARK', 'pattern:REGEX'; or 'python:MODULE:FUNCTION', which judges."""
    place, _, detail = answer.partition(":")
    if answer == "boxed":
        return {"template": ("boxed", "asks for the answer in \\boxed{}, where it is looked for")}
    if answer == "last_number":
        return {"answer_from": (answer, "for a model that writes no boxes: docs/grading.md")}
    if place == "after" and detail:
        asked = f"Write the final answer, and nothing else, after {detail} on the last line."
        return {"answer_from": (place, ""), "answer_mark": (detail, ""), "suffix": (asked, "asks for it")}
    if place == "pattern" and detail:
        return {"answer_from": (place, ""), "answer_pattern": (detail, "its last match is the answer")}
    if place == "python" and detail:
        return {"grader": ("python", "docs/howto/own-grader.md"), "function": (detail, "(response, prompt) -> right or not")}
    raise ValueError(f"answer {answer!r}: boxed, last_number, after:MARK, pattern:REGEX or python:MODULE:FUNCTION")
