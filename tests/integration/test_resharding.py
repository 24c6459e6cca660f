"""A training state of one rank resumed by two, and of two by one: every ZeRO stage, both number formats, LoRA, an offloaded optimiser."""

import os
from pathlib import Path

import pytest
import torch
from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state
from loopback import free_port, rank_variables
from test_policy import make_policy, make_samples, settings
from transformers import AutoTokenizer

from pipeline_lib.config import RewardConfig, TrainConfig
from pipeline_lib.rewards import make_reward
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.training.checkpoint_files import choose_resume_step
from pipeline_lib.training.checkpoints import Checkpoints, Progress
from pipeline_lib.training.groups import RolloutGroups
from pipeline_lib.training.policy import Policy
from pipeline_lib.training.ranks import init_distributed
from pipeline_lib.training.update import update_policy

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_rank")]

# ZeRO stage, precision, with adapters, with the optimiser offloaded.
# The folders are called after them: characters that mean something in patterns.
CASES = [
    (stage, precision, has_adapters, precision == "bfloat16" and not has_adapters)
    for stage in (1, 2, 3)
    for precision in ("float32", "bfloat16")
    for has_adapters in (False, True)
]
Case = tuple[int, str, bool, bool]
State = dict[str, torch.Tensor]


def config_of(case: Case) -> TrainConfig:
    """With a schedule of the learning rate, which must come back, too."""
    return settings(warmup_steps=8, lora={"rank": 4, "alpha": 8} if case[2] else None)


def policy_of(case: Case) -> Policy:
    stage, precision, _, is_offloaded = case
    return make_policy(config_of(case), zero_stage=stage, precision=precision, optimizer_offload=is_offloaded)


def take_two_steps(policy: Policy, groups_used: list[int], config: TrainConfig) -> State:
    samples = make_samples()
    groups = RolloutGroups([samples[4 * group + index] for group in groups_used for index in range(4)], config)
    groups.assign_rewards(make_reward(RewardConfig(name="vanilla", target_tokens=16)))
    for _ in range(2):
        update_policy(policy, None, groups, config)
    return state_of(policy)


def state_of(policy: Policy) -> State:
    """Whole weights as they compute, and of those that are trained the float32 master weights and moments."""
    found = {name: weight.float().clone() for name, weight in policy.named_weights()}
    for name, parameter in policy.engine.module.model.named_parameters():
        if parameter.requires_grad:
            found[f"{name} master"] = safe_get_full_fp32_param(parameter).clone()
            for moment in ("exp_avg", "exp_avg_sq"):
                found[f"{name} {moment}"] = safe_get_full_optimizer_state(parameter, moment).clone()
    return found


def save_and_go_on(case: Case, folder: Path, groups_used: list[int]) -> tuple[State, State]:
    """The state after two steps, which goes into a checkpoint, and after four."""
    policy = policy_of(case)
    saved = take_two_steps(policy, groups_used, config_of(case))
    progress = Progress().with_checkpoint(2, 0.5, 40.0)
    Checkpoints(folder, 1).save(policy, AutoTokenizer.from_pretrained(BASE_FOLDER), progress, 0.5)
    return saved, take_two_steps(policy, groups_used, config_of(case))


def resume(case: Case, folder: Path, groups_used: list[int]) -> tuple[State, State]:
    """The same from the checkpoint."""
    policy = policy_of(case)
    Checkpoints(folder, 1).restore(policy, choose_resume_step(folder))
    assert (policy.optimizer_steps, policy.learning_rate) == (2, 3e-3 / 8)
    return state_of(policy), take_two_steps(policy, groups_used, config_of(case))


def act_as_rank(rank: int, port: int, folder: Path) -> None:
    os.environ.update(rank_variables(rank, 2, port))
    init_distributed()
    own = [[0, 2], [1, 3]][rank]
    for case in CASES:
        seen = save_and_go_on(case, folder / f"[{case}-two]", own), resume(case, folder / f"[{case}-one]", own)
        torch.save(seen, folder / f"{case}-{rank}.pt")
    os._exit(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one rank and then two have left what they saw."""
    folder = tmp_path_factory.mktemp("states")
    for case in CASES:
        torch.save(save_and_go_on(case, folder / f"[{case}-one]", [0, 1, 2, 3]), folder / f"{case}.pt")
    torch.multiprocessing.spawn(act_as_rank, (free_port(), folder), nprocs=2)
    return folder


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_resumed_is_what_was_saved_and_goes_on_as_it_would_have(case: Case, folder: Path) -> None:
    """The state is the same to the bit; steps taken from it in float32 agree to 1e-6, in bfloat16 to the rounding of gradients."""
    of_one, (of_two, one_by_two) = torch.load(folder / f"{case}.pt"), torch.load(folder / f"{case}-1.pt")
    two_by_one = resume(case, folder / f"[{case}-two]", [0, 1, 2, 3])
    for (saved, unbroken), (loaded, resumed) in ((of_one, one_by_two), (of_two, two_by_one)):
        assert saved.keys() == loaded.keys()
        assert all(torch.equal(loaded[name], saved[name]) for name in saved)
        differences = {name: float((resumed[name] - unbroken[name]).abs().max()) for name in unbroken if "master" in name}
        assert max(differences.values()) < (1e-6 if case[1] == "float32" else 1e-3)
        assert max(float((unbroken[name] - saved[name]).abs().max()) for name in differences) > 5e-4
