"""Training that meets a damaged checkpoint or a number that is not finite: real updates, a real engine, real checkpoints."""

import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from test_policy import REPOSITORY, make_groups, make_policy, make_samples, settings
from transformers import AutoTokenizer

from pipeline_lib.config import RewardConfig, RunConfig, load_config
from pipeline_lib.generation.engines import make_generator
from pipeline_lib.jobs import TrainJob, read_json, write_prompts
from pipeline_lib.messages.finite import NotFiniteError
from pipeline_lib.prompts import load_prompts
from pipeline_lib.rewards import REWARDS, Outcomes, make_reward
from pipeline_lib.rewards.base import FloatArray
from pipeline_lib.rewards.truncation import TruncationReward
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.training.checkpoint_files import checkpoints_in, choose_resume_step, seal
from pipeline_lib.training.checkpoints import Checkpoints, Progress
from pipeline_lib.training.loop import train
from pipeline_lib.training.policy import Policy, load_plain
from pipeline_lib.training.step_folder import StepFolder
from pipeline_lib.training.update import update_policy

CHANGES = [
    "generation.engine=transformers",
    "prompts.num_prompts=8",
    "filter.subset=all",
    "train.steps=4",
    "train.prompts_per_step=2",
    "train.num_rollouts=4",
    "train.rollout_limit_tokens=32",
    "reward.target_tokens=24",
    "checkpoint.every_steps=1",
    "checkpoint.keep_last=4",
    "validation.source.num_prompts=4",
]
pytestmark = pytest.mark.usefixtures("one_rank")

STAGES = [(1, "bfloat16"), (2, "float32"), (3, "bfloat16")]
METRICS = (
    "step",
    "reward_mean",
    "accuracy",
    "mean_tokens",
    "loss",
    "grad_norm",
    "kl",
    "optimizer_steps",
    "validation_accuracy",
)


class Trainer:
    """Trains a run in this process, as its worker would."""

    def __init__(self, folder: Path, *changes: str) -> None:
        self.folder = folder
        self.config: RunConfig = load_config(REPOSITORY / "configs" / "smoke.toml", [*CHANGES, *changes])
        assert self.config.validation
        write_prompts(folder / "prompts.json", load_prompts(self.config.prompts))
        write_prompts(folder / "validation.json", load_prompts(self.config.validation.source))
        (folder / "steps").mkdir()
        self.checkpoints = folder / "checkpoints"

    def job(self) -> TrainJob:
        """What the train task hands to the worker."""
        return TrainJob(
            run_id="run",
            config=self.config,
            base_folder=str(BASE_FOLDER),
            prompts_file=str(self.folder / "prompts.json"),
            validation_file=str(self.folder / "validation.json"),
            rollouts_folder=str(self.folder / "rollouts"),
            steps_folder=str(self.folder / "steps"),
            checkpoints_folder=str(self.checkpoints),
            resume_step=choose_resume_step(self.checkpoints),
        )

    def train(self, report_progress: Callable[[dict[str, Any]], None] = lambda _: None) -> list[tuple[Any, ...]]:
        """Train from the newest whole checkpoint to the end; the metrics of every step."""
        generator = make_generator(str(BASE_FOLDER), self.config.generation, self.config.max_model_tokens)
        train(self.job(), generator, AutoTokenizer.from_pretrained(BASE_FOLDER), report_progress)
        return self.metrics()

    def metrics(self) -> list[tuple[Any, ...]]:
        return [tuple(row[name] for name in METRICS) for row in StepFolder(self.folder / "steps").rows()]


