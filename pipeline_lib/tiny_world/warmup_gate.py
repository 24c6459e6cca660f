"""The gate after the warm-up: does length buy accuracy in this model? Counting must be sure, recalling a sum only likely."""

import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline_lib.config import WarmupConfig
from pipeline_lib.tiny_world.problems import FAMILIES, answer_of, problems_of_length
from pipeline_lib.tiny_world.tokenizer import render_prompt
from pipeline_lib.tiny_world.traces import boxed_answer, line_results, style_of

GATE_BATCH = 210
# The gate is decided on the family that is trained with RL; the other is measured for the record.
GATE_FAMILY = "sum"


@dataclass(frozen=True, slots=True)
class Sampled:
    """One sampled response; `num_tokens` counts the end token."""

    problem: str
    response: str
    num_tokens: int
    finished: bool

    @property
    def correct(self) -> bool:
        """Whether the response ended by itself on a box with the right digit."""
        return self.finished and boxed_answer(self.response) == answer_of(self.problem)


@dataclass(frozen=True, slots=True)
class FamilyFigures:
    """What was measured on one family; accuracies and shares are 0-1, keys of the operand tables are operands as text."""

    num_sampled: int
    accuracy: float
    mean_tokens: float
    truncated_fraction: float
    accuracy_by_operations: dict[str, float]
    share_by_style: dict[str, float]
    accuracy_by_style: dict[str, float]
    mean_tokens_by_style: dict[str, float]
    line_accuracy: dict[str, float]
    line_accuracy_by_operand: dict[str, dict[str, float]]
    lines_out_of_turn: float

    def as_dict(self) -> dict[str, Any]:
        """The figures for a JSON file, rounded to four digits."""
        return {key: _rounded(value) for key, value in asdict(self).items()}


def measure_gate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: WarmupConfig) -> dict[str, FamilyFigures]:
    """Sample `gate_problems` responses per family at temperature 1 and measure them, family name → figures.

    Problems come from the validation split with operands and number of operations uniform; where a length has too few
    problems, they are sampled more than once.
    """
    figures = {}
    for family in FAMILIES:
        problems = gate_problems(family, config)
        figures[family] = summarise(sample_responses(model, tokenizer, problems, config.max_response_tokens, config.seed))
    return figures


def gate_reasons(figures: dict[str, FamilyFigures], config: WarmupConfig) -> list[str]:
    """Why the gate fails, one sentence each; empty when it passes."""
    lines = figures[GATE_FAMILY].line_accuracy
    bounds = {
        "count": (config.min_count_line_accuracy, 1.0),
        "table": (config.min_table_line_accuracy, config.max_table_line_accuracy),
    }
    reasons = []
    for style, (low, high) in bounds.items():
        if style not in lines:
            reasons.append(f"no {style} line was written, so that {style} line accuracy is unknown")
        elif not low <= lines[style] <= high:
            reasons.append(f"{style} line accuracy {lines[style]:.3f} is outside {low:.2f}..{high:.2f}")
    return reasons


def gate_problems(family: str, config: WarmupConfig) -> list[str]:
    """The problems of the gate, `gate_problems` of them, as many of each number of operations, repeats included."""
    num_each, num_extra = divmod(config.gate_problems, config.max_operations)
    problems: list[str] = []
    for length in range(1, config.max_operations + 1):
        wanted = num_each + (length > config.max_operations - num_extra)
        pool = problems_of_length(family, "validation", length, wanted, config.seed, config.max_operand)
        problems += itertools.islice(itertools.cycle(pool), wanted)
    return problems


@torch.inference_mode()
def sample_responses(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: list[str], max_tokens: int, seed: int
) -> list[Sampled]:
    """One response per problem at temperature 1, reproducible from `seed`; the caller's random state is left as it was."""
    sampled = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Problems of like length share a batch, so that short responses do not wait for long ones.
        ordered = sorted(problems, key=len)
        for first in range(0, len(ordered), GATE_BATCH):
            sampled += _sample_batch(model, tokenizer, ordered[first : first + GATE_BATCH], max_tokens)
    return sampled


def _sample_batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: list[str], max_tokens: int
) -> list[Sampled]:
    prompts = [render_prompt(tokenizer, problem) for problem in problems]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
    generate = cast(Callable[..., torch.Tensor], model.generate)
    outputs = generate(**inputs, max_new_tokens=max_tokens, do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
    prompt_tokens = inputs["input_ids"].shape[1]
    eos = tokenizer.eos_token_id
    sampled = []
    for problem, token_ids in zip(problems, outputs[:, prompt_tokens:].tolist(), strict=True):
        finished = eos in token_ids
        num_tokens = token_ids.index(eos) + 1 if finished else len(token_ids)
        response = cast(str, tokenizer.decode(token_ids[: num_tokens - finished]))
        sampled.append(Sampled(problem, response, num_tokens, finished))
    return sampled


def summarise(sampled: list[Sampled]) -> FamilyFigures:
    by_style: dict[str, list[Sampled]] = defaultdict(list)
    by_operations: dict[str, list[Sampled]] = defaultdict(list)
    lines: dict[str, list[bool]] = defaultdict(list)
    lines_by_operand: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    in_turn: list[bool] = []
    for sample in sampled:
        by_style[style_of(sample.response)].append(sample)
        by_operations[str(len(sample.problem) // 3)].append(sample)
        for line in line_results(sample.problem, sample.response):
            lines[line.style].append(line.right)
            in_turn.append(line.follows)
            if len(line.operands) == 1:
                lines_by_operand[line.style][str(line.operands[0])].append(line.right)
    return FamilyFigures(
        num_sampled=len(sampled),
        accuracy=_mean(sample.correct for sample in sampled),
        mean_tokens=_mean(sample.num_tokens for sample in sampled),
        truncated_fraction=_mean(not sample.finished for sample in sampled),
        accuracy_by_operations=_means({key: [s.correct for s in group] for key, group in by_operations.items()}),
        share_by_style={key: len(group) / len(sampled) for key, group in sorted(by_style.items())},
        accuracy_by_style=_means({key: [s.correct for s in group] for key, group in by_style.items()}),
        mean_tokens_by_style=_means({key: [s.num_tokens for s in group] for key, group in by_style.items()}),
        line_accuracy=_means(lines),
        line_accuracy_by_operand={style: _means(groups) for style, groups in sorted(lines_by_operand.items())},
        lines_out_of_turn=1.0 - _mean(in_turn) if in_turn else 0.0,
    )


def _means(groups: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {key: _mean(values) for key, values in sorted(groups.items())}


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value
