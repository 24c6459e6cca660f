"""The DeepSpeed policy against plain torch: log-probs, gradients over micro-batches, steps, and state on disk."""

import os
import time
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_full_grad
from loopback import free_port, rank_variables, run_ranks
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline_lib.config import ComputeConfig, RewardConfig, RunConfig, TrainConfig, WatchConfig, load_config
from pipeline_lib.generation.sampling import Sample
from pipeline_lib.messages.finite import NotFiniteError
from pipeline_lib.records import Alarm, Completion, Grade, Prompt
from pipeline_lib.rewards import Outcomes, Reward, make_reward
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.training.checkpoint_files import CheckpointError, checkpoint_records, checkpoints_in, choose_resume_step
from pipeline_lib.training.checkpoints import Checkpoints, CheckpointTimer, Progress
from pipeline_lib.training.groups import RolloutGroups
from pipeline_lib.training.loop import effective_alarms
from pipeline_lib.training.policy import Policy
from pipeline_lib.training.ranks import init_distributed, largest, wait_at_most
from pipeline_lib.training.trainer import Trainer
from pipeline_lib.training.update import Reference, update_policy

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("one_rank")


def settings(**changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "steps": 4,
        "prompts_per_step": 4,
        "num_rollouts": 4,
        "rollout_limit_tokens": 64,
        "learning_rate": 1e-3,
        "max_grad_norm": 1e9,
    }
    return TrainConfig.model_validate({**values, **changes})


def make_policy(config: TrainConfig, **compute: object) -> Policy:
    """The tiny model under these settings, in float32 and small micro-batches unless `compute` says otherwise."""
    values = {"precision": "float32", "micro_batch_tokens": 150, **compute}
    return Policy(config, ComputeConfig.model_validate(values), str(BASE_FOLDER), None)


def make_groups(config: TrainConfig | None = None, right: tuple[int, ...] = (0, 1, 5, 6, 11)) -> RolloutGroups:
    """Four groups of four rollouts of random tokens; the rollouts at the positions in `right` are correct."""
    groups = RolloutGroups(make_samples(right), config or settings())
    groups.assign_rewards(make_reward(RewardConfig(name="vanilla", target_tokens=16)))
    return groups


def make_samples(right: tuple[int, ...] = (0, 1, 5, 6, 11)) -> list[Sample]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for position in range(16):
        length = int(torch.randint(3, 30, (1,), generator=generator))
        ids = torch.randint(3, 300, (length,), generator=generator).tolist()
        # Neither far above nor far below the trainer's: those of random tokens spread over some 20 nats.
        engine_logprobs = (-20 * torch.rand(length, generator=generator)).tolist()
        completion = Completion(ids, engine_logprobs, "", "length" if length > 24 else "stop")
        prompt = Prompt(f"p{position // 4}", "s", "d", "", "")
        rows.append(Sample(prompt, [1, 9, 8, 7], position % 4, completion, Grade("", position in right, "")))
    return rows


def plain_logprobs(model: torch.nn.Module, sample: Sample, temperature: float = 1.0) -> torch.Tensor:
    ids = torch.tensor([sample.prompt_ids + sample.completion.token_ids])
    logprobs = torch.log_softmax(model(ids).logits[0] / temperature, dim=-1)
    start = len(sample.prompt_ids)
    return torch.stack([logprobs[start - 1 + i, token] for i, token in enumerate(sample.completion.token_ids)])


def test_logprobs_equal_those_of_single_unpadded_sequences() -> None:
    policy = make_policy(settings(temperature=0.7))
    model = AutoModelForCausalLM.from_pretrained(BASE_FOLDER, dtype=torch.float32)
    samples = make_groups().samples
    scored = policy.score([s.prompt_ids for s in samples], [s.completion.token_ids for s in samples])
    for sample, row in zip(samples, scored, strict=True):
        assert row == pytest.approx(plain_logprobs(model, sample, 0.7).tolist(), abs=2e-5)


def base_model() -> torch.nn.Module:
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(BASE_FOLDER, dtype=torch.float32)
    return model


