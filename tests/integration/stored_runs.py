"""Writes two small runs into a real store: a run, and one that took its evaluation of the base over from the first."""

from pathlib import Path
from typing import Any

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.evaluation.budget_sweep import score_budgets
from pipeline_lib.records import Alarm, Prompt, Rollout, StageResult, TrainingStep
from pipeline_lib.store.database import Store

SMOKE = Path(__file__).resolve().parents[2] / "configs" / "smoke.toml"
PROMPTS = [f"p{number}" for number in range(6)]
BUDGETS = (24, 48, 96, 192)
# Right and tokens of each prompt's sample by run and step: p1 is fixed, p4 broken by the first run alone.
ANSWERS: dict[tuple[str, int], list[tuple[bool, int]]] = {
    ("one", 0): [(True, 20), (False, 90), (True, 60), (True, 100), (True, 150), (False, 192)],
    ("one", 6): [(True, 15), (True, 40), (True, 30), (True, 45), (False, 50), (False, 60)],
    ("two", 6): [(True, 22), (False, 91), (True, 63), (True, 99), (True, 140), (False, 192)],
}
HOSTILE = "<script>alert('x')</script> [bold]not markup[/bold]"


def write_runs(home: Path, problem: str | None = None) -> tuple[RunConfig, RunConfig]:
    """Both runs, whole as far as a comparison, a report and `laconic show` look; `problem` is that of every prompt."""
    store = Store(home)
    changes = ["generation.engine=transformers", "tracking.enabled=false"]
    one = load_config(str(SMOKE), [*changes, 'name="one"', "train.learning_rate=1e-4"])
    two = load_config(str(SMOKE), [*changes, 'name="two"', 'reward.name="kimi"'])
    problems = {prompt_id: problem or f"{prompt_id}: {HOSTILE}" for prompt_id in PROMPTS}
    store.write("prompts", [Prompt(prompt_id, "tiny-sum", "tiny", text, "8") for prompt_id, text in problems.items()])
    for config in (one, two):
        row = {"run_id": config.run_id, "name": config.name, "status": "completed", "base_model": "builtin:tiny"}
        store.write("runs", [{**row, "config": config.model_dump(mode="json")}])
        store.write("training_steps", [_step(config.run_id, step) for step in range(1, 7)])
    for (name, step), answers in ANSWERS.items():
        _evaluated(store, one if name == "one" else two, step, answers)
    store.copy_rows("budget_results", one.run_id, two.run_id, {"step": 0})
    store.write("stage_results", [_result(two.run_id, "evaluate", "step-00000/tiny-sum", "base", one.run_id)])
    store.write("alarms", [Alarm(two.run_id, 4, "length_collapse", 30.0, 40.0)])
    _sampled(store, one)
    return one, two


def _step(run_id: str, step: int) -> dict[str, Any]:
    values: dict[str, Any] = {name: 0.5 for name in TrainingStep.__slots__ if name != "run_id"}
    return {
        **values,
        "run_id": run_id,
        "step": step,
        "mean_tokens": 80.0 - step,
        "num_rollouts": 6,
        "optimizer_steps": step,
    } | {
        "batch_optimizer_steps": 1,
        "largest_policy_lag": 0,
        "batches_drawn": 1,
    }


def _result(run_id: str, stage: str, unit: str, fingerprint: str, reused_from: str | None = None) -> StageResult:
    return StageResult(run_id, stage, unit, fingerprint, 1.0, reused_from)


def rollout(config: RunConfig, stage: Any, step: int, prompt: str, number: int, right: bool, tokens: int) -> Rollout:
    """One rollout; at 192 tokens it hit the limit."""
    is_cut = tokens >= 192
    return Rollout(
        run_id=config.run_id,
        stage=stage,
        step=step,
        model="builtin:tiny" if step == 0 else config.name,
        source="tiny-sum",
        prompt_id=prompt,
        sample_index=number,
        num_tokens=tokens,
        finish_reason="length" if is_cut else "stop",
        answer="8" if right else None,
        correct=right,
        grade_reason="correct" if right else "truncated" if is_cut else "wrong",
        text=f"{config.name} at {step} on {prompt}: {HOSTILE}",
        reward=float(right) if stage == "train" else None,
        advantage=0.25 if stage == "train" else None,
    )


def _evaluated(store: Store, config: RunConfig, step: int, answers: list[tuple[bool, int]]) -> None:
    rollouts = [rollout(config, "evaluate", step, prompt, 0, *answer) for prompt, answer in zip(PROMPTS, answers, strict=True)]
    store.write_rollouts(rollouts, config.run_id, "evaluate", f"tiny-sum-{step:05d}")
    model = rollouts[0].model
    points = score_budgets(rollouts, BUDGETS, 200, 0, run_id=config.run_id, model=model, step=step, benchmark="tiny-sum")
    store.write("budget_results", points)
    fingerprint = "base" if step == 0 else f"{config.name}-{step}"
    store.write("stage_results", [_result(config.run_id, "evaluate", f"step-{step:05d}/tiny-sum", fingerprint)])


def _sampled(store: Store, config: RunConfig) -> None:
    """Rollouts of profiling and training, two samples a prompt."""
    for stage, step, prompts in (("profile", 0, PROMPTS), ("train", 2, PROMPTS[:3]), ("train", 5, PROMPTS[2:5])):
        rollouts = [
            rollout(config, stage, step, prompt, number, number == 0, 50 + number) for prompt in prompts for number in range(2)
        ]
        store.write_rollouts(rollouts, config.run_id, stage, f"step-{step:05d}")  # type: ignore[arg-type]
    store.write("stage_results", [_result(config.run_id, "profile", "", "profiled")])
