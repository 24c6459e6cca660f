"""The filter stage: cleaning and pass rates decide together which prompts are trained on, with a reason for each."""

from collections.abc import Mapping, Sequence

from pipeline_lib.config import PromptSource, RunConfig
from pipeline_lib.prompts import SourceContent, load_prompts
from pipeline_lib.prompts.chat_templates import load_tokenizer
from pipeline_lib.prompts.rendering import surely_fits
from pipeline_lib.records import DifficultyEstimate, Prompt, Selection
from pipeline_lib.selection.cleaning import CleaningVerdict, clean_prompts
from pipeline_lib.selection.decontamination import BenchmarkIndex
from pipeline_lib.selection.difficulty import difficulty_class, select_prompts

# Problems of a family share its wording: only the same problem is one of a benchmark.
GYM_OVERLAP = 1.0


def contaminating_sources(config: RunConfig) -> list[PromptSource]:
    """What training must stay clear of: the benchmarks, the validation prompts, and what cleaning names; none twice.

    Empty when nothing is compared: cleaning or decontamination is off, or the prompts are generated in disjoint splits.
    """
    cleaning = config.filter.cleaning
    if config.prompts.kind == "tiny" or not (cleaning.enabled and cleaning.decontaminate):
        return []
    return _held_out_sources(config)


def _held_out_sources(config: RunConfig) -> list[PromptSource]:
    validation = [config.validation.source] if config.validation else []
    sources = [*config.evaluate.benchmarks, *validation, *config.filter.cleaning.benchmarks]
    return list({source.model_dump_json(): source for source in sources}.values())


def _held_out_problems(config: RunConfig, sources: Sequence[PromptSource]) -> dict[str, list[Prompt]]:
    """The problems of some sources by name. A draw of a benchmark is not the benchmark: all of its problems are meant.

    The validation prompts, which may be drawn from the training data, are just these.
    """
    validation = config.validation.source if config.validation else None
    problems: dict[str, list[Prompt]] = {}
    for source in sources:
        as_drawn = source.is_generated or source == validation
        whole = source if as_drawn else source.model_copy(update={"num_prompts": None})
        problems.setdefault(source.name, []).extend(load_prompts(whole))
    return problems


def require_clean_examples(config: RunConfig) -> None:
    """Raises ValueError for example turns that hold a problem of a benchmark or of the validation prompts.

    They are looked for as training prompts are (docs/cleaning.md), whether cleaning is on or not.
    """
    validation = [config.validation.source] if config.validation else []
    shown = {
        example.problem: None
        for source in (config.prompts, *validation, *config.evaluate.benchmarks)
        for example in source.examples or ()
    }
    if not shown:
        return
    cleaning = config.filter.cleaning
    sources = _held_out_sources(config)
    for of_gym, overlap in ((False, cleaning.ngram_overlap), (True, GYM_OVERLAP)):
        problems = _held_out_problems(config, [source for source in sources if (source.kind == "gym") == of_gym])
        index = BenchmarkIndex(problems, cleaning.ngram_words, overlap)
        for number, problem in enumerate(shown, start=1):
            found = index.find(Prompt(f"example {number}", "examples", "", problem, ""))
            if found:
                raise ValueError(
                    f"examples: {problem[:60]!r} is {found[0].benchmark_id} of {found[0].benchmark}, or holds much of its text: "
                    "an example must not be a problem that a model is judged on"
                )


def clean_source(config: RunConfig, content: SourceContent) -> list[CleaningVerdict]:
    """A verdict on every prompt of the source and every row left out of it. Raises ValueError for an unreadable benchmark."""
    if config.prompts.kind == "tiny" or not config.filter.cleaning.enabled:
        return [CleaningVerdict(prompt_id, True, "kept", "") for prompt_id in content.prompts]
    benchmarks = _held_out_problems(config, contaminating_sources(config))
    repeats = [left.prompt for left in content.left_out if left.prompt.problem and left.cause != "empty_answer"]
    settings = config.filter.cleaning
    if config.prompts.kind == "gym":
        settings = settings.model_copy(update={"ngram_overlap": GYM_OVERLAP})
    verdicts = clean_prompts([*content.prompts.values(), *repeats], benchmarks, settings)
    unusable = [left for left in content.left_out if left.prompt not in repeats]
    return [*verdicts, *(CleaningVerdict(left.prompt.prompt_id, False, left.cause, left.detail) for left in unusable)]


def select_training_prompts(
    config: RunConfig, run_id: str, content: SourceContent, estimates: Sequence[DifficultyEstimate], too_long: Mapping[str, str]
) -> list[Selection]:
    """One Selection per prompt of the source, and one per row that was left out of it.

    `too_long` gives the reason for prompts that do not fit the model, by id. Raises EmptySelectionError when nothing is selected.
    """
    verdicts = {verdict.prompt_id: verdict for verdict in clean_source(config, content)}
    estimate_of = {estimate.prompt_id: estimate for estimate in estimates}
    dropped = [
        _dropped(run_id, prompt_id, estimate_of.get(prompt_id), verdict.reason, verdict.detail)
        for prompt_id, verdict in verdicts.items()
        if not verdict.kept
    ]
    dropped_ids = {selection.prompt_id for selection in dropped}
    remaining = [prompt_id for prompt_id in content.prompts if prompt_id not in dropped_ids]
    dropped += [
        _dropped(run_id, prompt_id, estimate_of.get(prompt_id), "prompt_too_long", too_long[prompt_id])
        for prompt_id in remaining
        if prompt_id in too_long
    ]
    remaining = [prompt_id for prompt_id in remaining if prompt_id not in too_long]
    unrated = [prompt_id for prompt_id in remaining if prompt_id not in estimate_of]
    # Without a pass rate a prompt fits no class; where none was to be sampled, "all" means these too.
    keep_unrated = config.filter.subset == "all" and config.profile.origin == "recorded"
    text = "no pass rate is known for it"
    unknown = [Selection(run_id, prompt_id, "all", keep_unrated, text, "no_pass_rate") for prompt_id in unrated]
    rated = [estimate_of[prompt_id] for prompt_id in remaining if prompt_id in estimate_of]
    if not rated and keep_unrated and unknown:
        return [*unknown, *dropped]
    return [*select_prompts(rated, config.filter), *unknown, *dropped]


def _dropped(run_id: str, prompt_id: str, estimate: DifficultyEstimate | None, cause: str, detail: str) -> Selection:
    subset = difficulty_class(estimate.pass_rate) if estimate else "all"
    return Selection(run_id, prompt_id, subset, False, detail, cause)


def overlong_prompts(config: RunConfig, base_location: str, prompts: Sequence[Prompt]) -> dict[str, str]:
    """Why a prompt does not fit `generation.max_prompt_tokens`, by id of those that do not. Reads the base's tokenizer."""
    from pipeline_lib.generation.sampling import prompts_that_fit

    limit, endpoint = config.generation.max_prompt_tokens, config.generation.endpoint
    location = (endpoint.tokenizer or "") if endpoint else base_location
    doubtful = [prompt for prompt in prompts if not surely_fits(config.prompts, prompt.problem, limit, config.chat_template)]
    if not (doubtful and location):  # without a tokenizer nobody can count
        return {}
    tokenizer = load_tokenizer(location, config)
    fitting = {prompt.prompt_id for prompt in prompts_that_fit(tokenizer, config.prompts, doubtful, limit, skip=True)}
    text = f"longer than generation.max_prompt_tokens = {limit}"
    return {prompt.prompt_id: text for prompt in doubtful if prompt.prompt_id not in fitting}