def test_damaged_newest_checkpoints_cost_their_steps_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = Trainer(tmp_path)
    unbroken = trainer.train()
    assert [row[0] for row in unbroken] == [1, 2, 3, 4]
    assert len({row[4] for row in unbroken}) > 1, "some step has a loss"
    weights = (trainer.checkpoints / "step-00004/model/model.safetensors").read_bytes()
    [optimizer] = (trainer.checkpoints / "step-00004/state").glob("*optim_states.pt")
    content = bytearray(optimizer.read_bytes())
    content[len(content) // 2] ^= 1  # among the numbers, where a plain load notices nothing
    optimizer.write_bytes(content)
    (trainer.checkpoints / "step-00003/model/model.safetensors").unlink()
    assert trainer.train() == unbroken
    assert ["step-00004 is damaged" in line or "step-00003 is damaged" in line for line in caplog.messages[:2]] == [True, True]
    assert (trainer.checkpoints / "step-00004/model/model.safetensors").read_bytes() == weights
    assert {"step-00003.damaged", "step-00004.damaged"} <= {path.name for path in trainer.checkpoints.iterdir()}
    (tmp_path / "timed").mkdir()
    resumes_from_a_checkpoint_by_time(tmp_path / "timed", unbroken)


def resumes_from_a_checkpoint_by_time(folder: Path, unbroken: list[tuple[Any, ...]]) -> None:
    """The figures are those of a run with other checkpoints, and only the one by steps is measured and stays."""
    trainer = Trainer(folder, "checkpoint.every_steps=4", "checkpoint.every_minutes=1e-9")

    def die(progress: dict[str, Any]) -> None:
        if progress["step"] == 3:
            raise MemoryError

    with pytest.raises(MemoryError):
        trainer.train(die)
    assert list(checkpoints_in(trainer.checkpoints)) == [3]
    assert [row[:-1] for row in trainer.train()] == [row[:-1] for row in unbroken]
    assert [row[-1] for row in trainer.metrics()] == [None, None, None, unbroken[-1][-1]]
    assert list(checkpoints_in(trainer.checkpoints)) == [4]


class NannyReward(TruncationReward):
    """A user's reward that divides by the length beyond the shortest: 0 / 0 in a group of equals."""

    def score(self, outcomes: Outcomes) -> FloatArray:
        excess_PN = (outcomes.lengths_PN - outcomes.lengths_PN.min(axis=1, keepdims=True)).astype(np.float64)
        with np.errstate(invalid="ignore"):
            return cast(FloatArray, outcomes.correct_PN + excess_PN / excess_PN)


def test_a_reward_that_is_not_a_number_ends_the_step_and_a_mended_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tmp_path)

    class LateNanny(NannyReward):
        """Right until the third step."""

        def score(self, outcomes: Outcomes) -> FloatArray:
            is_late = (trainer.checkpoints / "step-00002").exists()
            return super().score(outcomes) if is_late else TruncationReward.score(self, outcomes)

    monkeypatch.setitem(REWARDS, "truncation", LateNanny)
    pattern = r"^step 3, reward 'truncation': the reward is nan for sample \d of prompt '[^']+' \(\d+ tokens, (in)?correct\)"
    with pytest.raises(NotFiniteError, match=pattern) as caught:
        trainer.train()
    assert "\n" not in str(caught.value)
    assert len(trainer.metrics()) == 2
    assert list(checkpoints_in(trainer.checkpoints)) == [1, 2]
    monkeypatch.setitem(REWARDS, "truncation", TruncationReward)
    assert [row[0] for row in trainer.train()] == [1, 2, 3, 4]


def weights_of(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: weight.nan_to_num(9.0) for name, weight in policy.named_weights()}


@pytest.mark.parametrize(("zero_stage", "precision"), STAGES)
def test_a_step_that_deepspeed_skips_is_an_error_and_not_counted(zero_stage: int, precision: str) -> None:
    policy = make_policy(settings(), zero_stage=zero_stage, precision=precision)
    update_policy(policy, None, make_groups(), settings())
    before = weights_of(policy)
    parameter = policy.engine.module.model.model.norm.weight
    parameter.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(NotFiniteError, match=r"gradient is not finite, .* sample \d of prompt 'p\d' "):
        update_policy(policy, None, make_groups(), settings())
    assert policy.optimizer_steps == 1
    assert all(torch.equal(weight, before[name]) for name, weight in policy.named_weights())