def kept(sample: Sample, config: TrainConfig) -> bool:
    """Whether a rollout is trained on: p3 has no signal, and the masks are those of Table 1 and of overlong filtering."""
    masked = config.negative_rollouts == "-L&C" and sample.grade.correct and sample.num_tokens > 16
    cut = config.overlong_filtering and sample.completion.finish_reason == "length"
    return sample.prompt.prompt_id != "p3" and not masked and not cut


def plain_loss(model: torch.nn.Module, groups: RolloutGroups, config: TrainConfig) -> tuple[torch.Tensor, int]:
    """Minus the policy gradient's objective on the whole batch, rollout by rollout, and the number of tokens in it."""
    total, num_tokens, num_rollouts = torch.zeros(()), 0, 0
    for sample, advantage in zip(groups.samples, groups.advantages_PN.flatten().tolist(), strict=True):
        if not kept(sample, config):
            continue
        logprobs = plain_logprobs(model, sample)
        weights = torch.ones(sample.num_tokens)
        if config.engine_ratio_cap is not None:
            weights = torch.exp(logprobs.detach() - torch.tensor(sample.completion.logprobs)).clamp(max=config.engine_ratio_cap)
            assert (weights == config.engine_ratio_cap).any() and (weights < config.engine_ratio_cap).any()
        gain = (weights * advantage * logprobs).sum()
        total = total - (gain / sample.num_tokens if config.loss_aggregation == "sequence_mean" else gain)
        num_tokens += sample.num_tokens
        num_rollouts += 1
    denominators = {"token_mean": num_tokens, "sequence_mean": num_rollouts, "dr_grpo": num_rollouts * 64}
    return total / denominators[config.loss_aggregation], num_tokens


def gradient_norm(model: torch.nn.Module) -> float:
    return float(torch.sqrt(sum((p.grad**2).sum() for p in model.parameters())))  # type: ignore[arg-type, operator, misc]


def plain_optimizer(model: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-3, betas=config.adam_betas, weight_decay=0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"zero_stage": 1},
        {"zero_stage": 2},
        {"zero_stage": 3},
        {"loss_aggregation": "sequence_mean"},
        {"loss_aggregation": "dr_grpo"},
        {"engine_ratio_cap": 2.0},
        {"loss_aggregation": "sequence_mean", "engine_ratio_cap": 0.5},
        {"importance_ratio": "sequence", "dual_clip": 3.0},
        {"objective": "cispo"},
        {"advantage": "rloo", "loss_aggregation": "sequence_mean", "negative_rollouts": "-L&C"},
        {"overlong_filtering": True},
    ],
    ids=str,
)
def test_one_step_equals_plain_torch_adamw_on_the_whole_batch(changes: dict[str, object]) -> None:
    """On-policy every objective has the gradient of -A · log p; three groups have a signal, one has not."""
    compute = {key: changes[key] for key in changes if key == "zero_stage"}
    config = settings(**{key: changes[key] for key in changes if key not in compute})
    policy = make_policy(config, **compute)
    groups = make_groups(config)
    model = base_model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    loss, tokens = plain_loss(model, groups, config)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = gradient_norm(model)
    plain_optimizer(model, config).step()
    assert len(policy.micro_batches(groups.sequences(0))) > 1
    metrics = update_policy(policy, None, groups, config)
    assert metrics.num_tokens == tokens
    assert metrics.grad_norm == pytest.approx(norm, rel=1e-4)
    assert (metrics.optimizer_steps, metrics.batch_optimizer_steps) == (1, 1)
    assert (metrics.engine_ratio_capped_fraction is None) is (config.engine_ratio_cap is None)
    moved, plain = 0.0, dict(model.named_parameters())
    largest = max(float(parameter.grad.abs().max()) for parameter in plain.values() if parameter.grad is not None)
    for name, weight in policy.named_weights():
        gradient = plain[name].grad
        assert gradient is not None
        # Adam's first step is a sign: where the gradient is rounding noise, the processor decides which.
        is_sure = gradient.abs() > 1e-6 * largest
        assert is_sure.float().mean() > 0.9 or "norm" in name or "embed" in name, name
        assert torch.allclose(weight[is_sure], plain[name][is_sure], atol=2e-4), name
        moved = max(moved, float((weight - before[name]).abs().max()))
    assert moved > 5e-4


