"""Every guideline fires on a configuration that breaks it and not on a clean one; profiles come from a real store."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipeline_lib.config import RunConfig, apply_override, load_config, parse_config
from pipeline_lib.grading import extract_last_box
from pipeline_lib.guidelines import RULES, SEVERITIES, PlannedRun, Remark, check_run, render_rules
from pipeline_lib.guidelines.plan import model_size
from pipeline_lib.guidelines.profile import DATABASE_FILE
from pipeline_lib.guidelines.reward_shape import probe_reward
from pipeline_lib.records import DifficultyEstimate, Prompt, Rollout, StageResult
from pipeline_lib.rewards import REWARDS
from pipeline_lib.runs.base_model import resolve_base_model
from pipeline_lib.stages.profile import profile_fingerprint
from pipeline_lib.store.database import DATABASE_NAME, Store

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs"
PAPER_CONFIGS = sorted(path for path in CONFIGS.glob("*.toml") if "2602.20945" in path.read_text(encoding="utf-8"))
RUN_CONFIGS = sorted(path for path in CONFIGS.glob("*.toml") if path.name != "warmup.toml")

SUFFIX = "Put the answer into \\boxed{}."
# What the guidelines ask for, at the paper's size: nothing to remark.
CLEAN: dict[str, Any] = {
    "name": "clean",
    "base_model": "org/model-1.5B",
    "prompts": {"name": "train", "kind": "hub", "path": "org/train", "template": "boxed"},
    "profile": {"num_rollouts": 8, "rollout_limit_tokens": 4096},
    "reward": {"name": "truncation", "target_tokens": 4096},
    "train": {"steps": 400, "num_rollouts": 24, "rollout_limit_tokens": 4096},
    "validation": {"source": {"name": "held-out", "kind": "hub", "path": "org/held-out", "suffix": SUFFIX}},
    "evaluate": {
        "benchmarks": [
            {"name": "maths", "kind": "hub", "path": "org/maths", "template": "boxed"},
            {"name": "code", "kind": "hub", "path": "org/code", "domain": "code", "grader": "code", "tests_format": "mbpp"},
        ]
    },
    "control": {"enabled": True, "rollout_limit_tokens": 16384},
}


def check_config(config: RunConfig, home: Path) -> tuple[list[Remark], str]:
    """The remarks on a configuration, and whether a profile stored in `home` was used."""
    plan = PlannedRun.of(config, home)
    return check_run(plan), plan.profile_status


def planned(*overrides: str) -> RunConfig:
    """The clean configuration with overrides; `-section` or `-section.key` takes something out first."""
    tree = json.loads(json.dumps(CLEAN))
    for override in overrides:
        if override.startswith("-"):
            *parents, key = override[1:].split(".")
            node = tree
            for parent in parents:
                node = node[parent]
            del node[key]
        else:
            apply_override(tree, override)
    return parse_config(tree, RunConfig)


def remark_of(remarks: list[Remark], rule_id: str) -> Remark | None:
    return next((remark for remark in remarks if remark.rule.id == rule_id), None)


def assert_milder(remark: Remark, after: list[Remark]) -> None:
    """Once its settings are taken over, a rule is silent, or says something less serious."""
    left = remark_of(after, remark.rule.id)
    assert left is None or SEVERITIES.index(left.advice.severity) > SEVERITIES.index(remark.advice.severity)


ALARMS = ("entropy_spike", "length_collapse", "length_rebound", "reward_starvation")
LONG_LIMIT = "train.rollout_limit_tokens=16384"
TINY_PROMPTS = 'prompts={name = "train", kind = "tiny", num_prompts = 9, grader = "exact", domain = "tiny"}'
TINY_BENCHMARKS = (
    'evaluate.benchmarks=[{name = "a", kind = "tiny", num_prompts = 9, grader = "exact", domain = "tiny", split = "%s"}, '
    '{name = "b", kind = "tiny", num_prompts = 9, grader = "exact", domain = "tiny", family = "wheel"}]'
)

ELSEWHERE = ("generation.engine=openai", "generation.endpoint.base_url=http://10.0.0.1:8000/v1")
WITH_KEY = (*ELSEWHERE, "generation.endpoint.key_variable=NO_SUCH_KEY")

GYM_BENCHMARK = 'evaluate.benchmarks.1={name = "a", kind = "gym", num_prompts = 9, task = "no_such_task", domain = "code"}'
# rule, severity, what is changed in the clean configuration
BROKEN: list[tuple[str, str, tuple[str, ...]]] = [
    ("key-in-the-clear", "warning", WITH_KEY),
    ("key-not-set", "warning", WITH_KEY),
    ("served-without-price", "note", ELSEWHERE),
    ("hard-prompts", "error", ("filter.subset=hard",)),
    ("hard-prompts", "error", ("filter.subset=band", "filter.min_pass_rate=0.1", "filter.max_pass_rate=0.5")),
    ("hard-prompts", "note", ("filter.subset=all",)),
    ("hard-prompts", "note", ("filter.subset=band", "filter.min_pass_rate=0.5")),
    ("rare-positives", "warning", ("filter.subset=hard",)),
    ("foreign-profile", "warning", ("profile.origin=recorded",)),
    ("foreign-profile", "note", ("profile.origin=imported", "profile.rollouts_file=mine.parquet")),
    ("few-profile-rollouts", "note", ("profile.num_rollouts=7",)),
    ("profile-sampling", "warning", ("profile.top_p=0.95",)),
    ("profile-sampling", "note", ("profile.temperature=0.6",)),
    ("profile-sampling", "note", ("train.temperature=0.6",)),
    ("profile-limit", "note", ("profile.rollout_limit_tokens=16384",)),
    ("profile-limit", "note", ("profile.rollout_limit_tokens=2048",)),
    ("cleaning-off", "warning", ("filter.cleaning.enabled=false",)),
    ("cleaning-off", "warning", ("filter.cleaning.decontaminate=false",)),
    ("cleaning-off", "note", ("filter.cleaning.pictures=false",)),
    ("benchmark-in-training", "warning", ("filter.cleaning.decontaminate=false", "prompts.path=org/maths")),
    ("benchmark-in-training", "warning", (TINY_PROMPTS, TINY_BENCHMARKS % "train")),
    ("no-boxed-request", "warning", ("prompts.template=plain",)),
    ("no-boxed-request", "warning", ("evaluate.benchmarks.0.template=plain",)),
    ("no-boxed-request", "warning", ("validation.source.suffix=Answer briefly.",)),
    ("grader-function", "error", ("prompts.grader=python", "prompts.function=no_such_judge:grade")),
    ("gym-source", "error", (GYM_BENCHMARK,)),
    ("limit-above-target", "warning", (LONG_LIMIT,)),
    ("limit-above-target", "note", ("train.rollout_limit_tokens=4097",)),
    ("limit-above-target", "note", ("train.rollout_limit_tokens=8192", "base_model=org/model-4B-Instruct")),
    ("instruct-target", "note", ("base_model=org/model-1.5B-Instruct",)),
    ("instruct-target", "note", ("chat_style=qwen3-non-thinking",)),
    ("instruct-target", "note", ("chat_style=qwen3-non-thinking", 'train.negative_rollouts="L_R=L_T"')),
    ("length-blind-reward", "note", ("reward.name=vanilla",)),
    ("length-blind-reward", "note", ("reward.name=laser",)),
    ("length-blind-reward", "warning", ("reward.name=vanilla", "train.rollout_limit_tokens=8192")),
    ("aggressive-reward", "note", ("reward.name=kimi",)),
    ("aggressive-reward", "warning", ("reward.name=kimi", "evaluate.budgets_tokens=[2048, 4096]")),
    ("aggressive-reward", "warning", ("reward.name=kimi", LONG_LIMIT, "evaluate.budgets_tokens=[4096, 8192]")),
    ("adaptive-target", "warning", ("reward.name=adaptive_target",)),
    ("short-failures-paid", "note", ("reward.name=kimi",)),
    ("long-failures-paid", "note", ("reward.name=laser_d_art", LONG_LIMIT)),
    ("masks-all-incorrect", "error", ("train.negative_rollouts=-I",)),
    ("masks-all-incorrect", "error", ("train.negative_rollouts=-I", LONG_LIMIT)),
    ("masks-all-incorrect", "error", ("train.negative_rollouts=-L&C-S&I",)),
    ("masks-short-incorrect", "error", ("train.negative_rollouts=-L&C-S&I", LONG_LIMIT)),
    ("masks-long-incorrect", "warning", ("train.negative_rollouts=-L&C-L&I", LONG_LIMIT)),
    ("masks-long-correct", "note", ("train.negative_rollouts=-L&C", LONG_LIMIT)),
    ("mask-without-effect", "note", ("train.negative_rollouts=-L&C",)),
    ("mask-without-effect", "note", ("train.negative_rollouts=-L&C-L&I",)),
    ("overlong-filtering", "error", ("train.overlong_filtering=true",)),
    ("overlong-filtering", "error", ("train.overlong_filtering=true", "reward.name=vanilla")),
    ("overlong-filtering", "warning", ("train.overlong_filtering=true", LONG_LIMIT)),
    ("few-rollouts", "warning", ("train.num_rollouts=7",)),
    ("few-rollouts", "note", ("train.num_rollouts=8",)),
    ("few-rollouts", "note", ("train.num_rollouts=23",)),
    ("stale-rollouts", "warning", ("train.staleness=8",)),
    ("stale-rollouts", "warning", ("train.staleness=2", "base_model=org/model-30B-A3B")),
    ("stale-rollouts", "note", ("train.staleness=4", "base_model=org/model")),
    ("dynamic-sampling", "note", ("train.dynamic_sampling_batches=2",)),
    ("sequence-mean-loss", "warning", ("train.loss_aggregation=sequence_mean",)),
    ("kl-penalty", "note", ("train.kl_coefficient=0.001",)),
    ("kl-penalty", "warning", ("train.kl_coefficient=0.0011",)),
    ("sequence-ratio", "note", ("train.importance_ratio=sequence", "train.staleness=2")),
    ("cispo-clip", "warning", ("train.objective=cispo", "train.staleness=2")),
    ("engine-ratio-cap", "warning", ("train.engine_ratio_cap=1.0",)),
    ("engine-ratio-cap", "note", ("train.engine_ratio_cap=10.0",)),
    ("training-temperature", "note", ("train.temperature=0.6",)),
    ("high-learning-rate", "warning", ("train.learning_rate=5e-6",)),
    ("short-training", "note", ("train.steps=99",)),
    ("single-budget", "warning", ("evaluate.budgets_tokens=[16384]",)),
    ("no-budget-above-target", "warning", ("evaluate.budgets_tokens=[2048, 4096]",)),
    ("no-budget-above-target", "note", (LONG_LIMIT, "evaluate.budgets_tokens=[2048, 8192]")),
    ("no-budget-near-target", "note", ("evaluate.budgets_tokens=[1024, 16384]",)),
    ("few-samples", "warning", ("evaluate.num_samples=3",)),
    ("few-samples", "note", ("evaluate.num_samples=4",)),
    ("one-domain", "warning", ('evaluate.benchmarks=[{name = "a", kind = "file", path = "a", template = "boxed"}]',)),
    ("one-domain", "note", ("evaluate.benchmarks.1.domain=math",)),
    ("no-control", "note", ("-control",)),
    ("no-validation", "warning", ("-validation",)),
    ("watch-ignored", "note", ("watch.length_rebound=ignore",)),
    ("watch-ignored", "warning", tuple(f"watch.{kind}=ignore" for kind in ALARMS)),
    ("blind-roll-back", "warning", ("-validation", "watch.entropy_spike=roll_back")),
    ("out-of-memory", "error", ("base_model=Qwen/Qwen3-0.6B", "compute.micro_batch_tokens=65536")),
    ("out-of-memory", "error", ("base_model=Qwen/Qwen3-8B",)),
    ("small-cache", "warning", ("base_model=Qwen/Qwen3-0.6B", "generation.gpu_memory_utilization=0.2")),
]  # fmt: skip


def test_the_clean_configuration_gets_no_remark() -> None:
    assert check_run(PlannedRun(planned())) == []


@pytest.mark.parametrize(("rule_id", "severity", "overrides"), BROKEN, ids=lambda value: str(value)[:50])
def test_a_rule_fires_and_what_it_advises_cures_it(rule_id: str, severity: str, overrides: tuple[str, ...]) -> None:
    remark = remark_of(check_run(PlannedRun(planned(*overrides))), rule_id)
    assert remark is not None
    assert remark.advice.severity == severity
    assert remark.advice.severity in remark.rule.severities
    if remark.advice.settings:
        assert_milder(remark, check_run(PlannedRun(planned(*overrides, *remark.advice.settings))))


# rule, what is near its edge and still right
HARMLESS: list[tuple[str, tuple[str, ...]]] = [
    ("hard-prompts", ("filter.subset=band", "filter.min_pass_rate=0.51")),
    ("rare-positives", ("filter.subset=hard", "train.advantage=mean")),
    ("profile-sampling", ("profile.temperature=0.6", "train.temperature=0.6")),
    ("cleaning-off", (TINY_PROMPTS, "filter.cleaning.enabled=false")),
    ("benchmark-in-training", (TINY_PROMPTS, TINY_BENCHMARKS % "test")),
    ("benchmark-in-training", ("prompts.path=org/maths",)),
    ("no-boxed-request", ("prompts.template=plain", "prompts.answer_from=last_number")),
    ("no-chat-template", ("base_model=builtin:tiny",)),
    ("limit-above-target", ("reward.target_tokens=6144", "train.rollout_limit_tokens=8192", "base_model=a/b-4B-Instruct-2507")),
    ("limit-above-target", ("reward.name=kimi", LONG_LIMIT)),
    ("limit-above-target", ("reward.name=laser", LONG_LIMIT)),
    ("instruct-target", ("base_model=org/Instruct-and-Thinking",)),
    ("length-blind-reward", ("reward.name=laser", "train.rollout_limit_tokens=8192")),
    ("aggressive-reward", ("reward.name=laser",)),
    ("long-failures-paid", ("reward.name=laser", LONG_LIMIT)),
    ("limit-above-target", ("reward.name=adaptive_target", LONG_LIMIT)),
    ("limit-above-target", ("reward.name=l1_max", LONG_LIMIT)),
    ("aggressive-reward", ("reward.name=dapo_overlong",)),
    ("short-failures-paid", ("reward.name=shorterbetter",)),
    ("masks-all-incorrect", ("train.negative_rollouts=-L&C", LONG_LIMIT)),
    ("mask-without-effect", ("train.negative_rollouts=-L&C", LONG_LIMIT)),
    ("mask-without-effect", ('train.negative_rollouts="L_R=L_T"',)),
    ("few-rollouts", ("train.num_rollouts=32",)),
    ("stale-rollouts", ("train.staleness=4",)),
    ("stale-rollouts", ("base_model=org/model-30B-A3B",)),
    ("sequence-mean-loss", ("train.loss_aggregation=dr_grpo",)),
    ("sequence-ratio", ("train.importance_ratio=sequence",)),
    ("cispo-clip", ("train.objective=cispo",)),
    ("engine-ratio-cap", ("train.engine_ratio_cap=2.0",)),
    ("engine-ratio-cap", ("train.engine_ratio_cap=5.0",)),
    ("high-learning-rate", ("train.learning_rate=3e-4", "base_model=builtin:tiny")),
    ("high-learning-rate", ("train.learning_rate=3e-5", "train.lora={}")),
    ("short-training", ("train.steps=5", "base_model=builtin:tiny")),
    ("no-budget-near-target", ("evaluate.budgets_tokens=[8192, 16384]",)),
    ("one-domain", (TINY_PROMPTS, TINY_BENCHMARKS % "test")),
    ("blind-roll-back", ("watch.entropy_spike=roll_back",)),
    ("out-of-memory", ("base_model=Qwen/Qwen3-0.6B",)),
    ("small-cache", ("base_model=Qwen/Qwen3-0.6B", "generation.gpu_memory_utilization=0.45")),
]  # fmt: skip


@pytest.mark.parametrize(("rule_id", "overrides"), HARMLESS, ids=lambda value: str(value)[:50])
def test_a_rule_is_silent_on_the_right_side_of_its_edge(rule_id: str, overrides: tuple[str, ...]) -> None:
    assert remark_of(check_run(PlannedRun(planned(*overrides))), rule_id) is None


def test_a_base_model_without_a_chat_template_has_two_ways_out(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    (tmp_path / "turns.jinja").write_text("{{ messages[0].content }}")
    remark = remark_of(check_run(PlannedRun(planned(f"base_model={tmp_path}"))), "no-chat-template")
    assert remark is not None and remark.advice.severity == "error" and "chat_template = 'turns.jinja'" in remark.advice.remedy
    for cure in (*remark.advice.settings, f"chat_template={tmp_path}/turns.jinja"):
        assert remark_of(check_run(PlannedRun(planned(f"base_model={tmp_path}", cure))), "no-chat-template") is None
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert remark_of(check_run(PlannedRun(planned(f"base_model={tmp_path}"))), "no-chat-template") is None


Groups = dict[str, list[tuple[int, bool]]]


def store_profile(config: RunConfig, home: Path, groups: Groups, run_id: str | None = None, rollouts: bool = True) -> Store:
    """Leave in a real store what the profile stage leaves: pass rates, rollouts, and the record of the stage.

    A rollout is (tokens, correct); one of `profile.rollout_limit_tokens` tokens was cut there.
    """
    store, run_id = Store(home), run_id or config.run_id
    limit = config.profile.rollout_limit_tokens
    estimates = [
        DifficultyEstimate(
            run_id, prompt_id, len(group), right := sum(correct for _, correct in group), right / len(group), None
        )
        for prompt_id, group in groups.items()
    ]
    store.write("difficulty", estimates)
    if rollouts:
        rows = [
            Rollout(run_id, "profile", 0, "base", "train", prompt_id, number, tokens, "length" if tokens == limit else "stop",
                    None, correct, "correct" if correct else "wrong", "text")
            for prompt_id, group in groups.items()
            for number, (tokens, correct) in enumerate(group)
        ]  # fmt: skip
        store.write_rollouts(rows, run_id, "profile", "shard")
    fingerprint = profile_fingerprint(config, resolve_base_model(config).digest)
    store.write("stage_results", [StageResult(run_id, "profile", "", fingerprint, 1.0)])
    return store


RIGHT, WRONG = True, False
SOLVED = [(1000, RIGHT)] * 4 + [(2000, RIGHT)] * 3 + [(4096, WRONG)]  # one in eight was cut
SHORT = [(1000, RIGHT)] * 4 + [(2000, RIGHT)] * 4
HARD = [(1000, RIGHT)] * 2 + [(4096, WRONG)] * 6
LONG = [(9000, RIGHT)] * 7 + [(9100, RIGHT)]

# rule, severity, changes, profile, what the finding must say
PROFILED: list[tuple[str, str, tuple[str, ...], Groups, str]] = [
    ("hard-prompts", "note", ("filter.subset=all",), {"a": SOLVED, "b": SOLVED, "c": HARD}, "33% of the prompts"),
    ("hard-prompts", "warning", ("filter.subset=all",), {"a": SOLVED, "b": HARD, "c": HARD}, "67% of the prompts"),
    ("empty-selection", "error", (), {"a": HARD, "b": HARD}, "keeps none of 2 profiled prompts"),
    # 16 of 16 are longer than L_T.
    ("starved-reward", "error", ("profile.rollout_limit_tokens=16384",), {"a": LONG, "b": LONG}, "rewards 0.0%"),
    # 1 of 16 is rewarded: 6.2 %, below the alarm's 10 %.
    ("starved-reward", "warning", ("profile.rollout_limit_tokens=16384",), {"a": LONG, "b": [*LONG[1:], (4096, RIGHT)]}, "rewards 6.2%"),
    # (2 + 2) of 16.
    ("rare-positives", "note", ("filter.subset=all",), {"a": HARD, "b": HARD}, "25% of the profile's rollouts rewarded"),
    ("target-too-short", "error", ("profile.rollout_limit_tokens=16384",), {"a": LONG}, "0.0% of the correct answers"),
    # 1 of 16 correct answers fits: 6.2 %, less than a tenth; median and 90 % quantile (the 8th and 15th of 16) by counting.
    ("target-too-short", "warning", ("profile.rollout_limit_tokens=16384",),
     {"a": LONG, "b": [*LONG[1:], (4096, RIGHT)]}, "6.2% of the correct answers to the selected prompts have at most 4096 tokens "
     "(median 9000, 90 % quantile 9100)"),
    # 7 of 15 correct answers fit.
    ("target-too-short", "note", ("profile.rollout_limit_tokens=16384",), {"a": SOLVED, "b": LONG}, "46.7% of the correct answers"),
    ("target-too-loose", "warning", (), {"a": SHORT}, "0.0% of the profile's rollouts"),
    # 1 of 16 was cut.
    ("target-too-loose", "note", (), {"a": SOLVED, "b": SHORT}, "6.2% of the profile's rollouts"),
]  # fmt: skip


@pytest.mark.parametrize(("rule_id", "severity", "overrides", "groups", "found"), PROFILED, ids=lambda value: str(value)[:30])
def test_rules_on_the_profile_read_the_store(
    home: Path, rule_id: str, severity: str, overrides: tuple[str, ...], groups: Groups, found: str
) -> None:
    config = planned(*overrides)
    store_profile(config, home, groups)
    remarks, status = check_config(config, home)
    remark = remark_of(remarks, rule_id)
    assert remark is not None
    assert remark.advice.severity == severity
    assert remark.advice.severity in remark.rule.severities
    assert found in remark.advice.found
    assert f"profile of {config.run_id} was used ({len(groups)} prompts, {8 * len(groups)} rollouts)" in status
    if remark.advice.settings:
        cured, cured_status = check_config(planned(*overrides, *remark.advice.settings), home)
        assert "was used" in cured_status
        assert_milder(remark, cured)


@pytest.mark.parametrize("reward", ["kimi", "l1_max", "adaptive_target", "arora_zanette"])
def test_a_reward_that_presses_elsewhere_may_have_a_loose_target(home: Path, reward: str) -> None:
    config = planned(f"reward.name={reward}")
    store_profile(config, home, {"a": SHORT})
    remarks, status = check_config(config, home)
    assert "was used" in status
    assert remark_of(remarks, "target-too-loose") is None


@pytest.mark.parametrize(
    ("texts", "found", "settings"),
    [
        (["It is 8.", "8 of 9"], "answer_from = 'last_number' finds one in 100%, right in 50%", ["answer_from=last_number"]),
        (["Answer: 8\n(of 9)"], "answer_mark = 'Answer:' finds one in 100%, right in 100%", ["answer_mark=Answer:"]),
        (["no", "nothing"], "none is right wherever it is looked for", []),
        (["\\boxed{8}", "so 8"], None, []),
    ],
)
def test_where_answers_are_missing_another_place_is_named(
    home: Path, texts: list[str], found: str, settings: list[str]
) -> None:
    config = planned()
    store = store_profile(config, home, {"a": [(100, False)] * 8}, rollouts=False)
    store.write("prompts", [Prompt("a", "train", "math", "How many?", "8")])
    answers = [extract_last_box(text) for text in texts]
    rollouts = [
        Rollout(config.run_id, "profile", 0, "m", "train", "a", number, 9, "stop", answer, False, "", text)
        for number, (text, answer) in enumerate(zip(texts, answers, strict=True))
    ]
    store.write_rollouts(rollouts, config.run_id, "profile", "x")
    remarks, _ = check_config(config, home)
    remark = remark_of(remarks, "missing-answers")
    assert (remark and remark.advice.found) is None if found is None else found in remark.advice.found  # type: ignore[union-attr]
    for setting in settings:
        assert {f"{key}.{setting}" for key in ("prompts", "validation.source", "evaluate.benchmarks.0")} <= {
            *remark.advice.settings  # type: ignore[union-attr]
        }


def test_choices_are_looked_for_elsewhere_too(home: Path) -> None:
    config = planned('prompts={name="train", kind="file", path="x.jsonl", grader="choice"}')
    store = store_profile(config, home, {"a": [(100, False)] * 8}, rollouts=False)
    store.write("prompts", [Prompt("a", "train", "math", "Which?\nA. x\nB. y", "B")])
    texts = ["Final answer: y\nand that is all", "I do not know"]
    store.write_rollouts(
        [
            Rollout(config.run_id, "profile", 0, "m", "train", "a", number, 9, "stop", None, False, "", text)
            for number, text in enumerate(texts)
        ],
        config.run_id,
        "profile",
        "x",
    )
    remark = remark_of(check_config(config, home)[0], "missing-answers")
    assert remark and "answer_mark = 'Final answer:' finds one in 50%, right in 50%" in remark.advice.found


def test_a_good_profile_brings_no_remark(home: Path) -> None:
    # Two of sixteen rollouts were cut, the rest is right and short.
    store_profile(planned(), home, {"a": SOLVED, "b": SOLVED})
    remarks, status = check_config(planned(), home)
    assert remarks == []
    assert "2 prompts, 16 rollouts" in status


def test_all_prompts_are_as_good_as_the_easy_ones_where_none_is_hard(home: Path) -> None:
    config = planned("filter.subset=all")
    assert remark_of(check_config(config, home)[0], "hard-prompts") is not None
    store_profile(config, home, {"a": SOLVED, "b": SOLVED})
    assert remark_of(check_config(config, home)[0], "hard-prompts") is None


def test_a_profile_of_another_run_with_the_same_inputs_is_used_and_of_other_inputs_is_not(home: Path) -> None:
    store = store_profile(planned(), home, {"a": SOLVED}, run_id="first")
    # "second" took it over: its pass rates are copied, the rollouts stay with "first".
    store.copy_rows("difficulty", "first", "second")
    fingerprint = profile_fingerprint(planned(), resolve_base_model(planned()).digest)
    store.write("stage_results", [StageResult("second", "profile", "", fingerprint, 0.0, reused_from="first")])
    other_training = planned("train.num_rollouts=32")
    assert "profile of second was used (1 prompts, 8 rollouts)" in check_config(other_training, home)[1]
    assert "none is stored for these inputs" in check_config(planned("seed=1"), home)[1]


def test_pass_rates_without_rollouts_are_used_for_what_they_tell(home: Path) -> None:
    config = planned("profile.origin=recorded", "filter.subset=all")
    store_profile(config, home, {"a": HARD}, rollouts=False)
    remarks, status = check_config(config, home)
    assert "pass rates only" in status
    assert {remark.rule.id: remark.advice.severity for remark in remarks} == {
        "hard-prompts": "warning", "foreign-profile": "warning"
    }  # fmt: skip


def test_rollouts_are_rewarded_as_training_would_see_them(home: Path) -> None:
    # Kimi pays every correct rollout; of the right answers of 6000 tokens L_R = 4096 cuts off the end. 1 of 8 is left.
    config = planned("reward.name=kimi", "profile.rollout_limit_tokens=16384", "filter.subset=all")
    store_profile(config, home, {"a": [(500, RIGHT), (600, WRONG), *[(6000, RIGHT)] * 6]})
    assert PlannedRun.of(config, home).positive_share == pytest.approx(1 / 8)
    whole = planned("reward.name=kimi", "profile.rollout_limit_tokens=16384", "filter.subset=all", LONG_LIMIT)
    assert PlannedRun.of(whole, home).positive_share == pytest.approx(7 / 8)


def test_without_a_store_or_a_model_it_says_so_and_creates_nothing(home: Path) -> None:
    assert "there is no store in" in check_config(planned(), home)[1]
    assert not home.exists()
    store_profile(planned(), home, {"a": SOLVED})
    assert "'./nowhere'" in check_config(planned("base_model=./nowhere"), home)[1]


def test_the_store_is_looked_for_where_it_is() -> None:
    assert DATABASE_FILE == DATABASE_NAME


def test_every_rule_and_each_of_its_severities_is_tested() -> None:
    tested = {(rule_id, severity) for rule_id, severity, *_ in [*BROKEN, *PROFILED]}
    tested |= {("no-chat-template", "error"), ("missing-answers", "warning")}  # by tests of their own
    assert tested == {(rule.id, severity) for rule in RULES for severity in rule.severities}
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_what_is_most_serious_comes_first() -> None:
    remarks = check_run(PlannedRun(planned("train.num_rollouts=8", "evaluate.num_samples=1", "train.negative_rollouts=-I")))
    assert [remark.advice.severity for remark in remarks] == ["error", "warning", "note"]


@pytest.mark.parametrize("path", RUN_CONFIGS, ids=lambda path: path.stem)
def test_no_shipped_configuration_has_an_error(path: Path, home: Path) -> None:
    remarks, _ = check_config(load_config(path), home)
    assert [remark.rule.id for remark in remarks if remark.advice.severity == "error"] == []


@pytest.mark.parametrize("path", PAPER_CONFIGS, ids=lambda path: path.stem)
def test_the_settings_of_the_paper_lack_a_control_and_nothing_else(path: Path, home: Path) -> None:
    assert [remark.rule.id for remark in check_config(load_config(path), home)[0]] == ["no-control"]


def test_the_settings_of_the_paper_are_all_there() -> None:
    assert len(PAPER_CONFIGS) == 8


@pytest.mark.parametrize(
    ("name", "limit", "true"),
    [
        ("vanilla", 8192, set()),
        ("truncation", 4096, {"uses_target", "cuts_at_target"}),
        ("truncation", 8192, {"uses_target", "cuts_at_target", "looks_at_length"}),
        ("kimi", 8192, {"looks_at_length", "varies_within_target", "prefers_shorter", "pays_short_failures"}),
        ("laser", 8192, {"uses_target", "looks_at_length"}),
        ("laser_d_art", 8192, {"uses_target", "looks_at_length", "pays_long_failures"}),
        ("adaptive_target", 8192, {"uses_target", "cuts_at_target", "looks_at_length", "moves_target"}),
        ("l1_max", 8192, {"uses_target", "looks_at_length", "varies_within_target"}),
        ("dapo_overlong", 8192, {"looks_at_length", "pays_short_failures"}),
        ("cosine", 8192, {"looks_at_length", "varies_within_target", "prefers_shorter", "pays_long_failures"}),
        ("arora_zanette", 8192, {"looks_at_length", "varies_within_target", "prefers_shorter"}),
        ("shorterbetter", 8192, {"looks_at_length", "varies_within_target", "prefers_shorter"}),
        ("lagrangian", 8192, {"uses_target", "looks_at_length", "pays_short_failures"}),
    ],
)
def test_what_a_reward_pays_for_is_found_by_asking_it(name: str, limit: int, true: set[str]) -> None:
    config = planned(f"reward.name={name}", f"train.rollout_limit_tokens={limit}")
    shape = probe_reward(config.reward, limit)
    assert {field for field in shape.__slots__ if getattr(shape, field)} == true


@pytest.mark.parametrize("name", sorted(REWARDS))
@pytest.mark.parametrize(("target", "limit"), [(4096, 16384), (64, 64), (1, 2)])
def test_every_reward_can_be_asked(name: str, target: int, limit: int) -> None:
    config = planned(f"reward.name={name}", f"reward.target_tokens={target}", f"train.rollout_limit_tokens={limit}")
    for remark in check_run(PlannedRun(config)):
        assert remark.advice.severity in remark.rule.severities


QWEN3_0_6B = {
    "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 3072, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip
QWEN3_30B_A3B = {
    "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
    "num_experts": 128, "moe_intermediate_size": 768, "vocab_size": 151936, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "parameters", "is_large"),
    [
        # 155,582,464 embeddings + 28 layers of 6,291,456 in attention and 9,437,184 in the MLP.
        (QWEN3_0_6B, 595_984_384, False),
        # 2 · 311,164,928 embeddings + 48 layers of 18,874,368 in attention and 128 · 4,720,640 in experts and router.
        (QWEN3_30B_A3B, 30_531_911_680, True),
        ({"text_config": QWEN3_0_6B}, 595_984_384, False),
    ],
)
def test_the_size_is_counted_from_the_folder(tmp_path: Path, model: dict[str, Any], parameters: int, is_large: bool) -> None:
    (tmp_path / "config.json").write_text(json.dumps(model), encoding="utf-8")
    size = model_size(str(tmp_path))
    assert (size.num_parameters, size.origin, size.is_large, size.is_toy) == (parameters, "config.json", is_large, False)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("org/Qwen3-30B-A3B-Thinking-2507", 30.0),
        ("org/DeepSeek-R1-Distill-Qwen-1.5B", 1.5),
        ("Qwen/Qwen2.5-Math-7B", 7.0),
        ("org/SmolLM2-135M-Instruct", 0.135),
        ("org/model-a3b", None),
        ("org/model-v2", None),
    ],
)
def test_the_size_is_read_from_the_name(name: str, billions: float | None) -> None:
    assert model_size(name).num_parameters == (None if billions is None else pytest.approx(billions * 1e9))


def test_the_size_of_a_shipped_configuration_s_model_is_known() -> None:
    assert model_size("Qwen/Qwen3-30B-A3B-Thinking-2507").text == "30.5 billion parameters (config.json)"


def test_a_folder_whose_config_does_not_tell_is_sized_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "mystery-7b"
    folder.mkdir()
    (folder / "config.json").write_text('{"hidden_size": 8}', encoding="utf-8")
    assert model_size(str(folder)).text == "7 billion parameters (its name)"


def test_the_tiny_base_is_a_toy() -> None:
    size = model_size("builtin:tiny")
    assert size.is_toy
    assert size.text == "0.63 million parameters (config.json)"


def check_demo(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["check", str(CONFIGS / "demo.toml"), *arguments])


def test_the_command_fails_for_errors_and_when_strict_for_warnings() -> None:
    assert check_demo().exit_code == 0
    assert check_demo("--strict").exit_code == 0
    assert check_demo("--set", "evaluate.num_samples=1").exit_code == 0
    assert check_demo("--set", "evaluate.num_samples=1", "--strict").exit_code == 1
    assert check_demo("--set", "filter.subset=hard").exit_code == 1


def test_the_command_says_what_was_found_why_and_what_to_do_in_100_columns() -> None:
    output = check_demo("--set", "train.negative_rollouts=-I", "--set", "evaluate.budgets_tokens=[64]").output
    for words in (
        "error    masks-all-incorrect  (F5, guideline 3)",
        "train.negative_rollouts = '-I'",
        "entropy",
        "--set train.negative_rollouts=vanilla",
        "--set 'evaluate.budgets_tokens=[32, 64, 128, 256, 512]'",
        "demo: 1 error, 2 warnings, 3 notes; no profile was used",
    ):
        assert words in output
    assert max(map(len, output.splitlines())) <= 100


def test_the_command_prints_json() -> None:
    result = check_demo("--format", "json", "--set", "filter.subset=hard")
    tree = json.loads(result.stdout)
    assert (result.exit_code, tree["passed"], tree["run_id"][:5]) == (1, False, "demo-")
    assert "no store" in tree["profile"]
    first = tree["remarks"][0]
    assert (first["rule"], first["severity"], first["settings"]) == ("hard-prompts", "error", ["filter.subset=easy"])
    assert set(first) == {"rule", "severity", "basis", "found", "why", "remedy", "settings"}


def test_another_format_is_a_user_mistake() -> None:
    result = check_demo("--format", "xml")
    assert result.exit_code == 2
    assert "'xml' is not one of" in result.output


def test_the_command_is_light_and_leaves_no_store(home: Path) -> None:
    program = (
        "import sys\nfrom flows.cli import app\n"
        f"app(['check', {str(CONFIGS / 'demo.toml')!r}], standalone_mode=False)\n"
        "heavy = {'torch', 'vllm', 'deepspeed', 'duckdb', 'mlflow', 'prefect', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "few-rollouts" in done.stdout
    assert not (home / DATABASE_NAME).exists()


def test_the_table_has_a_row_a_rule() -> None:
    table = render_rules().splitlines()
    assert len(table) == len(RULES) + 2
    assert {line.count("|") - line.count("\\|") for line in table} == {6}
