"""The memory plan against numbers that were found another way: a study's table, saved tensors, an H100, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from typer.testing import CliRunner

from flows.cli import app
from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.config.shipped import PROJECT, shipped_configs
from pipeline_lib.doctor import _memory
from pipeline_lib.memory import H100, Architecture, Card, MemoryPlan, architecture_of, card_here, memory_plan, settings_that_fit
from pipeline_lib.memory.plan import GIB, layer_bytes, norm_bytes
from pipeline_lib.memory.remedy import with_settings
from pipeline_lib.memory.table import render_memory

CONFIGS = PROJECT / "configs"
PAPER = [path for path in shipped_configs() if "2602.20945" in (PROJECT / path).read_text(encoding="utf-8")]
MADE_FOR_80_GB = [*PAPER, *(path for path in shipped_configs() if path.endswith(("-1gpu.toml", "gym.toml")))]


def plan_of(config: RunConfig, card: Card = H100) -> MemoryPlan:
    model = architecture_of(config.base_model)
    assert model is not None
    return memory_plan(config, model, card)


@pytest.mark.parametrize("path", MADE_FOR_80_GB)
def test_a_shipped_configuration_fits_the_gpus_that_its_header_names(path: str) -> None:
    config = load_config(PROJECT / path)
    header = (PROJECT / path).read_text(encoding="utf-8")
    number = config.compute.num_processes
    assert ("on one GPU of 80 GB" if number == 1 else f"Made for {number} GPUs of 80 GB") in header
    plan = plan_of(config)
    assert plan.problems == []
    assert plan.cache_sequences >= 8


# Configuration; as a study counted it: ZeRO stage, share of the engine, thousands of tokens in its cache, GiB of activations without
# checkpointing and with it, and of the trainer by number of GPUs, with gradients in bfloat16.
STUDIED: list[tuple[str, int, float, float, float | None, float | None, dict[int, float]]] = [
    ("qwen3-0.6b", 1, 0.45, 297, 30.7, 2.0, {1: 8.9, 4: 3.9, 8: 3.1}),
    ("qwen3-1.7b", 1, 0.45, 277, 48.2, 3.4, {1: 25.6, 4: 11.2, 8: 8.8}),
    ("r1-distill-1.5b", 1, 0.45, 1105, 44.2, 2.9, {1: 26.5, 4: 11.6, 8: 9.1}),
    ("qwen3-4b-thinking", 2, 0.40, 155, 117, 6.8, {1: 61.8, 4: 22.5, 8: 15.9}),
    ("qwen3-8b", 3, 0.35, 70, 148, 9.7, {1: 124, 4: 34.4, 8: 19.2}),
    ("qwen3-30b-a3b-thinking", 3, 0.50, -219, None, None, {1: 457, 4: 118, 8: 61}),
]


@pytest.mark.parametrize(("name", "stage", "share", "cache", "whole", "checkpointed", "trainer"), STUDIED)
def test_the_plan_agrees_with_the_study(
    name: str,
    stage: int,
    share: float,
    cache: float,
    whole: float | None,
    checkpointed: float | None,
    trainer: dict[int, float],
) -> None:
    settings = {"compute.zero_stage": stage, "generation.gpu_memory_utilization": share, "compute.optimizer_offload": False}
    config = with_settings(load_config(CONFIGS / f"{name}.toml"), {**settings, "generation.tensor_parallel": 1})
    model = architecture_of(config.base_model)
    assert model is not None
    assert memory_plan(config, model, H100).cache_tokens / 1000 == pytest.approx(cache, rel=0.01)
    tokens = config.compute.micro_batch_tokens
    if whole and checkpointed:
        assert model.layers * layer_bytes(model, 2) * tokens / GIB == pytest.approx(whole, rel=0.01)
        once = model.layers * 2 * model.hidden + layer_bytes(model, 2)
        assert once * tokens / GIB == pytest.approx(checkpointed, rel=0.03)
    for number, gib in trainer.items():
        parts = memory_plan(with_settings(config, {"compute.num_processes": number}), model, H100).phases[2].parts
        # The study counts the buffers of DeepSpeed with the trainer; gradients in float32 take two bytes a weight more.
        buffers = parts["other"] - 1.5 if stage > 1 else 0
        found = parts["weights"] + parts["gradients"] + parts["optimiser"] + buffers
        more = 2 * model.parameters / (1 if stage == 1 else number) / GIB
        assert found == pytest.approx(gib + more, rel=0.06)


SMALL = {
    "vocab_size": 96, "hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 384
}  # fmt: skip
EXPERTS = {"num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 96}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(("kind", "more"), [("Qwen3", {}), ("Qwen2", {}), ("Llama", {}), ("Qwen3Moe", EXPERTS)])
def test_a_layer_keeps_what_the_formula_says(kind: str, more: dict[str, int], dtype: str) -> None:
    tokens, kept = 64, {}
    for layers in (1, 3):
        config = getattr(transformers, f"{kind}Config")(**SMALL, **more, num_hidden_layers=layers)
        model = getattr(transformers, f"{kind}ForCausalLM")(config).to(getattr(torch, dtype))
        own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        sizes: dict[int, int] = {}
        held = []

        def keep(
            tensor: torch.Tensor, own: set[int] = own, sizes: dict[int, int] = sizes, held: list[Any] = held
        ) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                held.append(storage)
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            hidden = model.base_model(input_ids=torch.arange(tokens)[None] % 96, use_cache=False).last_hidden_state
        kept[layers] = sum(sizes.values())
        assert hidden.requires_grad
    architecture = Architecture.of(config.to_dict())
    measured = (kept[3] - kept[1]) / 2 / tokens
    assert layer_bytes(architecture, getattr(torch, dtype).itemsize) == pytest.approx(measured, rel=0.03)
    assert architecture.parameters == pytest.approx(sum(weight.numel() for weight in model.parameters()), rel=0.01)


def test_what_an_h100_kept_for_the_backward_pass() -> None:
    # docs/performance.md: GiB after the forward pass over what weights and optimiser take.
    tokens = 16_384
    small, large = architecture_of("Qwen/Qwen3-0.6B"), architecture_of("Qwen/Qwen3-1.7B")
    assert small is not None and large is not None
    for model, is_checkpointed, measured in ((small, False, 30.9), (small, True, 1.06), (large, True, 2.06)):
        layer = 2 * model.hidden if is_checkpointed else layer_bytes(model, 2)
        assert tokens * (model.layers * layer + norm_bytes(model, 2)) / GIB == pytest.approx(measured, rel=0.06)


def test_the_keys_do_what_they_are_for() -> None:
    config = load_config(CONFIGS / "qwen3-8b.toml")

    def changed(**settings: Any) -> dict[str, float]:
        keys = {key.replace("__", "."): value for key, value in settings.items()}
        return plan_of(with_settings(config, keys)).phases[2].parts

    plain = changed()
    assert changed(compute__gradient_checkpointing=False)["activations"] > 10 * plain["activations"]
    assert changed(compute__micro_batch_tokens=81_920)["activations"] == pytest.approx(4 * plain["activations"])
    assert changed(generation__sleep=False)["engine"] == pytest.approx(0.71 * 79.6)
    # The engine is awake when the trainer is asked for log-probs, which gathers layers.
    assert (
        plan_of(config).phases[1].parts["other"]
        > plan_of(with_settings(config, {"compute.zero_stage": 2})).phases[1].parts["other"] + 1
    )
    assert changed(compute__optimizer_offload=True).get("optimiser") == 0
    assert changed(compute__num_processes=4)["optimiser"] == pytest.approx(2 * plain["optimiser"])
    assert changed(compute__zero_stage=2)["weights"] == pytest.approx(8 * plain["weights"])
    assert changed(compute__zero_stage=1)["gradients"] == pytest.approx(8 * plain["gradients"])
    with_reference = config.model_copy(update={"train": config.train.model_copy(update={"measure_kl": True})})
    assert plan_of(with_reference).phases[2].parts["weights"] == pytest.approx(2 * plain["weights"])
    # A sequence that is longer than a micro-batch is one by itself.
    assert changed(compute__micro_batch_tokens=1)["activations"] == pytest.approx(plain["activations"] * 18_432 / 20_480)
    shared = plan_of(with_settings(config, {"generation.tensor_parallel": 2}))
    assert shared.cache_tokens > 2 * plan_of(config).cache_tokens
    assert plan_of(with_settings(config, {"compute.optimizer_offload": True})).host_gib == pytest.approx(
        18 * 8.19e9 / GIB, rel=0.01
    )


@pytest.mark.parametrize(
    ("name", "number", "needed"),
    [
        ("qwen3-0.6b", 1, {}),
        ("qwen3-1.7b", 1, {"generation.gpu_memory_utilization": 0.67}),
        ("qwen3-4b-thinking", 1, {"compute.optimizer_offload": True}),
        ("qwen3-30b-a3b-thinking", 1, None),
    ],
)
def test_the_least_that_has_to_be_turned(name: str, number: int, needed: dict[str, Any] | None) -> None:
    config = with_settings(load_config(CONFIGS / f"{name}.toml"), {"compute.num_processes": number})
    model = architecture_of(config.base_model)
    assert model is not None
    settings = settings_that_fit(config, model, H100)
    assert settings == needed
    if settings is not None:
        assert memory_plan(with_settings(config, settings), model, H100).problems == []


def check(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["check", *arguments])


def test_check_refuses_what_cannot_fit_and_names_the_keys(home: Path) -> None:
    file = str(CONFIGS / "qwen3-8b.toml")
    result = check(file, "--card-gib", "79.6", "--set", "compute.zero_stage=1", "--format", "json")
    tree = json.loads(result.stdout)
    remark = next(remark for remark in tree["remarks"] if remark["rule"] == "out-of-memory")
    assert (result.exit_code, tree["passed"], remark["severity"]) == (1, False, "error")
    assert "generation: " in remark["found"]
    cured = [argument for setting in remark["settings"] for argument in ("--set", setting)]
    assert check(file, "--card-gib", "79.6", "--set", "compute.zero_stage=1", *cured).exit_code == 0
    assert {phase["name"] for phase in tree["memory"]["phases"]} >= {"engine alone", "backward pass"}
    on_one = ("--set", "compute.num_processes=1", "--set", "generation.tensor_parallel=1")
    one = check(str(CONFIGS / "qwen3-30b-a3b-thinking.toml"), "--card-gib", "79.6", *on_one)
    assert one.exit_code == 1
    assert "It takes 2 such GPUs." in one.output


def test_check_shows_the_plan_and_leaves_cpu_configurations_alone(home: Path) -> None:
    shown = check(str(CONFIGS / "qwen3-0.6b-1gpu.toml"), "--card-gib", "79.6")
    assert shown.exit_code == 0
    assert "1 × 79.6 GiB" in shown.output and "backward pass" in shown.output
    tiny = check(str(CONFIGS / "smoke.toml"), "--card-gib", "8")
    assert tiny.exit_code == 0
    assert "GiB a GPU" not in tiny.output


def test_a_file_is_looked_for_where_the_user_is(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text((CONFIGS / "smoke.toml").read_text().replace('name = "smoke"', 'name = "mine"'))
    monkeypatch.chdir(tmp_path)
    done = check("mine.toml")
    assert done.exit_code == 0 and "mine: " in done.output


def test_the_table_of_all_files_is_that_of_the_documents(home: Path) -> None:
    rows = [line.split(" | ") for line in render_memory().splitlines()[2:]]
    assert list(dict.fromkeys(row[0].strip("| ") for row in rows)) == [Path(path).stem for path in PLANNED]
    assert all("fits" in row[-1] for row in rows if "its own" in row[1])
    assert "qwen3-8b" in check("--memory", "--card-gib", "79.6").output


PLANNED = [path for path in shipped_configs() if path in MADE_FOR_80_GB or path.endswith("-lora.toml")]


def test_an_unknown_model_is_not_planned_and_a_folder_is(tmp_path: Path) -> None:
    assert architecture_of("org/model-7b") is None
    (tmp_path / "config.json").write_text(
        json.dumps({**SMALL, "num_hidden_layers": 2, "model_type": "qwen3"}), encoding="utf-8"
    )
    found = architecture_of(str(tmp_path))
    assert found == Architecture(128, 2, 4, 2, 32, 384, 96, is_tied=False, has_head_norms=True)
    assert replace(found, is_tied=True).parameters == found.parameters - 96 * 128


def test_an_engine_alone_has_what_a_trainer_would_take_from_its_cache(home: Path) -> None:
    plan = plan_of(load_config(CONFIGS / "qwen3-8b.toml"))
    alone, generation = plan.phases[:2]
    assert (alone.parts["engine"], generation.parts["engine"]) == pytest.approx((0.85 * 79.6, 0.71 * 79.6))
    token_bytes = 2 * 36 * 8 * 128 * 2
    assert plan.cache_tokens_alone - plan.cache_tokens == pytest.approx(0.14 * 79.6 * GIB / token_bytes, abs=1)
    shown = check(str(CONFIGS / "qwen3-8b.toml"), "--card-gib", "79.6").output
    assert "in training, 360 k tokens" in " ".join(shown.split())


def test_adapters_fit_the_small_card_that_their_configuration_is_for() -> None:
    config = load_config(CONFIGS / "qwen3-1.7b-lora.toml")
    plan = plan_of(config, Card("24 GB", 22.5))  # the smallest that is sold as one
    assert plan.problems == [] and plan.cache_sequences > 7
    whole = config.model_copy(update={"train": config.train.model_copy(update={"lora": None})})
    assert plan_of(whole, Card("24 GB", 22.5)).problems


def test_the_card_of_the_machine_is_what_its_driver_says(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text('#!/bin/sh\nprintf "NVIDIA H100 80GB HBM3, 81559\\nNVIDIA A10, 23028\\n"\n', encoding="utf-8")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert card_here() == (Card("NVIDIA A10", 23028 / 1024), 2)
    assert "22.5 GiB (NVIDIA A10)" in check(str(CONFIGS / "qwen3-0.6b-1gpu.toml")).output
    driver.write_text('#!/bin/sh\nprintf "NVIDIA H100 80GB HBM3, 81559\\n"\n', encoding="utf-8")
    [finding] = _memory()
    assert finding.found.startswith("1 × 79.6 GiB: room for ")
    assert "qwen3-1.7b-1gpu" in finding.found and "qwen3-8b" not in finding.found
    driver.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    assert (card_here(), _memory()) == (None, [])