def test_masked_rollouts_leave_the_denominator() -> None:
    sizes = [
        update_policy(make_policy(config), None, make_groups(config), config).num_tokens
        for config in (settings(), settings(negative_rollouts="-L&C"), settings(overlong_filtering=True))
    ]
    samples = [sample for sample in make_samples() if sample.prompt.prompt_id != "p3"]
    tokens = sum(sample.num_tokens for sample in samples)
    long_and_correct = sum(sample.num_tokens for sample in samples if sample.grade.correct and sample.num_tokens > 16)
    cut = sum(sample.num_tokens for sample in samples if sample.num_tokens > 24)
    assert min(long_and_correct, cut) > 0
    assert sizes == [tokens, tokens - long_and_correct, tokens - cut]


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "dr_grpo"])
def test_the_kl_has_the_weights_of_the_loss(aggregation: str) -> None:
    """The second step, where the policy has left the base: k3 summed token by token, and divided as the loss is."""
    config = settings(loss_aggregation=aggregation, kl_coefficient=0.5)
    run = RunConfig.model_construct(train=config, compute=ComputeConfig(precision="float32"), model_revision=None)
    policy, reference = make_policy(config), Reference(run, str(BASE_FOLDER))
    groups, model, base = make_groups(config), base_model(), base_model()
    optimizer = plain_optimizer(model, config)
    for step in (1, 2):
        optimizer.zero_grad()
        loss, num_tokens = plain_loss(model, groups, config)
        total, mean = torch.zeros(()), 0.0
        samples = [sample for sample in groups.samples if kept(sample, config)]
        for sample in samples:
            difference = plain_logprobs(base, sample).detach() - plain_logprobs(model, sample)
            kl = (torch.exp(difference) - difference - 1).sum()
            mean += float(kl) / num_tokens
            weight = {"token_mean": num_tokens, "sequence_mean": len(samples) * sample.num_tokens, "dr_grpo": len(samples) * 64}
            total = total + kl / weight[aggregation]
        (loss + 0.5 * total).backward()  # type: ignore[no-untyped-call]
        metrics = update_policy(policy, reference, groups, config)
        assert metrics.grad_norm == pytest.approx(gradient_norm(model), rel=1e-2)
        assert metrics.kl == pytest.approx(mean, rel=1e-2, abs=1e-6)
        assert metrics.kl is not None
        assert (metrics.kl > 1e-3) is (step == 2)
        optimizer.step()


# Settings, the groups on each of two ranks (one generates nothing to train on, or there is one sequence for both), the machine.
SHARED_UPDATES: list[tuple[dict[str, object], list[list[int]], dict[str, object]]] = [
    ({"loss_aggregation": "sequence_mean", "engine_ratio_cap": 0.5}, [[0, 1, 2], [3]], {}),
    ({"loss_aggregation": "dr_grpo", "objective": "cispo", "staleness": 2}, [[0, 2], [1, 3]], {}),
    ({"negative_rollouts": "-I"}, [[2], [3]], {}),
    ({"kl_coefficient": 0.1}, [[0, 1, 2], [3]], {"zero_stage": 3, "gradient_checkpointing": True}),
    ({"lora": {"rank": 4, "alpha": 8}}, [[0, 1, 2], [3]], {"zero_stage": 2}),
]


Weights = dict[str, torch.Tensor]


