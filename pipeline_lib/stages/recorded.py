"""The budget sweep of rollouts that were generated elsewhere: read, judge, store, score, draw. A run of its own, without a model."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline_lib.config import RecordedConfig, laconic_home
from pipeline_lib.evaluation.budget_sweep import score_budgets
from pipeline_lib.evaluation.recorded_rollouts import (
    RecordedRollout,
    attach_prompts,
    cells,
    judge_recorded,
    own_prompts,
    read_recorded_rollouts,
)
from pipeline_lib.files.home import below, file_digest
from pipeline_lib.grading import Grading
from pipeline_lib.messages.faults import explain, still_called_running
from pipeline_lib.processes import give_room, lock_run, reserve_room
from pipeline_lib.prompts import load_prompts
from pipeline_lib.records import Prompt
from pipeline_lib.report.model_curves import draw_recorded, draw_recorded_anatomy
from pipeline_lib.runs.ledger import Ended, Ledger
from pipeline_lib.section import name_from
from pipeline_lib.stages.display import Display

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store

STORED_AS: Final = "evaluate"  # the stage of the rows
Pairs = list[tuple[RecordedRollout, Prompt]]


def evaluate_recorded(config: RecordedConfig, display: Display, flow_run_id: str | None = None) -> dict[str, Any]:
    """Judge the recorded rollouts of a file and score every model on every benchmark at every budget.

    Returns run_id, counts and the picture's path. The same file and settings again replace what they wrote before.
    """
    from pipeline_lib.store.database import Store

    path = Path(config.rollouts_file).expanduser()
    run_id, home = config.run_id(file_digest(path)), laconic_home()
    pairs, unmatched = _read(path, config)
    ledger = Ledger(Store(home), run_id, config.name)
    facts = {"base_model": "recorded", "config": config.model_dump(mode="json"), "prefect_flow_run_id": flow_run_id}
    with lock_run(home, run_id) as lock:
        reserve_room(lock)
        try:
            ledger.open(facts, restarts_clock=True)
            reasons = _judge_and_score(ledger.store, run_id, config, pairs, display)
            table = ledger.store.named("budget_table", run_ids=[run_id])
            display.table(config.name, "budgets", table, "Accuracy and length at every token budget")
            picture = draw_recorded(table, below(home, "reports", run_id, "accuracy_by_budget.png"))
            display.picture(config.name, picture, "Accuracy at every token budget")
            anatomy = ledger.store.named("anatomy_of_runs", run_ids=[run_id])
            display.table(config.name, "anatomy", anatomy, "Where the tokens go")
            bars = draw_recorded_anatomy(table, anatomy, picture.with_name("token_anatomy.png"))
            display.picture(config.name, bars, "Where the tokens go")
            give_room(lock)
            ledger.end("completed")
        except BaseException as error:
            give_room(lock)
            _end_early(ledger, error)
            raise
    counts = {"rollouts": len(pairs), "without_gold_answer": unmatched, **reasons}
    return {"run_id": run_id, **counts, "picture": str(picture), "anatomy": str(bars)}


def _end_early(ledger: Ledger, error: BaseException) -> None:
    status: Ended = "failed" if isinstance(error, Exception) else "cancelled"
    home = ledger.store.home
    try:
        ledger.end(status, explain(error, home))
    except Exception as trouble:
        error.add_note(still_called_running(ledger.run_id, trouble, home))


def _read(path: Path, config: RecordedConfig) -> tuple[Pairs, int]:
    """The wanted rollouts with their prompts, and how many have none. Raises ValueError when none is left."""
    everything = read_recorded_rollouts(path)
    _check_choice(everything, config, path)
    recorded = [
        rollout
        for rollout in everything
        if rollout.model in (config.only_models or (rollout.model,))
        and rollout.benchmark in (config.only_benchmarks or (rollout.benchmark,))
    ]
    if not recorded:
        raise ValueError(
            f"{path} holds no rollout of only_models = {list(config.only_models)} and only_benchmarks = {list(config.only_benchmarks)}"
        )
    pairs, unmatched = with_prompts(recorded, config)
    if not pairs:
        raise ValueError(f"{path} holds no rollout with a gold answer: add a column gold, or name its benchmarks in sources")
    return pairs, unmatched


def _check_choice(recorded: list[RecordedRollout], config: RecordedConfig, path: Path) -> None:
    """Raises ValueError for a chosen model or benchmark that the file does not hold."""
    for key, chosen, held in (
        ("only_models", config.only_models, {rollout.model for rollout in recorded}),
        ("only_benchmarks", config.only_benchmarks, {rollout.benchmark for rollout in recorded}),
    ):
        unknown = [name for name in chosen if name not in held]
        if unknown:
            raise ValueError(f"{key}: {path} holds no {', '.join(unknown)}; it holds {', '.join(sorted(held))}")


def with_prompts(recorded: list[RecordedRollout], config: RecordedConfig) -> tuple[Pairs, int]:
    """Each rollout that has a gold answer with its prompt, of the configured sources or the file's own; and how many have none."""
    known = {source.name: load_prompts(source) for source in config.sources}
    named = {benchmark: name for benchmark in {each.benchmark for each in recorded} if (name := name_from(benchmark)) in known}
    if len(set(named.values())) < len(named):
        raise ValueError(f"sources: the file's {', '.join(map(repr, sorted(named)))} would be the same benchmark")
    recorded = [replace(each, benchmark=named.get(each.benchmark, each.benchmark)) for each in recorded]
    pairs: Pairs = []
    for benchmark in dict.fromkeys(rollout.benchmark for rollout in recorded):
        own = [rollout for rollout in recorded if rollout.benchmark == benchmark]
        prompts = known[benchmark] if benchmark in known else own_prompts(own)
        answered = own if benchmark in known else [rollout for rollout in own if rollout.answer]
        pairs += attach_prompts(answered, prompts)[0]
    return pairs, len(recorded) - len(pairs)


def _judge_and_score(store: "Store", run_id: str, config: RecordedConfig, pairs: Pairs, display: Display) -> dict[str, int]:
    prompts = {(prompt.source, prompt.prompt_id): prompt for _, prompt in pairs}
    store.write("prompts", [prompt for prompt in prompts.values() if prompt.problem])
    sources = {source.name: source for source in config.sources}
    prompt_of = {id(rollout): prompt for rollout, prompt in pairs}
    groups = cells([rollout for rollout, _ in pairs])
    store.delete_rollout_files(run_id, STORED_AS)
    reasons: Counter[str] = Counter()
    points, done = [], 0
    with display.progress(config.name, STORED_AS) as progress:
        for number, ((model, benchmark), group) in enumerate(groups.items()):
            settings = sources.get(benchmark) or Grading(config.grader, answer_rule=config.answer_rule)
            judged = judge_recorded([(rollout, prompt_of[id(rollout)]) for rollout in group], settings, run_id, STORED_AS)
            reasons.update(rollout.grade_reason.partition(":")[0] for rollout in judged)
            store.write_rollouts(judged, run_id, STORED_AS, f"recorded-{number:05d}")
            points += score_budgets(
                judged,
                config.budgets_tokens,
                config.bootstrap_resamples,
                config.seed,
                run_id=run_id,
                model=model,
                step=0,
                benchmark=benchmark,
            )
            done += len(group)
            progress.update(done, len(pairs), f"{model} on {benchmark}")
    store.replace("budget_results", {"run_id": run_id}, points)
    return dict(sorted(reasons.items()))
