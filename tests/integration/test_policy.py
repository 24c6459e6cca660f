"""The DeepSpeed policy against plain torch: log-probs, gradients over micro-batches, steps, and state on disk."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline_lib.config import RewardConfig, TrainConfig
from pipeline_lib.generation.sampling import Sample
from pipeline_lib.records import Completion, Grade, Prompt
from pipeline_lib.rewards import make_reward
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.training.checkpoints import Checkpoints, Progress, saved_steps
from pipeline_lib.training.groups import RolloutGroups
from pipeline_lib.training.policy import Policy
from pipeline_lib.training.ranks import init_distributed
from pipeline_lib.training.update import update_policy


@pytest.fixture(scope="module", autouse=True)
def one_rank() -> Iterator[None]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(variables)
    if not dist.is_initialized():
        init_distributed()
    yield
    for name in variables:
        os.environ.pop(name)


def settings(**changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "steps": 4,
        "prompts_per_step": 4,
        "num_rollouts": 4,
        "rollout_limit_tokens": 64,
        "learning_rate": 1e-3,
        "precision": "float32",
        "micro_batch_tokens": 150,
        "max_grad_norm": 1e9,
    }
    return TrainConfig.model_validate({**values, **changes})


def make_groups(staleness: int = 1, right: tuple[int, ...] = (0, 1, 5, 6, 11)) -> RolloutGroups:
    """Four groups of four rollouts of random tokens; the rollouts at the positions in `right` are correct."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for position in range(16):
        length = int(torch.randint(3, 30, (1,), generator=generator))
        ids = torch.randint(3, 300, (length,), generator=generator).tolist()
        completion = Completion(ids, [-1.0] * length, "", "stop")
        prompt = Prompt(f"p{position // 4}", "s", "d", "", "")
        rows.append(Sample(prompt, [1, 9, 8, 7], position % 4, completion, Grade("", position in right, "")))
    groups = RolloutGroups(rows, 4, staleness)
    groups.assign_rewards(make_reward(RewardConfig(name="vanilla", target_tokens=64)))
    return groups


def plain_logprobs(model: torch.nn.Module, sample: Sample, temperature: float = 1.0) -> torch.Tensor:
    ids = torch.tensor([sample.prompt_ids + sample.completion.token_ids])
    logprobs = torch.log_softmax(model(ids).logits[0] / temperature, dim=-1)
    start = len(sample.prompt_ids)
    return torch.stack([logprobs[start - 1 + i, token] for i, token in enumerate(sample.completion.token_ids)])


def test_logprobs_equal_those_of_single_unpadded_sequences() -> None:
    policy = Policy(settings(temperature=0.7), str(BASE_FOLDER), None)
    model = AutoModelForCausalLM.from_pretrained(BASE_FOLDER, dtype=torch.float32)
    samples = make_groups().samples
    scored = policy.score([s.prompt_ids for s in samples], [s.completion.token_ids for s in samples])
    for sample, row in zip(samples, scored, strict=True):
        assert row == pytest.approx(plain_logprobs(model, sample, 0.7).tolist(), abs=2e-5)


@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_one_step_equals_plain_torch_adamw_on_the_whole_batch(zero_stage: int) -> None:
    """On-policy the clipped loss is -sum(A · log p) / tokens in value of its gradient; three groups have a signal, one has not."""
    config = settings(zero_stage=zero_stage)
    policy = Policy(config, str(BASE_FOLDER), None)
    groups = make_groups()
    model = AutoModelForCausalLM.from_pretrained(BASE_FOLDER, dtype=torch.float32)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    loss, tokens = torch.zeros(()), 0
    for sample, advantage in zip(groups.samples, groups.advantages_PN.flatten().tolist(), strict=True):
        if sample.prompt.prompt_id == "p3":
            assert advantage == 0
            continue
        loss = loss - (advantage * plain_logprobs(model, sample)).sum()
        tokens += sample.num_tokens
    (loss / tokens).backward()
    norm = torch.sqrt(sum((p.grad**2).sum() for p in model.parameters()))  # type: ignore[arg-type, operator]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=config.adam_betas, weight_decay=0.0)
    optimizer.step()
    assert len(policy.micro_batches(groups.sequences(0))) > 1
    metrics = update_policy(policy, None, groups, config)
    assert metrics.num_tokens == tokens
    assert metrics.grad_norm == pytest.approx(float(norm), rel=1e-4)
    assert metrics.optimizer_steps == 1
    moved = 0.0
    for name, weight in policy.named_weights():
        assert torch.allclose(weight, dict(model.named_parameters())[name], atol=2e-4), name
        moved = max(moved, float((weight - before[name]).abs().max()))
    assert moved > 5e-4