def update_twice(
    groups_used: list[int], config: TrainConfig, **compute: object
) -> tuple[list[dict[str, float]], Weights, Weights]:
    """What two batches of some of the groups make of a new policy: metrics that are there, weights, and the first gradient.

    With LoRA the weights are those of the merged model, and of the adapters.
    """
    samples = make_samples()
    groups = RolloutGroups([samples[4 * group + index] for group in groups_used for index in range(4)], config)
    groups.assign_rewards(make_reward(RewardConfig(name="vanilla", target_tokens=16)))
    policy, reference = make_policy(config, **compute), None
    if config.kl_coefficient:
        values = {"precision": "float32", **compute}
        run = RunConfig.model_construct(train=config, compute=ComputeConfig.model_validate(values), model_revision=None)
        reference = Reference(run, str(BASE_FOLDER))
    gradient: Weights = {}
    trained = {name: each for name, each in policy.engine.module.model.named_parameters() if each.requires_grad}
    take_step = policy.step

    def step() -> float | None:
        for name, parameter in trained.items():
            gradient.setdefault(name, safe_get_full_grad(parameter).clone())
        return take_step()

    policy.step = step  # type: ignore[method-assign]
    metrics = [asdict(update_policy(policy, reference, groups, config)) for _ in range(2)]
    present = [{name: value for name, value in of_batch.items() if value is not None} for of_batch in metrics]
    weights = {name: weight.clone() for name, weight in policy.named_weights()}
    return present, weights | {name: each.detach().clone() for name, each in trained.items() if config.lora}, gradient


def stop_as_rank(rank: int, folder: Path) -> tuple[list[str], float]:
    """What a rank is told where the second alone meets a reward that is not a number, and the first alone looks at files."""
    told = []
    reward: Any = make_reward(RewardConfig(name="vanilla", target_tokens=16))
    score = reward.score
    reward.score = lambda outcomes: score(outcomes) * (float("nan") if rank == 1 else 1.0)
    try:
        RolloutGroups(make_samples(), settings(advantage="batch_whitened")).assign_rewards(reward)
    except NotFiniteError as error:
        told.append(str(error))
    try:
        Checkpoints(folder, 2).load_best(cast(Policy, None), Progress(step=2, best_step=1))
    except CheckpointError as error:
        told.append(str(error))
    value = float("nan") if rank == 1 else 1.0
    return told, largest(value)


RESUMED = settings(warmup_steps=8)  # the schedule must come back, too


def take_steps(policy: Policy, groups_used: list[int], steps: int) -> dict[str, torch.Tensor]:
    """The weights after some steps on some of the groups."""
    samples = make_samples()
    groups = RolloutGroups([samples[4 * group + index] for group in groups_used for index in range(4)], RESUMED)
    groups.assign_rewards(make_reward(RewardConfig(name="vanilla", target_tokens=16)))
    for _ in range(steps):
        update_policy(policy, None, groups, RESUMED)
    return {name: weight.clone() for name, weight in policy.named_weights()}


def save_and_go_on(folder: Path, groups_used: list[int]) -> dict[str, torch.Tensor]:
    """The weights after four steps, the state of the second in a checkpoint."""
    policy = make_policy(RESUMED, zero_stage=2)
    take_steps(policy, groups_used, 2)
    tokenizer = AutoTokenizer.from_pretrained(BASE_FOLDER)
    Checkpoints(folder, 1).save(policy, tokenizer, Progress().with_checkpoint(2, 0.5, 40.0), 0.5)
    return take_steps(policy, groups_used, 2)


def resume(folder: Path, groups_used: list[int]) -> dict[str, torch.Tensor]:
    """The same from the checkpoint."""
    policy = make_policy(RESUMED, zero_stage=2)
    Checkpoints(folder, 1).restore(policy, choose_resume_step(folder))
    assert (policy.optimizer_steps, policy.learning_rate) == (2, 3e-3 / 8)
    return take_steps(policy, groups_used, 2)


def is_given_up(rank: int) -> bool:
    """Whether a rank that waits for another one is told after its patience, in a group that DeepSpeed might have made."""
    group = dist.new_group([0, 1])
    wait_at_most(timedelta(seconds=1))
    time.sleep(2.5 * rank)
    try:
        dist.barrier(group)
    except RuntimeError:
        return True
    return False