@pytest.mark.parametrize("where", ["engine", "weights", "ratio"])
def test_what_is_not_finite_in_the_loss_is_named_before_the_optimizer_steps(where: str) -> None:
    config = settings(staleness=2) if where == "ratio" else settings()
    policy, samples = make_policy(config), make_samples()
    groups = make_groups(config)
    if where == "engine":
        samples[6].completion.logprobs[1] = float("nan")
        groups.samples = samples
        with pytest.raises(NotFiniteError, match=r"the engine's log-prob is nan for sample 2 of prompt 'p1' "):
            groups.assign_rewards(make_reward(RewardConfig(name="vanilla", target_tokens=16)))
        return
    rows = policy.engine.module.model.get_input_embeddings().weight
    if where == "weights":
        rows.data[samples[5].completion.token_ids[0]] = float("nan")
        told = "the trainer's log-prob is nan for a token of sample"
    else:
        told = "the importance ratio is inf for a token of sample"
        groups.config = config
        score, calls = policy.logprobs, iter(range(1000))
        num_scored = sum(len(policy.micro_batches(groups.sequences(lag))) for lag in range(2))
        # The first passes are those before the weights move: as if they had been this much less likely then.
        policy.logprobs = lambda batch: score(batch) - (200.0 if next(calls) < num_scored else 0.0)  # type: ignore[method-assign]
    before = weights_of(policy)
    with pytest.raises(NotFiniteError, match=rf"{told} \d of prompt 'p\d' "):
        update_policy(policy, None, groups, config)
    assert policy.optimizer_steps == 0
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(policy).items())


@pytest.mark.parametrize(("zero_stage", "precision"), [*STAGES, (2, "bfloat16"), (3, "float32")])
def test_the_state_of_every_stage_and_precision_loads_as_plain_values(zero_stage: int, precision: str, tmp_path: Path) -> None:
    config = settings(warmup_steps=8)
    policy, resumed = (make_policy(config, zero_stage=zero_stage, precision=precision) for _ in range(2))
    update_policy(policy, None, make_groups(), config)
    tokenizer = AutoTokenizer.from_pretrained(BASE_FOLDER)
    Checkpoints(tmp_path, 1).save(policy, tokenizer, Progress().with_checkpoint(1, 0.5, 40.0), 0.5)
    drawn = np.random.random(), torch.rand(1)
    random.seed(0)
    assert Checkpoints(tmp_path, 1).restore(resumed, choose_resume_step(tmp_path)).step == 1
    # Not by a draw: threads of other tests' servers and clients draw from it, too, while a checkpoint is written.
    assert random.getstate() == load_plain(next(tmp_path.rglob("random-0.pt")))["python"]
    assert (np.random.random(), torch.rand(1)) == drawn
    for one in (policy, resumed):
        update_policy(one, None, make_groups(), config)
    assert resumed.learning_rate == policy.learning_rate
    weights = weights_of(policy)
    assert all(torch.equal(weight, weights[name]) for name, weight in weights_of(resumed).items())


class Payload:
    """What a pickle can do: anything, when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_a_pickle_in_a_checkpoint_of_unknown_origin_does_not_run(tmp_path: Path) -> None:
    """Whoever hands a home over can write records with right digests, so the digests do not protect from this."""
    policy = make_policy(settings())
    progress = Progress().with_checkpoint(1, 0.5, 40.0)
    tokenizer = AutoTokenizer.from_pretrained(BASE_FOLDER)
    ran = tmp_path / "ran"
    for pattern in ("random-0.pt", "state/*optim_states.pt", "state/*model_states.pt"):
        path = Checkpoints(tmp_path, 1).save(policy, tokenizer, progress, 0.5)
        [target] = path.glob(pattern)
        torch.save({"module": Payload(ran)}, target)
        record = read_json(path / "progress.json")
        (path / "progress.json").unlink()
        unsealed = {key: value for key, value in record.items() if key not in ("files", "record_sha256")}
        seal(path, unsealed)
        assert choose_resume_step(tmp_path) == 1
        with pytest.raises(ValueError, match=rf"{target.name} holds more than tensors and plain values"):
            Checkpoints(tmp_path, 1).restore(policy, 1)
        if target.parent.name == "state":
            seal(path, {**unsealed, "world_size": 2})
            with pytest.raises(ValueError, match="holds more than tensors and plain values"):
                Checkpoints(tmp_path, 1).restore(policy, 1)
        assert not ran.exists()
    with open(tmp_path / "plain.pt", "wb") as file:  # the way it was before there were archives of tensors
        pickle.dump(Payload(ran), file)
    with pytest.raises(ValueError, match="holds more than tensors"):
        load_plain(tmp_path / "plain.pt")
    assert not ran.exists()