def test_a_batch_without_any_signal_takes_no_step() -> None:
    policy = Policy(settings(), str(BASE_FOLDER), None)
    update_policy(policy, None, make_groups(), settings())
    before = {name: weight.clone() for name, weight in policy.named_weights()}
    metrics = update_policy(policy, None, make_groups(right=()), settings())
    assert (metrics.loss, metrics.grad_norm, metrics.optimizer_steps, metrics.num_tokens) == (None, None, 1, 0)
    assert all(torch.equal(weight, before[name]) for name, weight in policy.named_weights())


def test_staleness_takes_several_steps_with_ratios_to_the_weights_that_generated() -> None:
    config = settings(staleness=2)
    policy = Policy(config, str(BASE_FOLDER), None)
    metrics = update_policy(policy, None, make_groups(staleness=2), config)
    assert metrics.optimizer_steps == 2
    assert metrics.clip_fraction is not None
    assert metrics.clip_fraction > 0, "the second step's ratios must differ from 1"


def test_learning_rate_warms_up() -> None:
    config = settings(warmup_steps=2)
    policy = Policy(config, str(BASE_FOLDER), None)
    rates = [update_policy(policy, None, make_groups(), config).learning_rate for _ in range(3)]
    assert rates == pytest.approx([5e-4, 1e-3, 1e-3])


def test_checkpoints_restore_the_whole_state_and_keep_the_newest_and_the_best(tmp_path: Path) -> None:
    config = settings(warmup_steps=8)
    tokenizer = AutoTokenizer.from_pretrained(BASE_FOLDER)
    policy = Policy(config, str(BASE_FOLDER), None)
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    progress = Progress()
    for step, accuracy in enumerate((0.5, 0.9, 0.6, 0.7), start=1):
        update_policy(policy, None, make_groups(), config)
        progress = progress.with_checkpoint(step, accuracy, 40.0)
        checkpoints.save(policy, tokenizer, progress, accuracy)
    assert saved_steps(tmp_path) == [2, 3, 4]
    (tmp_path / "step-00009").mkdir()  # what a crash leaves: no progress.json
    resumed = Policy(config, str(BASE_FOLDER), None)
    assert Checkpoints(tmp_path, 2).restore(resumed) == progress
    assert progress.best_step == 2
    assert resumed.optimizer_steps == 4
    assert resumed.learning_rate == policy.learning_rate
    for one in (policy, resumed):
        update_policy(one, None, make_groups(), config)
    weights = dict(policy.named_weights())
    assert all(torch.equal(weight, weights[name]) for name, weight in resumed.named_weights())
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "step-00004" / "model")
    assert model.config.tie_word_embeddings
    assert AutoTokenizer.from_pretrained(tmp_path / "step-00004" / "model").chat_template


def test_the_best_is_the_more_accurate_then_the_shorter() -> None:
    progress = Progress().with_checkpoint(1, 0.5, 60.0)
    assert progress.with_checkpoint(2, 0.5, 70.0).best_step == 1
    assert progress.with_checkpoint(2, 0.5, 50.0).best_step == 2
    assert progress.with_checkpoint(2, 0.6, 90.0).best_step == 2
    assert Progress().with_checkpoint(3, None, None).best_step == 3