def resume_as_rank(zero_stage: int, folder: Path) -> bool:
    """Whether a policy that has loaded another's state, in bfloat16, takes its next step to the same weights."""
    policy, resumed = (make_policy(settings(), zero_stage=zero_stage, precision="bfloat16") for _ in range(2))
    update_policy(policy, None, make_groups(), settings())
    policy.save_state(folder)
    resumed.load_state(folder)
    for each in (policy, resumed):
        update_policy(each, None, make_groups(), settings())
    weights = {name: weight.clone() for name, weight in policy.named_weights()}
    is_same = [
        torch.equal(weight, weights[name]) for name, weight in resumed.named_weights()
    ]  # to the end: ranks gather together
    return all(is_same)


def act_as_rank(rank: int, port: int, results: str) -> None:
    """Be one of two ranks."""
    os.environ.update(rank_variables(rank, 2, port))
    init_distributed()
    own = [[0, 2], [1, 3]][rank]
    elsewhere = save_and_go_on(Path(results) / "of-two", own), resume(Path(results) / "of-one", own)
    torch.save(elsewhere, f"{results}/elsewhere-{rank}.pt")
    outcomes = [update_twice(groups[rank], settings(**changes), **compute) for changes, groups, compute in SHARED_UPDATES]
    resumed = [resume_as_rank(stage, Path(results) / f"states-{stage}") for stage in (1, 2, 3)]
    torch.save((outcomes, stop_as_rank(rank, Path(results) / "checkpoints"), resumed), f"{results}/{rank}.pt")
    torch.save(is_given_up(rank), f"{results}/given-up-{rank}.pt")
    os._exit(0)  # gloo's threads end a process in disorder whose collective has failed


@pytest.fixture(scope="module")
def ranks_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two ranks have left what they saw, and `unbroken.pt` is that of one alone."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.save(save_and_go_on(folder / "of-one", [0, 1, 2, 3]), folder / "unbroken.pt")
    run_ranks(act_as_rank, free_port(), str(folder), imported="pipeline_lib.training.trainer")
    return folder


@pytest.fixture(scope="module")
def two_ranks(ranks_folder: Path) -> list[tuple[Any, Any]]:
    """What each of two ranks has seen of updates and of stops."""
    return [torch.load(ranks_folder / f"{rank}.pt") for rank in range(2)]


def test_a_checkpoint_is_resumed_by_another_number_of_ranks(ranks_folder: Path) -> None:
    of_one, (of_two, one_by_two) = torch.load(ranks_folder / "unbroken.pt"), torch.load(ranks_folder / "elsewhere-1.pt")
    two_by_one = resume(ranks_folder / "of-two", [0, 1, 2, 3])
    for unbroken, resumed in ((of_one, one_by_two), (of_two, two_by_one)):
        for name, weight in unbroken.items():
            assert torch.allclose(resumed[name], weight, rtol=0, atol=1e-6), name
    for folder in ("of-one", "of-two"):
        assert [path.name for path in (ranks_folder / folder).iterdir()] == ["step-00002"], "what it was converted into is gone"


def test_a_rank_that_does_not_come_is_given_up_after_the_patience_of_the_others(ranks_folder: Path) -> None:
    assert torch.load(ranks_folder / "given-up-0.pt")


def test_two_ranks_take_the_steps_of_one(two_ranks: list[tuple[Any, ...]]) -> None:
    """Both train on as many tokens, whichever of them has generated more."""
    ranks = [updates for updates, *_ in two_ranks]
    for (changes, groups, _), (metrics, weights, gradient), (other_metrics, other_weights, _) in zip(
        SHARED_UPDATES, *ranks, strict=True
    ):
        expected_metrics, expected_weights, expected_gradient = update_twice(
            sorted([*groups[0], *groups[1]]), settings(**changes)
        )
        largest = max(float(each.abs().max()) for each in expected_gradient.values())
        for name, each in expected_gradient.items():
            assert torch.allclose(gradient[name], each, rtol=0, atol=1e-6 * largest), name
        assert metrics == other_metrics
        for found, expected in zip(metrics, expected_metrics, strict=True):
            assert found == pytest.approx(expected, rel=2e-3, abs=1e-6)
        for name, each in expected_gradient.items():
            # Adam makes a whole step of a gradient next to 0, whose sign is noise.
            is_clear = each.abs() > 1e-4 * largest
            assert torch.allclose(weights[name][is_clear], expected_weights[name][is_clear], atol=2e-4), name
        assert all(torch.equal(weight, other_weights[name]) for name, weight in weights.items())


