"""What the model is asked: the prompts of a run as they are rendered, how long they are, and what cleaning leaves out.

Reads the tokenizer alone; no engine and no weights. A served model without a tokenizer here is shown its turns, which are not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pipeline_lib.config import PromptSource, RunConfig
from pipeline_lib.prompts import SourceContent, load_source
from pipeline_lib.prompts.chat_templates import load_tokenizer
from pipeline_lib.prompts.rendering import render_prompt, turns
from pipeline_lib.records import Prompt
from pipeline_lib.runs.base_model import locate_base_model
from pipeline_lib.selection.training_prompts import clean_source

# Text, and whether it is a special token.
Piece = tuple[str, bool]


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt as the model gets it; `answer` is the gold answer, empty where there is none; `num_tokens` None: not counted."""

    prompt_id: str
    answer: str
    num_tokens: int | None
    pieces: tuple[Piece, ...]


@dataclass(slots=True)
class LeftOutRows:
    """How many prompts cleaning leaves out for one cause, and the first of them."""

    num_prompts: int
    first_id: str
    first_detail: str


@dataclass(slots=True)
class SourceSurvey:
    """The prompts of one source; `lengths` in tokens, rising, of all that cleaning keeps. `problem`: why it cannot be read."""

    name: str
    used_for: str
    limit_tokens: int
    num_prompts: int = 0
    lengths: list[int] = field(default_factory=list)
    shown: list[RenderedPrompt] = field(default_factory=list)
    left_out: dict[str, LeftOutRows] = field(default_factory=dict)
    problem: str = ""

    @property
    def num_too_long(self) -> int:
        """Prompts above the engine's limit: training does without them, a benchmark with one is refused."""
        return sum(length > self.limit_tokens for length in self.lengths)

    def length_at(self, share: float) -> int:
        """The length that this share of the prompts does not exceed."""
        return self.lengths[min(int(share * len(self.lengths)), len(self.lengths) - 1)]


def survey_prompts(config: RunConfig, num_shown: int) -> list[SourceSurvey]:
    """The training prompts, the validation and the benchmarks, `num_shown` prompts of each rendered.

    A source that cannot be read says so in its place; but for the training prompts, whose ValueError is raised.
    """
    endpoint = config.generation.endpoint
    location = endpoint.tokenizer if endpoint else locate_base_model(config)[0]
    tokenizer = load_tokenizer(location, config) if location else None
    content = load_source(config.prompts)
    surveys = [_training_survey(config, tokenizer, content, num_shown)]
    validation = [("validation", config.validation.source)] if config.validation else []
    for used_for, source in [*validation, *(("benchmark", source) for source in config.evaluate.benchmarks)]:
        survey = SourceSurvey(source.name, used_for, config.generation.max_prompt_tokens)
        try:
            _render(survey, tokenizer, source, list(load_source(source).prompts.values()), num_shown)
        except ValueError as error:
            survey.problem = str(error)
        surveys.append(survey)
    return surveys


def _training_survey(config: RunConfig, tokenizer: Any, content: SourceContent, num_shown: int) -> SourceSurvey:
    survey = SourceSurvey(config.prompts.name, "training", config.generation.max_prompt_tokens)
    dropped: set[str] = set()
    try:
        verdicts = clean_source(config, content)
    except ValueError as error:  # a benchmark that is not there
        survey.problem, verdicts = f"not cleaned: {error}", []
    for verdict in verdicts:
        if not verdict.kept:
            dropped.add(verdict.prompt_id)
            survey.left_out.setdefault(verdict.reason, LeftOutRows(0, verdict.prompt_id, verdict.detail)).num_prompts += 1
    kept = [prompt for prompt_id, prompt in content.prompts.items() if prompt_id not in dropped]
    _render(survey, tokenizer, config.prompts, kept, num_shown)
    return survey


def _render(survey: SourceSurvey, tokenizer: Any, source: PromptSource, prompts: Sequence[Prompt], num_shown: int) -> None:
    survey.num_prompts = len(prompts)
    if tokenizer is None:
        survey.shown = [
            RenderedPrompt(prompt.prompt_id, prompt.answer, None, _as_turns(turns(source, prompt.problem)))
            for prompt in prompts[:num_shown]
        ]
        return
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special} | {
        *tokenizer.all_special_ids
    }
    lengths = []
    for number, prompt in enumerate(prompts):
        token_ids = render_prompt(tokenizer, source, prompt.problem)
        lengths.append(len(token_ids))
        if number < num_shown:
            pieces = tuple(
                (tokenizer.decode(list(run), skip_special_tokens=False, clean_up_tokenization_spaces=False), is_special)
                for is_special, run in groupby(token_ids, special.__contains__)
            )
            survey.shown.append(RenderedPrompt(prompt.prompt_id, prompt.answer, len(token_ids), pieces))
    survey.lengths = sorted(lengths)


def _as_turns(conversation: Sequence[dict[str, str]]) -> tuple[Piece, ...]:
    return tuple(piece for turn in conversation for piece in ((f"[{turn['role']}]", True), (f"\n{turn['content']}\n", False)))
