"""What spares the trainer memory changes no number: checkpointed layers, gradients summed over micro-batches, an offloaded step."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.utils import safe_get_full_grad
from test_policy import make_groups, make_policy, settings
from torch.autograd.graph import saved_tensors_hooks
from transformers.modeling_layers import GradientCheckpointingLayer

from pipeline_lib.config import ComputeConfig
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.training import model
from pipeline_lib.training.batches import TokenSequence
from pipeline_lib.training.policy import Policy
from pipeline_lib.training.update import update_policy

pytestmark = pytest.mark.usefixtures("one_rank")


def saved_bytes(policy: Policy) -> int:
    """Bytes that a forward pass keeps for the backward pass, each storage once; parameters are kept anyway."""
    known = {parameter.untyped_storage().data_ptr() for parameter in policy.engine.module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        alive = policy.logprobs(policy.micro_batches(make_groups().sequences(0))[0])
    assert alive.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_checkpointed_layers_keep_less_and_give_the_same_gradient(zero_stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    checkpoint = model.checkpoint

    def spy(function: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(getattr(getattr(function, "func", None), "__self__", None))
        return checkpoint(function, *arguments, **options)

    monkeypatch.setattr(model, "checkpoint", spy)
    plain, checkpointed = (
        make_policy(settings(), zero_stage=zero_stage, gradient_checkpointing=acts) for acts in (False, True)
    )
    layers = [module for module in checkpointed.engine.module.modules() if isinstance(module, GradientCheckpointingLayer)]
    assert saved_bytes(checkpointed) < 0.5 * saved_bytes(plain)
    assert len(layers) >= 2
    assert all(layer in seen for layer in layers)
    norms = [update_policy(policy, None, make_groups(), settings()).grad_norm for policy in (plain, checkpointed)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-6)


def base_with(folder: Path, **changes: object) -> str:
    """The tiny base model with other values in its config."""
    shutil.copytree(BASE_FOLDER, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return str(folder)


def test_a_model_with_dropout_trains_on_the_log_probs_that_it_generates_with(tmp_path: Path) -> None:
    folder = base_with(tmp_path / "model", attention_dropout=0.5)
    policy = Policy(settings(), ComputeConfig(precision="float32", gradient_checkpointing=True), folder, None)
    assert policy.engine.module.model.config.attention_dropout == 0.5
    batch = policy.micro_batches(make_groups().sequences(0))[0]
    logprobs = policy.logprobs(batch)
    policy.backward(logprobs.sum(), is_last=True)
    assert torch.equal(logprobs.detach(), make_policy(settings()).logprobs(batch).detach())


MICRO_BATCHES = 200


def micro_batches(policy: Policy, rows: int) -> list[Any]:
    """The same sequences, two in each of 200 micro-batches or one in each of 400."""
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 300, (2 * MICRO_BATCHES, 12), generator=draws).tolist()
    sequences = [TokenSequence(row[:2], row[2:], [0.0] * 10, 1.0) for row in ids]
    parts = [sequences[start : start + rows] for start in range(0, len(sequences), rows)]
    return [batch for part in parts for batch in policy.micro_batches(part)]


def loss_of(logprobs_BT: torch.Tensor) -> torch.Tensor:
    return -logprobs_BT.sum() / MICRO_BATCHES


@pytest.mark.parametrize(("rows", "zero_stages"), [(2, (1, 2, 3)), (1, (2,))])
def test_bfloat16_gradients_of_many_micro_batches_sum_as_in_float32(
    rows: int, zero_stages: tuple[int, ...], tmp_path: Path
) -> None:
    """Gradients that agree in direction: each is far below the sum, where bfloat16 would drop it."""
    folder = base_with(tmp_path / "model", num_hidden_layers=1, layer_types=["full_attention"])
    policies = [Policy(settings(), ComputeConfig(zero_stage=stage), folder, None) for stage in zero_stages]
    batches = micro_batches(policies[0], rows)
    assert len(batches) == 2 * MICRO_BATCHES / rows
    plain = model.ResponseLogprobs(model.load_causal_lm(folder, None, ComputeConfig()), 1.0)
    expected = {name: torch.zeros(parameter.shape) for name, parameter in plain.model.named_parameters()}
    for batch in batches:
        loss = loss_of(plain(batch.input_ids_BT, batch.response_mask_BT))
        gradients = torch.autograd.grad(loss, list(plain.parameters()))
        for total, gradient in zip(expected.values(), gradients, strict=True):
            total += gradient
    for policy in policies:
        for number, batch in enumerate(batches):
            policy.backward(loss_of(policy.logprobs(batch)), is_last=number == len(batches) - 1)
        for name, parameter in policy.engine.module.model.named_parameters():
            error = (safe_get_full_grad(parameter).float() - expected[name]).norm() / expected[name].norm()
            assert error < 1e-3, name


@pytest.mark.parametrize(("zero_stage", "precision"), [(1, "float32"), (2, "bfloat16"), (3, "float32")])
def test_an_offloaded_optimizer_takes_the_same_steps(zero_stage: int, precision: str) -> None:
    plain, offloaded = (
        make_policy(settings(), zero_stage=zero_stage, precision=precision, optimizer_offload=is_on) for is_on in (False, True)
    )
    for _ in range(2):
        metrics = [update_policy(policy, None, make_groups(), settings()) for policy in (plain, offloaded)]
        assert metrics[1].grad_norm == pytest.approx(metrics[0].grad_norm, rel=1e-5)
    weights = dict(plain.named_weights())
    for name, weight in offloaded.named_weights():
        assert torch.allclose(weight, weights[name], atol=1e-6), name
