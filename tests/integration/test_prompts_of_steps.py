"""The prompts of a step through the loop and the train stage: none comes twice, with other draws when it comes back."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist
from transformers import AutoTokenizer

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.generation.engines import make_generator
from pipeline_lib.prompts import load_prompts
from pipeline_lib.records import Prompt, Selection
from pipeline_lib.rewards import make_reward
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.training.groups import RolloutGroups
from pipeline_lib.training.metrics import StepClock
from pipeline_lib.training.step_folder import StepFolder
from pipeline_lib.training.trainer import Trainer

# Ten prompts: the third step of four crosses the epoch's end, where prompt 1 of the shuffled ten came twice.
OVERRIDES = [
    "generation.engine=transformers",
    "generation.dtype=float32",
    "prompts.num_prompts=10",
    "train.prompts_per_step=4",
    "train.num_rollouts=2",
    "train.rollout_limit_tokens=6",
    "reward.target_tokens=6",
]

Draw = Callable[[int], RolloutGroups]


@pytest.fixture(autouse=True)
def one_rank(tmp_path: Path) -> None:
    if not dist.is_initialized():
        dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'ranks'}", rank=0, world_size=1)


def drawing(config: RunConfig) -> Draw:
    """Generates the groups of a step that begins after some batches, with the portable engine."""
    prompts = load_prompts(config.prompts)
    generator = make_generator(str(BASE_FOLDER), config.generation, config.max_model_tokens)
    tokenizer = AutoTokenizer.from_pretrained(BASE_FOLDER)
    absent: Any = None
    untrained: Any = SimpleNamespace(optimizer_steps=0)

    def draw(batches_drawn: int) -> RolloutGroups:
        reward = make_reward(config.reward, config.train.rollout_limit_tokens)
        trainer = Trainer(config, untrained, None, reward, generator, tokenizer, prompts, (), absent, absent)
        return trainer.generate_groups(batches_drawn, StepClock())

    return draw


def seen(groups: RolloutGroups) -> Counter[str]:
    return Counter(sample.prompt.prompt_id for sample in groups.samples)


def test_a_step_across_an_epochs_end_holds_no_rollout_twice(configs: Path) -> None:
    draw = drawing(load_config(configs / "smoke.toml", OVERRIDES))
    steps = [draw(number) for number in range(5)]
    for step in steps:
        assert set(seen(step).values()) == {2}
    assert set(sum(map(seen, steps), Counter()).values()) == {4}  # two epochs
    again = draw(2)
    assert [sample.completion for sample in again.samples] == [sample.completion for sample in steps[2].samples]
    by_prompt: dict[tuple[str, int], list[list[int]]] = {}
    for step in steps:
        for sample in step.samples:
            by_prompt.setdefault((sample.prompt.prompt_id, sample.sample_index), []).append(sample.completion.token_ids)
    assert any(first != second for first, second in by_prompt.values()), "a prompt that comes back has other draws"


def test_dynamic_sampling_stops_when_the_step_has_seen_every_prompt(configs: Path) -> None:
    """Nothing is answered within 6 tokens, so no group ever has a signal, and batches are drawn as long as there may be any."""
    draw = drawing(load_config(configs / "smoke.toml", [*OVERRIDES, "train.dynamic_sampling_batches=9"]))
    drawn = 0
    for _ in range(4):
        groups = draw(drawn)
        assert groups.batches_drawn == 2
        assert len(seen(groups)) == 8
        assert set(seen(groups).values()) == {2}
        drawn += groups.batches_drawn


def test_a_filter_that_keeps_fewer_prompts_than_a_step_takes_is_told_before_training(configs: Path, tmp_path: Path) -> None:
    from pipeline_lib.stages.train import make_job

    steps = StepFolder(tmp_path)

    run = RunSession(Run.of(load_config(configs / "smoke.toml", OVERRIDES)))
    run.store.write("prompts", [Prompt(f"p{number}", "tiny-sum", "tiny", str(number), "0") for number in range(4)])
    run.store.write("selections", [Selection(run.run.run_id, f"p{number}", "easy", number > 0, "") for number in range(4)])
    with pytest.raises(ValueError, match=r"train.prompts_per_step = 4 is above the 3 prompts that the filter kept.*: lower it"):
        make_job(run, steps)
    run.store.write("selections", [Selection(run.run.run_id, "p0", "easy", True, "")])
    assert make_job(run, steps).run_id == run.run.run_id
