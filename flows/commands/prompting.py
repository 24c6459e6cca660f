"""`laconic prompts`: what the model is asked, printed; no flow, since nothing is stored and no model runs."""

from dataclasses import asdict
from typing import Any

from rich.text import Text

from flows.commands.terminal import console, text_table
from pipeline_lib.config import RunConfig
from pipeline_lib.messages.harmless import json_text, visible, visible_line
from pipeline_lib.preview.prompts import RenderedPrompt, SourceSurvey, survey_prompts
from pipeline_lib.selection.training_prompts import require_clean_examples

SHARES = {"shortest": 0.0, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "longest": 1.0}
# What would not be seen at the end of a prompt, where it matters most.
BLANKS = str.maketrans({" ": "␠", "\t": "⇥", "\n": "⏎"})


def show_prompts(config: RunConfig, source: str | None, num_shown: int, output_format: str) -> None:
    """Print rendered prompts of one source (default: training) and the lengths of all, as `table` or `json`.

    Raises ValueError for a source that there is not, and for examples that are problems of a benchmark.
    """
    surveys = survey_prompts(config, num_shown)
    chosen = [survey for survey in surveys if survey.name == source] if source else surveys[:1]
    if not chosen:
        raise ValueError(f"--source {source}: there are {', '.join(dict.fromkeys(survey.name for survey in surveys))}")
    if output_format == "json":
        print(json_text([_as_tree(survey) for survey in surveys], indent=2))
    else:
        for survey in chosen:
            _show_rendered(survey)
        _show_lengths(surveys)
        _show_left_out(surveys[0])
    require_clean_examples(config)


def _show_rendered(survey: SourceSurvey) -> None:
    for prompt in survey.shown:
        answer = f"answer {prompt.answer}" if prompt.answer else "no gold answer: the grader decides"
        tokens = "the turns, which the endpoint renders" if prompt.num_tokens is None else f"{prompt.num_tokens} tokens"
        head = visible_line(f"{survey.name} · {prompt.prompt_id} · {tokens} · {answer}")
        console.print(Text(head, style="dim"), soft_wrap=True)
        console.print(_text(prompt), "", soft_wrap=True, sep="\n")


def _text(prompt: RenderedPrompt) -> Text:
    text = Text()
    for number, (piece, is_special) in enumerate(prompt.pieces, start=1):
        body, blanks = (piece.rstrip(), piece[len(piece.rstrip()) :]) if number == len(prompt.pieces) else (piece, "")
        text.append(visible(body), style="bold magenta" if is_special else "").append(blanks.translate(BLANKS), style="dim")
    return text


def _show_lengths(surveys: list[SourceSurvey]) -> None:
    rows = []
    for survey in surveys:
        lengths = [str(survey.length_at(share)) if survey.lengths else "–" for share in SHARES.values()]
        counts = [str(survey.num_prompts), *lengths, str(survey.num_too_long) if survey.lengths else "–"]
        rows.append([survey.name, survey.used_for, *counts, survey.problem or _consequence(survey)])
    columns = ["source", "used for", "prompts", *SHARES, "too long", "note"]
    title = f"tokens of the rendered prompts; generation.max_prompt_tokens = {surveys[0].limit_tokens}"
    console.print(text_table(title, columns, rows))


def _consequence(survey: SourceSurvey) -> str:
    if not survey.num_too_long:
        return ""
    met_by = {"training": "those are left out", "validation": "may not fit beside a response", "benchmark": "refused"}
    return met_by[survey.used_for] + ("" if survey.used_for == "training" else ": raise generation.max_prompt_tokens")


def _show_left_out(survey: SourceSurvey) -> None:
    if survey.left_out:
        rows = [
            [cause, str(rows.num_prompts), f"{rows.first_id}: {rows.first_detail}"] for cause, rows in survey.left_out.items()
        ]
        console.print(text_table(f"{survey.name}: left out by cleaning", ["cause", "prompts", "the first"], rows))


def _as_tree(survey: SourceSurvey) -> dict[str, Any]:
    tree = asdict(survey)
    lengths = {name: survey.length_at(share) for name, share in SHARES.items()} if survey.lengths else {}
    shown = [{"text": "".join(text for text, _ in prompt.pop("pieces")), **prompt} for prompt in tree.pop("shown")]
    return {**tree, "num_too_long": survey.num_too_long, "lengths": lengths, "shown": shown}
