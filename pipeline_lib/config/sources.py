"""Where problems come from and how they are put to the model."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline_lib.records import AnswerFrom, AnswerRule
from pipeline_lib.section import CountsWhereGiven, Fraction, Name, NonNegativeInt, PositiveFloat, PositiveInt, Section

# The prompt suffix of the paper (protocol table).
PAPER_PROMPT_SUFFIX = "Let's think step by step and output the final answer within \\boxed{}"

# What follows the problem in the user turn, by name.
TEMPLATES: dict[str, str] = {
    "plain": "",
    "boxed": PAPER_PROMPT_SUFFIX,
    "code": "Write the solution in Python. Put the complete program into one ```python code block at the end of your answer.",
    "tags": "Let's think step by step and output the final answer, and nothing else, between <answer> and </answer>.",
}

# How a family of models is told to think; everything else is the tokenizer's own chat template. Sources: the model cards of
# DeepSeek-R1-Distill ("enforce the model to initiate its response with <think>\n") and Qwen3 (enable_thinking).
CHAT_STYLES: dict[str, dict[str, Any]] = {
    "model": {},
    "r1-distill": {"response_prefix": "<think>\n"},
    "qwen3-thinking": {"enable_thinking": True},
    "qwen3-non-thinking": {"enable_thinking": False},
}
ChatStyle = Literal["model", "r1-distill", "qwen3-thinking", "qwen3-non-thinking"]

LAST_GYM_SEED = 4000  # numpy takes 32 bits, a million of which are each seed's
LARGEST_FILE_BYTES = 1 << 20  # of what becomes part of a configuration

PassRateScale = Literal["fraction", "percent", "failure_percent"]


class LocalCopy(Section):
    """A local file that stands in for the hub: its name below the folder LACONIC_DATA, and its columns where they differ."""

    file: str = Field(description="Name of the .parquet, .jsonl or .csv file, or of a folder of them, below LACONIC_DATA.")
    problem_field: str = Field("problem", description="Column with the problem.")
    answer_field: str = Field("answer", description="Column with the answer.")
    answer_after: str | None = Field(None, description="The answer is what follows the last of this in its column.")
    id_field: str | None = Field("id", description="Column with a stable id.")
    tolerance_field: str | None = Field(None, description="Column with the absolute error allowed in a problem's answer.")
    pass_rate_field: str | None = Field(None, description="Column with a recorded pass rate or difficulty.")
    num_problems: PositiveInt | None = Field(None, description="Problems with an answer that it must hold.")


def with_suffix(problem: str, suffix: str) -> str:
    """The content of a user turn."""
    return f"{problem}\n{suffix}" if suffix else problem


class Example(Section):
    """A problem and a response to it, as the turns before the prompt show them."""

    problem: str = Field(min_length=1, description="The problem; the source's suffix follows it.")
    response: str = Field(min_length=1, description="The whole response, as a model should write it.")

    def turns(self, suffix: str) -> list[dict[str, str]]:
        """The two turns."""
        return [
            {"role": "user", "content": with_suffix(self.problem, suffix)},
            {"role": "assistant", "content": self.response},
        ]


def _read_examples(value: Any) -> Any:
    """The rows of the file that is named; read with the configuration, which is then complete. Raises ValueError."""
    if not isinstance(value, str):
        return value
    from pipeline_lib.files.tables import read_table

    rows = read_table(_given_file(value), ["problem", "response"]).to_pylist()
    return [{key: row[key] for key in ("problem", "response")} for row in rows]


def read_chat_template(value: Any) -> Any:
    """The content of the file that is named; "plain", nothing, and what is a template itself, stay. Raises ValueError."""
    if not isinstance(value, str) or value in ("plain", "") or "{" in value:
        return value
    template = _given_file(value).read_text(encoding="utf-8")
    if "{" not in template:
        raise ValueError(f"{value} holds no Jinja template")
    return template


def _given_file(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"there is no file {name}")
    if path.stat().st_size > LARGEST_FILE_BYTES:
        raise ValueError(f"{name} is larger than {LARGEST_FILE_BYTES >> 20} MiB")
    return path


Examples = Annotated[tuple[Example, ...] | None, BeforeValidator(_read_examples)]


class AnswerSettings(Section):
    """Where the answer stands in a response, for the graders that compare it with a gold answer."""

    answer_from: CountsWhereGiven[AnswerFrom] = Field(
        "boxed",
        description="Where a response's answer stands: in the last box, the last number, after answer_mark, or where "
        "answer_pattern matches last; in a response that was cut only a box counts as whole (docs/grading.md).",
    )
    answer_mark: CountsWhereGiven[str | None] = Field(
        None,
        min_length=1,
        description="after only: the text, such as '####', whose last occurrence the answer follows on its line.",
    )
    answer_pattern: CountsWhereGiven[str | None] = Field(
        None,
        min_length=1,
        description="pattern only: regular expression; its group (?P<answer>…), else its first group, else all of it is the answer.",
    )

    @property
    def answer_rule(self) -> AnswerRule:
        """The three settings in one."""
        return AnswerRule(self.answer_from, self.answer_mark or self.answer_pattern or "")

    @model_validator(mode="after")
    def _answer_is_told(self) -> Self:
        for kind, key, value in (
            ("after", "answer_mark", self.answer_mark),
            ("pattern", "answer_pattern", self.answer_pattern),
        ):
            if (self.answer_from == kind) != (value is not None):
                raise ValueError(f"answer_from = '{kind}' and {key} are needed together")
        if self.answer_pattern is not None:
            import regex

            try:
                regex.compile(self.answer_pattern)
            except regex.error as error:
                raise ValueError(f"answer_pattern = {self.answer_pattern!r} is no regular expression: {error}") from error
        return self


class PromptSource(AnswerSettings):
    """Where problems with a checkable answer come from: the built-in tiny world, Reasoning Gym, a local file or folder, or the hub."""

    name: Name = Field(
        description="Name under which the prompts are stored (prompts.source, budget_results.benchmark), of the form of a run's."
    )
    kind: Literal["tiny", "file", "hub", "gym"] = Field(
        description="tiny: generated; file: local Parquet/JSONL/CSV; hub: datasets; gym: generated by Reasoning Gym."
    )
    licence: str = Field("", description="Licence of the data, as its carrier states it; for readers.")
    family: Literal["sum", "wheel"] = Field("sum", description="tiny only: 'sum' (digits mod 10) or 'wheel' (mod 7).")
    min_operations: PositiveInt = Field(1, description="tiny only: fewest operations in a problem.")
    max_operations: PositiveInt = Field(7, le=26, description="tiny only: most operations in a problem, each with a letter.")
    max_operand: PositiveInt = Field(6, le=9, description="tiny only: largest operand; operands are drawn uniformly from 1.")
    task: CountsWhereGiven[str | tuple[str, ...] | None] = Field(
        None, description="gym only: a family of problems such as 'chain_sum', or several, which take turns; stored as domain."
    )
    parameters: CountsWhereGiven[dict[str, Any]] = Field(
        {}, description="gym only: fields of the family's configuration; of several families a table each, by their names."
    )
    path: str | None = Field(
        None, description="file: a .parquet/.jsonl/.csv file or folder of them (also below LACONIC_DATA); hub: dataset id."
    )
    subset: str | None = Field(None, description="hub only: name of the dataset's configuration.")
    revision: str | None = Field(None, description="hub only: commit or tag.")
    data_files: str | None = Field(None, description="hub only: pattern of the files to read, when the repository has others.")
    split: str = Field(
        "train", description="hub: split to load; tiny: train, validation or test, three disjoint sets of problems."
    )
    local: LocalCopy | None = Field(None, description="hub only: local file used instead where LACONIC_DATA holds it.")
    problem_field: str = Field("problem", description="Column with the problem.")
    answer_field: str = Field("answer", description="Column with the answer.")
    answer_after: str | None = Field(None, description="The answer is what follows the last of this in its column.")
    id_field: str | None = Field(None, description="Column with a stable id; absent: a digest of the problem.")
    tests_format: Literal["humaneval", "mbpp", "livecodebench"] | None = Field(
        None, description="code only: how a row's columns hold the tests, the starter code and the statement."
    )
    tolerance_field: str | None = Field(None, description="Column with the absolute error allowed in a problem's answer.")
    tolerance_rule: Literal["olympiadbench", "minerva"] | None = Field(
        None, description="math only: the benchmark's own rule for numbers (pipeline_lib.grading.maths.tolerances)."
    )
    pass_rate_field: str | None = Field(None, description="Column with a recorded pass rate or difficulty.")
    pass_rate_scale: PassRateScale = Field(
        "fraction", description="fraction: 0-1 solved; percent: 0-100 solved; failure_percent: 0 always, 100 never solved."
    )
    pass_rate_tries: PositiveInt = Field(8, description="Rollouts per prompt behind the recorded pass rates.")
    num_problems: PositiveInt | None = Field(None, description="Problems with an answer that it must hold, before any draw.")
    choices_field: CountsWhereGiven[str | None] = Field(
        None,
        description="choice only: column with the options (texts, or text and label), put below the problem as lines A. to J.",
    )
    metadata_fields: CountsWhereGiven[tuple[str, ...]] = Field(
        (), description="python only: columns that the function gets as prompt['metadata']."
    )
    domain: str = Field("math", description="Stored as prompts.domain.")
    grader: Literal["exact", "math", "code", "choice", "python", "gym"] = Field(
        "math",
        description="exact: the answer as a string; math: its value; code: the last code block, run on tests; choice: the letter "
        "of an option; python: `function`; gym (given by kind = 'gym'): the family's own scorer.",
    )
    function: CountsWhereGiven[str | None] = Field(
        None,
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$",
        description="python only: 'module:name', called with (response, prompt); gives True, False or a score from 0 to 1, or "
        "one of them and a text. The digest of the module's file counts as a setting.",
    )
    correct_score: CountsWhereGiven[Fraction] = Field(
        1.0, description="python, gym: a score of at least this is correct, any other wrong."
    )
    grading_seconds: CountsWhereGiven[PositiveFloat] = Field(5.0, description="python, gym: time for one response.")
    sandbox: Literal["process", "bubblewrap", "docker"] = Field(
        "process", description="code only: what confines the programs; bubblewrap and docker must be installed."
    )
    num_prompts: PositiveInt | None = Field(None, description="Draw this many (seeded); absent: all.")
    seed: NonNegativeInt = Field(0, description="Seed of the draw. Train, validation and benchmark must not share one.")
    template: Literal["plain", "boxed", "code", "tags"] = Field(
        "plain",
        description="What follows the problem in the user turn: nothing, the paper's boxed suffix, a code request, or a request "
        "for <answer> tags (given by kind = 'gym').",
    )
    suffix: str | None = Field(None, description="Text of your own instead of the template's, after a newline.")
    system_prompt: CountsWhereGiven[str | None] = Field(
        None, description="The system turn; absent: that of the run, or what the chat template itself says."
    )
    examples: CountsWhereGiven[Examples] = Field(
        None,
        description="Turns before the prompt (few-shot): a JSONL, Parquet or CSV file with problem and response, which is read with "
        "the configuration, or a list of these. Never a benchmark's or validation's own problems: that is checked.",
    )
    enable_thinking: bool | None = Field(None, description="Passed to the chat template (Qwen3); absent: not passed.")
    response_prefix: str = Field("", description="Text that starts every response, part of the prompt (R1: '<think>\\n').")

    @property
    def user_suffix(self) -> str:
        """What follows the problem in the user turn; empty for nothing."""
        return TEMPLATES[self.template] if self.suffix is None else self.suffix

    @property
    def is_generated(self) -> bool:
        """Whether its prompts are made as they are drawn, so that there is no whole to draw from."""
        return self.kind in ("tiny", "gym")

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """The families of kind "gym" with their parameters."""
        if isinstance(self.task, str):
            return {self.task: self.parameters}
        return {task: self.parameters.get(task, {}) for task in self.task or ()}

    @model_validator(mode="before")
    @classmethod
    def _as_the_gym_grades(cls, tree: Any) -> Any:
        is_gym = isinstance(tree, dict) and tree.get("kind") == "gym"
        return {"grader": "gym", "template": "tags", **tree} if is_gym else tree

    @model_validator(mode="after")
    def _complete(self) -> "PromptSource":
        if self.is_generated and self.num_prompts is None:
            raise ValueError(f"num_prompts is needed for kind = '{self.kind}', where prompts are generated")
        if self.kind == "tiny":
            if self.split not in ("train", "validation", "test"):
                raise ValueError(f"split = {self.split!r} is not one of train, validation, test (kind = 'tiny')")
            if self.max_operations < self.min_operations:
                raise ValueError(f"max_operations = {self.max_operations} is below min_operations = {self.min_operations}")
        elif self.kind == "gym":
            self._require_tasks()
        elif self.path is None:
            raise ValueError(f"path is needed for kind = '{self.kind}'")
        if (self.grader == "code") != (self.tests_format is not None):
            raise ValueError("grader = 'code' and tests_format are needed together")
        for key, value, grader in (
            ("function", self.function, "python"),
            ("metadata_fields", self.metadata_fields, "python"),
            ("choices_field", self.choices_field, "choice"),
        ):
            if value and self.grader != grader:
                raise ValueError(f"{key} is for grader = '{grader}', not '{self.grader}'")
        if self.grader == "python" and self.function is None:
            raise ValueError("grader = 'python' needs function = 'module:name'")
        if self.grader == "gym" and self.kind != "gym":
            raise ValueError(f"grader = 'gym' is for kind = 'gym', not '{self.kind}'")
        if self.grader == "code" and self.answer_from != "boxed":
            raise ValueError(f"answer_from = '{self.answer_from}' is not for grader = 'code', which reads the last code block")
        if self.tolerance_rule == "olympiadbench" and self.tolerance_field is None:
            raise ValueError("tolerance_rule = 'olympiadbench' needs tolerance_field")
        return self

    def _require_tasks(self) -> None:
        if not self.tasks:
            raise ValueError("task is needed for kind = 'gym': a family of Reasoning Gym such as 'chain_sum', or several")
        if self.seed > LAST_GYM_SEED:
            raise ValueError(f"seed = {self.seed} is above {LAST_GYM_SEED}, the last of kind = 'gym'")
        if not isinstance(self.task, str):
            stray = [key for key, value in self.parameters.items() if key not in self.tasks or not isinstance(value, dict)]
            if stray:
                raise ValueError(f"parameters of several tasks are a table each, by their names: not {', '.join(stray)}")
