"""Every shipped configuration loads; mistakes are refused with the key, the value and what is allowed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline_lib import config as config_module
from pipeline_lib.config import PAPER_PROMPT_SUFFIX, RunConfig, WarmupConfig, apply_override, load_config
from pipeline_lib.section import Section

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RUN_CONFIGS = sorted(path for path in CONFIGS.glob("*.toml") if path.name != "warmup.toml")
PAPER_CONFIGS = {
    "r1-distill-1.5b", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b-instruct", "qwen3-4b-thinking", "qwen3-8b",
    "qwen3-30b-a3b-instruct", "qwen3-30b-a3b-thinking",
}  # fmt: skip


@pytest.mark.parametrize("path", RUN_CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_run_configuration_loads(path: Path) -> None:
    config = load_config(path)
    assert config.run_id.startswith(f"{config.name}-")
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_the_shipped_set_is_complete() -> None:
    assert {path.stem for path in RUN_CONFIGS} >= PAPER_CONFIGS | {"demo", "smoke"}
    assert load_config(CONFIGS / "warmup.toml", model=WarmupConfig).seed >= 0


@pytest.mark.parametrize(
    ("name", "rollout_limit", "target", "prompts"),
    [
        ("r1-distill-1.5b", 4096, 4096, 128),
        ("qwen3-0.6b", 8192, 8192, 128),
        ("qwen3-1.7b", 10240, 10240, 128),
        ("qwen3-4b-instruct", 8192, 6144, 32),
        ("qwen3-4b-thinking", 16384, 16384, 32),
    ],
)
def test_paper_settings(name: str, rollout_limit: int, target: int, prompts: int) -> None:
    config = load_config(CONFIGS / f"{name}.toml")
    assert config.train.rollout_limit_tokens == rollout_limit
    assert config.reward.target_tokens == target
    assert config.train.prompts_per_step == prompts
    assert config.train.num_rollouts == 24
    assert config.train.learning_rate == 1e-6
    assert config.train.clip_high == 0.28
    assert config.train.kl_coefficient == 0.0
    assert config.train.staleness == 1
    assert config.evaluate.budgets_tokens == (2048, 4096, 8192, 16384, 32768)
    assert config.evaluate.num_samples == 8
    assert config.filter.subset == "easy"
    assert config.prompts.user_suffix == PAPER_PROMPT_SUFFIX
    benchmarks = ["aime25", "amc", "math500", "minerva", "olympiadbench", "livecodebench"]
    assert [benchmark.name for benchmark in config.evaluate.benchmarks] == benchmarks


def test_a_source_is_named_included_or_written_out(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text((CONFIGS / "smoke.toml").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "mine.toml").write_text('name = "mine"\nkind = "file"\npath = "mine.jsonl"\n', encoding="utf-8")
    config = load_config(own, ['evaluate.benchmarks=["mine", "aime25", {include = "math500", num_prompts = 9}]'])
    mine, aime, math = config.evaluate.benchmarks
    assert (mine.name, mine.path) == ("mine", "mine.jsonl")
    assert (aime.name, aime.kind, aime.num_problems) == ("aime25", "hub", 30)
    assert (math.name, math.num_prompts, math.user_suffix) == ("math500", 9, PAPER_PROMPT_SUFFIX)
    assert (
        load_config(CONFIGS / "qwen3-8b.toml", ["evaluate.benchmarks.1.num_prompts=5"]).evaluate.benchmarks[1].num_prompts == 5
    )
    with pytest.raises(ValueError, match="no prompt source named 'aime99'; there are aime24, "):
        load_config(own, ['evaluate.benchmarks=["aime99"]'])


def test_a_file_that_extends_another_says_only_what_is_different(tmp_path: Path) -> None:
    whole, one = (load_config(CONFIGS / f"{name}.toml") for name in ("qwen3-1.7b", "qwen3-1.7b-1gpu"))
    assert (one.name, one.compute.num_processes, one.prompts.num_prompts) == ("qwen3-1.7b-1gpu", 1, 4000)
    assert one.prompts.path == whole.prompts.path
    assert one.train == whole.train.model_copy(update={"prompts_per_step": 32, "num_rollouts": 8})
    own = tmp_path / "own.toml"
    own.write_text('extends = "qwen3-1.7b-1gpu"\nname = "own"\nevaluate.benchmarks = ["aime25"]\n', encoding="utf-8")
    assert [benchmark.name for benchmark in load_config(own).evaluate.benchmarks] == ["aime25"]
    own.write_text('extends = "own.toml"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="own.toml extends itself"):
        load_config(own)
    own.write_text('extends = "qwen9"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="no configuration named 'qwen9'; there are "):
        load_config(own)


def test_the_chat_style_reaches_every_source_that_does_not_say_its_own() -> None:
    plain = load_config(CONFIGS / "qwen3-4b-instruct.toml")
    assert plain.evaluate.benchmarks[0].enable_thinking is None
    brief = load_config(
        CONFIGS / "qwen3-8b.toml", ["chat_style=qwen3-non-thinking", "evaluate.benchmarks.0.enable_thinking=true"]
    )
    assert brief.validation is not None
    assert (brief.prompts.enable_thinking, brief.validation.source.enable_thinking) == (False, False)
    assert [benchmark.enable_thinking for benchmark in brief.evaluate.benchmarks[:2]] == [True, False]
    distilled = load_config(CONFIGS / "r1-distill-1.5b.toml")
    assert {distilled.prompts.response_prefix, distilled.evaluate.benchmarks[5].response_prefix} == {"<think>\n"}


def test_overrides_take_toml_values_bare_words_and_list_items() -> None:
    config = load_config(
        CONFIGS / "demo.toml",
        ["train.steps=3", "filter.subset=all", "train.adam_betas=[0.8, 0.95]", "evaluate.benchmarks.1.num_prompts=7"],
    )
    assert config.train.steps == 3
    assert config.filter.subset == "all"
    assert config.train.adam_betas == (0.8, 0.95)
    assert config.evaluate.benchmarks[1].num_prompts == 7


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.stepz=3", ["unknown key train.stepz = 3"]),
        ("train.zero_stage=3", ["train.zero_stage is now compute.zero_stage"]),
        ("train.steps=-1", ["train.steps = -1", "greater than 0"]),
        ("filter.subset=medium", ["filter.subset = 'medium'", "'easy'"]),
        ("filter.min_pass_rate=0.2", ["subset = 'band'"]),
        ("train.staleness=3", ["staleness = 3", "does not divide train.prompts_per_step"]),
        ("evaluate.budgets_tokens=[96, 48]", ["must rise"]),
        ("prompts.split=dev", ["split = 'dev'", "train, validation, test"]),
        ("nonsense", ["section.key=value"]),
        ("evaluate.benchmarks.9.num_prompts=1", ["0..1"]),
    ],
)
def test_mistakes_name_key_value_and_what_is_allowed(override: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        load_config(CONFIGS / "demo.toml", [override])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "key", ["generation.parity_tolerance", "train.learning_rate", "train.max_grad_norm", "train.clip_high"]
)
def test_a_setting_that_is_not_finite_is_refused(key: str, value: str) -> None:
    """A tolerance that is infinite proves nothing, and an infinite rate makes every weight NaN."""
    with pytest.raises(ValueError, match=rf"{key} = -?(nan|inf)"):
        load_config(CONFIGS / "smoke.toml", [f"{key}={value}"])


def test_a_missing_or_broken_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no configuration file"):
        load_config(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ", encoding="utf-8")
    with pytest.raises(ValueError, match="not valid TOML"):
        load_config(broken)


def test_the_same_settings_are_the_same_run_and_others_are_another() -> None:
    demo = load_config(CONFIGS / "demo.toml")
    assert load_config(CONFIGS / "demo.toml").run_id == demo.run_id
    assert load_config(CONFIGS / "demo.toml", ["seed=9"]).run_id != demo.run_id
    assert load_config(CONFIGS / "demo.toml", ["seed=0"]).run_id == demo.run_id


def test_the_control_differs_by_reward_and_limit_only() -> None:
    demo = load_config(CONFIGS / "demo.toml")
    control = demo.control_variant()
    assert control.name == "demo-control"
    assert control.reward.name == "vanilla"
    assert control.train.rollout_limit_tokens > demo.reward.target_tokens
    same = control.model_copy(update={"name": demo.name, "reward": demo.reward, "control": demo.control, "train": demo.train})
    assert same == demo


def test_a_control_that_would_be_the_run_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="same pressure on length"):
        load_config(CONFIGS / "demo.toml", ["control.rollout_limit_tokens=10"])


def test_settings_that_change_no_result_do_not_make_another_run() -> None:
    demo = load_config(CONFIGS / "demo.toml")
    for override in (
        "compute.num_threads=2",
        "compute.micro_batch_tokens=512",
        "tracking.enabled=false",
        "generation.kv_cache_gib=2",
    ):
        assert load_config(CONFIGS / "demo.toml", [override]).run_id == demo.run_id


def test_the_control_never_takes_the_name_of_the_registered_model() -> None:
    demo = load_config(CONFIGS / "demo.toml", ["tracking.registered_model=brief"])
    assert demo.control_variant().tracking.registered_model == "brief-control"


def test_every_setting_says_what_it_is() -> None:
    sections = [value for value in vars(config_module).values() if isinstance(value, type) and issubclass(value, Section)]
    for section in sections:
        for name, field in section.model_fields.items():
            is_section = isinstance(field.annotation, type) and issubclass(field.annotation, Section)
            assert field.description or is_section, f"{section.__name__}.{name}"


def test_configurations_are_frozen() -> None:
    demo = load_config(CONFIGS / "demo.toml")
    with pytest.raises(ValidationError):
        demo.seed = 3  # type: ignore[misc]


def test_apply_override_refuses_a_section_below_a_value() -> None:
    tree = tomllib.loads("name = 'x'")
    with pytest.raises(ValueError, match="nothing lies below"):
        apply_override(tree, "name.inner.key=1")


def test_light_rooms_import_nothing_heavy() -> None:
    rooms = (
        "config, records, rewards, grading, selection.difficulty, evaluation.budget_sweep, runs.session, stages, worker.process, "
        "training.step_folder"
    )
    code = f"import {', '.join('pipeline_lib.' + room for room in rooms.split(', '))}, sys; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {"torch", "vllm", "deepspeed", "duckdb", "mlflow", "prefect", "transformers"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.negative_rollouts=L_R=L_T", "samples at the target length, but train.rollout_limit_tokens = 64"),
        ("reward.parameters.alpha=0.4", "reward.parameters.alpha = 0.4"),
        ("reward.name=kimmi", "reward.name = 'kimmi' is not one of"),
    ],
)
def test_mistakes_of_reward_and_negatives_are_told_when_the_file_is_read(configs: Path, override: str, message: str) -> None:
    overrides = [override] if "negative" not in override else [override, "reward.target_tokens=40"]
    with pytest.raises(ValueError, match=message):
        load_config(configs / "demo.toml", overrides)


def test_dual_clip_is_refused_where_it_means_nothing(configs: Path) -> None:
    with pytest.raises(ValueError, match="dual_clip = 3.0 has no meaning under objective = 'cispo'"):
        load_config(configs / "demo.toml", ["train.objective=cispo", "train.dual_clip=3.0"])


def test_a_reward_is_stored_with_its_settings_in_full(configs: Path) -> None:
    assert load_config(configs / "demo.toml", ["reward.name=kimi"]).reward.parameters == {"alpha": 0.4}
