"""LoRA on the DeepSpeed policy: what is trained, what the engine and other tools get of it, and what comes back after a resume."""

from pathlib import Path

import peft
import pytest
import torch
from test_policy import base_model, make_groups, make_policy, plain_logprobs, settings
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline_lib.config import ComputeConfig, RunConfig, TrainConfig
from pipeline_lib.memory import architecture_of
from pipeline_lib.memory.plan import trained_parameters
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.training.checkpoint_files import choose_resume_step
from pipeline_lib.training.checkpoints import Checkpoints, Progress
from pipeline_lib.training.policy import Policy
from pipeline_lib.training.update import Reference, update_policy

pytestmark = pytest.mark.usefixtures("one_rank")
# The seven linear layers of three blocks, adapted with rank 4.
NUM_ADAPTERS, NUM_TRAINED = 42, 3 * 4 * (2 * (128 + 128) + 2 * (128 + 64) + 3 * (128 + 384))


def lora_settings(lora: dict[str, object] | None = None, **changes: object) -> TrainConfig:
    return settings(lora={"rank": 4, "alpha": 8, **(lora or {})}, learning_rate=1e-2, **changes)


def scores(policy: Policy) -> list[list[float]]:
    samples = make_groups().samples
    return policy.score([sample.prompt_ids for sample in samples], [sample.completion.token_ids for sample in samples])


def plain_scores(model: torch.nn.Module) -> list[list[float]]:
    with torch.no_grad():
        return [plain_logprobs(model, sample).tolist() for sample in make_groups().samples]


def assert_close(found: list[list[float]], expected: list[list[float]]) -> None:
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, abs=5e-5)


def test_untrained_adapters_change_nothing_and_only_they_are_trained() -> None:
    policy, base = make_policy(lora_settings()), base_model()
    assert_close(scores(policy), plain_scores(base))
    weights, plain = dict(policy.named_weights()), dict(base.named_parameters())
    assert list(weights) == list(plain), "whole tensors under the names of the model, in its order"
    assert all(torch.equal(weights[name], plain[name]) for name in plain)
    trained = [parameter for parameter in policy.engine.module.parameters() if parameter.requires_grad]
    assert (len(trained), sum(parameter.numel() for parameter in trained)) == (NUM_ADAPTERS, NUM_TRAINED)
    planned = RunConfig.model_construct(train=lora_settings())
    architecture = architecture_of("builtin:tiny")
    assert architecture is not None
    assert trained_parameters(planned, architecture) == NUM_TRAINED


@pytest.mark.parametrize("compute", [{}, {"gradient_checkpointing": True}, {"zero_stage": 3}], ids=str)
def test_the_merged_weights_are_those_that_are_trained(compute: dict[str, object]) -> None:
    """The engine's tensors give the trainer's log-probs; making them leaves what is trained as it was."""
    config = lora_settings()
    policy, plainest = make_policy(config, **compute), make_policy(config)
    norms = [update_policy(one, None, make_groups(config), config).grad_norm for one in (policy, plainest)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    before = scores(policy)
    merged = {name: weight.clone() for name, weight in policy.named_weights()}
    assert scores(policy) == before
    model = base_model()
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, merged[name])}
    assert moved == {name for name in merged if "_proj" in name}
    model.load_state_dict(merged, strict=False)
    assert_close(plain_scores(model), before)
    assert max(abs(new - old) for new, old in zip(before[0], plain_scores(base_model())[0], strict=True)) > 0.01


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_the_base_model_of_the_kl_is_the_policy_without_its_adapters(zero_stage: int) -> None:
    config = lora_settings(kl_coefficient=0.5)
    run = RunConfig.model_construct(train=config, compute=ComputeConfig(precision="float32"), model_revision=None)
    policy, other = (make_policy(config, zero_stage=zero_stage) for _ in range(2))
    own, second = (
        Reference(run, "not loaded", policy),
        Reference(run.model_copy(update={"train": settings()}), str(BASE_FOLDER)),
    )
    for step in (1, 2):
        found = update_policy(policy, own, make_groups(config), config)
        expected = update_policy(other, second, make_groups(config), config)
        assert found.kl == pytest.approx(expected.kl, rel=1e-3, abs=1e-6)
        assert found.grad_norm == pytest.approx(expected.grad_norm, rel=1e-3)
        assert found.kl is not None
        assert (found.kl > 1e-3) is (step == 2)


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_a_checkpoint_has_all_that_training_and_other_tools_need(zero_stage: int, tmp_path: Path) -> None:
    config = lora_settings({"dropout": 0.1}, warmup_steps=8)
    policy, checkpoints = make_policy(config, zero_stage=zero_stage), Checkpoints(tmp_path, keep_last=2)
    norm = update_policy(policy, None, make_groups(config), config).grad_norm
    whole = update_policy(make_policy(lora_settings()), None, make_groups(config), config).grad_norm
    assert norm != pytest.approx(whole, rel=1e-3), "dropout acts"
    progress = Progress().with_checkpoint(1, 0.5, 40.0)
    folder, saved = checkpoints.save(policy, AutoTokenizer.from_pretrained(BASE_FOLDER), progress, 0.5), scores(policy)
    update_policy(policy, None, make_groups(config), config)
    after = {name: weight.clone() for name, weight in policy.named_weights()}

    resumed = make_policy(config, zero_stage=zero_stage)
    assert Checkpoints(tmp_path, 2).restore(resumed, choose_resume_step(tmp_path)) == progress
    update_policy(resumed, None, make_groups(config), config)
    assert all(torch.equal(weight, after[name]) for name, weight in resumed.named_weights()), "dropout draws the same again"

    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    assert model.config.tie_word_embeddings
    assert_close(plain_scores(model), saved)
    assert_close(plain_scores(peft.PeftModel.from_pretrained(base_model(), folder / "adapter")), saved)


def test_gradient_checkpointing_draws_the_dropout_again() -> None:
    norms = []
    for is_checkpointed in (False, True):
        torch.manual_seed(0)
        policy = make_policy(lora_settings({"dropout": 0.5}), gradient_checkpointing=is_checkpointed)
        norms.append([update_policy(policy, None, make_groups(), settings()).grad_norm for _ in range(2)])
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (["q_proj", "qproj"], "the model has no layer qproj"),
        (["q_proj", "lm_head"], "lm_head is no linear layer of the model's blocks"),
        (["embed_tokens"], "model.embed_tokens is no linear layer"),
    ],
)
def test_layers_that_cannot_have_an_adapter_are_refused(targets: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=r"train\.lora\.target_modules = .*" + told):
        make_policy(lora_settings({"target_modules": targets}))


def test_the_seed_draws_the_adapters() -> None:
    def first(seed: int) -> torch.Tensor:
        policy = Policy(lora_settings(), ComputeConfig(precision="float32"), str(BASE_FOLDER), None, seed)
        return next(parameter for parameter in policy.engine.module.parameters() if parameter.requires_grad).detach().clone()

    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(4))