def test_two_ranks_stop_together(two_ranks: list[tuple[Any, ...]]) -> None:
    (_, (told, largest), _), (_, (told_too, largest_too), _) = two_ranks
    assert told == told_too
    assert told[0].startswith("the reward is nan for sample 0 of prompt 'p0' "), told
    assert "step-00001 is gone: it is the best, and an alarm asks to go back to it" in told[1]
    assert largest == largest_too == float("inf"), "a maximum must not drop what is not a number"


def test_two_ranks_resume_from_sharded_states(two_ranks: list[tuple[Any, ...]]) -> None:
    assert [resumed for *_, resumed in two_ranks] == [[True] * 3] * 2


def test_a_batch_without_any_signal_takes_no_step() -> None:
    policy = make_policy(settings())
    update_policy(policy, None, make_groups(), settings())
    before = {name: weight.clone() for name, weight in policy.named_weights()}
    metrics = update_policy(policy, None, make_groups(right=()), settings())
    assert (metrics.loss, metrics.grad_norm, metrics.num_tokens) == (None, None, 0)
    assert (metrics.optimizer_steps, metrics.batch_optimizer_steps) == (1, 0)
    assert all(torch.equal(weight, before[name]) for name, weight in policy.named_weights())


def test_staleness_takes_several_steps_with_ratios_to_the_weights_that_generated() -> None:
    config = settings(staleness=2)
    policy = make_policy(config)
    metrics = update_policy(policy, None, make_groups(config), config)
    assert (metrics.optimizer_steps, metrics.batch_optimizer_steps) == (2, 2)
    assert metrics.clip_fraction is not None
    assert metrics.clip_fraction > 0, "the second step's ratios must differ from 1"


def test_learning_rate_warms_up() -> None:
    config = settings(warmup_steps=2)
    policy = make_policy(config)
    rates = [update_policy(policy, None, make_groups(), config).learning_rate for _ in range(3)]
    assert rates == pytest.approx([5e-4, 1e-3, 1e-3])


def test_checkpoints_restore_the_whole_state_and_keep_the_newest_and_the_best(tmp_path: Path) -> None:
    config = settings(warmup_steps=8)
    tokenizer = AutoTokenizer.from_pretrained(BASE_FOLDER)
    policy = make_policy(config)
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    progress = Progress()
    for step, accuracy in enumerate((0.5, 0.9, 0.6, 0.7), start=1):
        update_policy(policy, None, make_groups(), config)
        progress = progress.with_checkpoint(step, accuracy, 40.0)
        checkpoints.save(policy, tokenizer, progress, accuracy)
    assert list(checkpoints_in(tmp_path)) == [2, 3, 4]
    (tmp_path / ".step-00009.partial").mkdir()  # what a crash leaves
    resumed = make_policy(config)
    assert Checkpoints(tmp_path, 2).restore(resumed, choose_resume_step(tmp_path)) == progress
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
    for step, only_to_resume, left in ((5, True, [2, 3, 4, 5]), (6, True, [2, 3, 4, 6]), (7, False, [2, 4, 7])):
        checkpoints.save(policy, tokenizer, replace(progress, step=step), None, only_to_resume=only_to_resume)
        assert list(checkpoints_in(tmp_path)) == left, (
            "one that is only to resume from pushes out no other, and goes with the next"
        )
        assert choose_resume_step(tmp_path) == step
        assert [row.step for row in checkpoint_records("r", tmp_path) if row.is_best] == [2]


