"""The ids of runs and the fingerprints of stages are those of commit 9021028, where [compute] was part of [train].

By them a home finds the runs, checkpoints and stage results that are in it: an id that changes is a run that is lost. The files
of the paper's models are other runs since they cap the trainer / engine ratio. No number of processes counts any more.
"""

from pathlib import Path

import pytest

from pipeline_lib.config import load_config
from pipeline_lib.stages.evaluate import evaluate_fingerprint
from pipeline_lib.stages.filter import filter_fingerprint
from pipeline_lib.stages.profile import profile_fingerprint
from pipeline_lib.stages.train import train_fingerprint

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# Digests of the run, of its control, and of the train stage over a base "base" and a selection "selected".
SHIPPED = {
    "demo": ("34f4c2ab", "092b8a62", "82e3a89c"),
    "qwen3-0.6b": ("adacd587", "c75f17f6", "8e62debf"),
    "qwen3-1.7b": ("ab138ffc", "e782e444", "8ac41b2a"),
    "qwen3-30b-a3b-instruct": ("6f6e8dbf", "104063a5", "86631927"),
    "qwen3-30b-a3b-thinking": ("0b139ee4", "1e5f51c6", "615a4874"),
    "qwen3-4b-instruct": ("09b23cd3", "df3bf777", "e891b628"),
    "qwen3-4b-thinking": ("d2886958", "0d76bcc1", "09de55a1"),
    "qwen3-8b": ("04ffcacd", "8938cc42", "d1732098"),
    "r1-distill-1.5b": ("087dd07f", "018c6a22", "93f3dd55"),
    "retrain-tiny": ("d6ffed6a", "7b648ab2", "80368829"),
    "smoke": ("19a328b3", "ee29ff06", "1201a6df"),
    "tiny-real": ("c4321911", "398bafc2", "0b727c7d"),
}
EVERY_COMPUTE_KEY = [
    "compute.launcher=deepspeed",
    "compute.num_processes=2",
    "compute.num_threads=3",
    "compute.precision=bfloat16",
    "compute.zero_stage=2",
    "compute.gradient_checkpointing=true",
    "compute.micro_batch_tokens=512",
]


@pytest.fixture(autouse=True)
def _no_local_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LACONIC_DATA", raising=False)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_configuration_is_the_run_that_it_was(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.toml")
    run, control, train = SHIPPED[name]
    assert config.run_id == f"{name}-{run}"
    assert config.control_variant().run_id == f"{name}-control-{control}"
    assert train_fingerprint(config, "base", "selected")[:8] == train


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("demo", ("f498d05b", "51f49a68", "215c4655")),
        ("smoke", ("7d0023c3", "1ad123d1", "02adc573")),
        ("qwen3-8b", ("641fb932", "c85d2cb9", "2fb9d82f")),
    ],
)
def test_the_stages_before_and_after_training_are_found_again(name: str, expected: tuple[str, str, str]) -> None:
    config = load_config(CONFIGS / f"{name}.toml")
    profile, filtered, evaluate = expected
    assert profile_fingerprint(config, "base")[:8] == profile
    assert filter_fingerprint(config, "base")[:8] == filtered
    assert evaluate_fingerprint(config, "w", config.evaluate.benchmarks[0])[:8] == evaluate


def test_settings_of_the_machine_count_as_they_did() -> None:
    others = ["generation.max_num_seqs=8", "retrain={}", "validation.num_samples=2"]
    config = load_config(CONFIGS / "demo.toml", [*EVERY_COMPUTE_KEY, *others])
    assert config.run_id == "demo-75586074"
    assert train_fingerprint(config, "base", "selected")[:8] == "131b5b88"


def test_what_changes_no_result_is_left_out_at_any_depth() -> None:
    config = load_config(CONFIGS / "demo.toml", ["retrain={}"])
    settings, counted = config.model_dump(mode="json"), config.result_settings()
    left_out = {f"{section}.{key}" for section in counted for key in _missing(settings[section], counted[section])}
    assert settings.keys() - counted.keys() == {
        "tracking", "retrain", "fleet", "chat_template", "system_prompt", "examples", "prices",
    }  # fmt: skip
    assert left_out == {
        "train.lora",
        "train.batches_ahead",
        *(f"prompts.{key}" for key in ("task", "parameters", "choices_field", "metadata_fields")),
        *(f"prompts.{key}" for key in ("function", "correct_score", "grading_seconds")),
        *(f"prompts.{key}" for key in ("answer_from", "answer_mark", "answer_pattern", "system_prompt", "examples")),
        *(f"compute.{key}" for key in ("launcher", "num_threads", "micro_batch_tokens", "optimizer_offload", "restarts")),
        *(f"generation.{key}" for key in ("max_num_seqs", "kv_cache_gib", "gpu_memory_utilization", "enforce_eager")),
        *(
            f"generation.{key}"
            for key in ("gpu_memory_utilization_alone", "tensor_parallel", "sleep", "kl_tolerance", "endpoint")
        ),
        *(f"watch.{key}" for key in ("engine_gap", "engine_gap_factor")),
        *(f"control.{key}" for key in ("side_by_side", "devices")),
        "checkpoint.every_minutes",
        "evaluate.published",
    }


def test_a_later_setting_counts_where_it_is_given() -> None:
    config, adapted = (load_config(CONFIGS / "demo.toml", keys) for keys in ([], ["train.lora={}"]))
    assert "lora" not in config.result_settings()["train"]
    assert adapted.result_settings()["train"]["lora"]["rank"] == 32
    assert adapted.run_id != config.run_id
    ahead = ["fleet.kind=ray", "train.engine_ratio_cap=2.0", "train.batches_ahead={}"]
    on_policy, stale = (load_config(CONFIGS / "demo.toml", [*ahead[:2], ahead[2].format(number)]) for number in (0, 1))
    assert on_policy.run_id == load_config(CONFIGS / "demo.toml", ahead[1:2]).run_id != stale.run_id
    assert train_fingerprint(adapted, "base", "selected") != train_fingerprint(config, "base", "selected")


def test_the_number_of_processes_counts_as_one() -> None:
    """So did every run with the default: a run may be resumed with another number, and has the same id."""
    configs = [load_config(CONFIGS / "demo.toml", [f"compute.num_processes={number}"]) for number in (1, 2)]
    assert {config.run_id for config in configs} == {f"demo-{SHIPPED['demo'][0]}"}
    assert {train_fingerprint(config, "base", "selected")[:8] for config in configs} == {SHIPPED["demo"][2]}


def _missing(settings: object, counted: object) -> set[str]:
    return settings.keys() - counted.keys() if isinstance(settings, dict) and isinstance(counted, dict) else set()