@pytest.mark.parametrize(("every_minutes", "waited", "due"), [(None, 1e9, False), (2.0, 119.0, False), (2.0, 121.0, True)])
def test_a_checkpoint_is_due_by_time(
    every_minutes: float | None, waited: float, due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    timer = CheckpointTimer(every_minutes)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + waited)
    assert timer.is_due() is due
    timer.restart()
    assert timer.is_due() is False


def test_the_best_is_the_more_accurate_then_the_shorter() -> None:
    progress = Progress().with_checkpoint(1, 0.5, 60.0)
    assert progress.with_checkpoint(2, 0.5, 70.0).best_step == 1
    assert progress.with_checkpoint(2, 0.5, 50.0).best_step == 2
    assert progress.with_checkpoint(2, 0.6, 90.0).best_step == 2
    assert Progress().with_checkpoint(3, None, None).best_step == 3


def trainer_of(run: RunConfig, policy: Policy, reward: Reward[Any], checkpoints: Checkpoints) -> Trainer:
    """A trainer that neither generates nor writes steps."""
    absent: Any = None
    return Trainer(run, policy, None, reward, absent, absent, (), (), checkpoints, absent)


def test_a_resumed_run_and_a_roll_back_know_what_the_reward_had_learned(tmp_path: Path) -> None:
    """The multiplier of a Lagrangian reward, the data position and the lowered rate come back; a roll-back undoes the multiplier."""
    run = load_config(REPOSITORY / "configs" / "demo.toml", ["reward.name=lagrangian", "train.warmup_steps=0"])
    config = settings()
    tokenizer = AutoTokenizer.from_pretrained(BASE_FOLDER)
    policy = make_policy(config)
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    reward = make_reward(run.reward, 192)
    early, late = (Outcomes.of([[150, 150]] * 4, [[True, True]] * 4), Outcomes.of([[190, 190]] * 4, [[True, True]] * 4))
    reward.observe(early)
    at_best = reward.state()
    update_policy(policy, None, make_groups(), config)
    progress = replace(Progress().with_checkpoint(1, 0.9, 40.0), reward_state=at_best, batches_drawn=3)
    checkpoints.save(policy, tokenizer, progress, 0.9)
    reward.observe(late)
    assert reward.state() != at_best
    update_policy(policy, None, make_groups(), config)
    rolled = trainer_of(run, policy, reward, checkpoints).roll_back(progress, step=2)
    assert reward.state() == at_best
    assert (rolled.step, rolled.roll_backs, rolled.watch_since, rolled.batches_drawn) == (2, 1, 2, 3)
    assert policy.optimizer_steps == 2, "steps that were undone were taken all the same"
    assert policy.learning_rate == pytest.approx(0.5e-3)
    checkpoints.save(policy, tokenizer, replace(rolled, reward_state=reward.state()), None)

    resumed, fresh = make_policy(config), make_reward(run.reward, 192)
    restored = trainer_of(run, resumed, fresh, Checkpoints(tmp_path, 2)).resume(choose_resume_step(tmp_path))
    assert restored == replace(rolled, reward_state=at_best)
    assert fresh.state() == at_best
    assert resumed.learning_rate == pytest.approx(0.5e-3)


def test_a_roll_back_without_a_checkpoint_or_beside_a_stop_is_a_stop() -> None:
    back, stop = Alarm("r", 5, "entropy_spike", 2.0, 1.0, "roll_back"), Alarm("r", 5, "length_collapse", 2.0, 1.0, "stop")
    warned = Alarm("r", 5, "length_rebound", 2.0, 1.0, "warn")
    progress, once = Progress().with_checkpoint(2, 0.5, 60.0), WatchConfig(max_roll_backs=1)

    def actions(alarms: list[Alarm], progress: Progress) -> list[str]:
        return [alarm.action for alarm in effective_alarms(alarms, progress, once)]

    assert actions([back, warned], progress) == ["roll_back", "warn"]
    assert actions([back, warned], Progress()) == ["stop", "warn"]
    assert actions([back, warned], replace(progress, roll_backs=1)) == ["stop", "warn"]
    assert actions([back, stop], progress) == ["stop", "stop"]
