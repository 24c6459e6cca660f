"""Groups dealt over ranks and kept in shards through a crash, and graded while others are generated."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from pipeline_lib.anatomy import dissect
from pipeline_lib.config import PromptSource
from pipeline_lib.generation import sampling
from pipeline_lib.generation.protocol import Generator, OnFinished, Sampling
from pipeline_lib.generation.sampling import deal_groups, missing_groups, sample_and_judge, write_shards
from pipeline_lib.grading import grade_prompts, grade_responses
from pipeline_lib.jobs import GenerateUnit
from pipeline_lib.prompts import load_prompts
from pipeline_lib.records import Completion, Rollout
from pipeline_lib.store.rollout_files import read_rollout_file, write_rollout_file
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.training.groups import groups_of

SOURCE = PromptSource(
    name="tiny-sum",
    kind="tiny",
    split="test",
    num_prompts=30,
    grader="exact",
    domain="tiny",
    min_operations=1,
    max_operations=3,
)
PROMPTS = load_prompts(SOURCE)
NUM_SAMPLES = 8


class Echo(Generator):
    """An engine whose responses are a function of prompt and seed; the last prompt finishes first."""

    def __init__(self, after_each: Callable[[int], None] = lambda finished: None) -> None:
        self.after_each = after_each

    def generate(
        self, prompts: Sequence[list[int]], sampling: Sampling, seeds: Sequence[int], on_finished: OnFinished | None = None
    ) -> list[Completion]:
        made = [
            Completion([1] * (1 + seed % 5), [-0.5] * (1 + seed % 5), f"\\boxed{{{(sum(prompt) + seed) % 30}}}", "stop")
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        for number in reversed(range(len(made))):
            if on_finished:
                on_finished(number, made[number])
            self.after_each(number)
        return made


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(BASE_FOLDER)


def unit_in(folder: Path) -> GenerateUnit:
    return GenerateUnit(
        run_id="r",
        stage="evaluate",
        step=0,
        model="m",
        source=SOURCE,
        prompts_file="",
        num_samples=NUM_SAMPLES,
        limit_tokens=9,
        temperature=1.0,
        top_p=1.0,
        seed=0,
        shard_prefix="tiny-sum-00000-abc",
        output_folder=str(folder),
    )


def generate(folder: Path, tokenizer: Any, num_ranks: int) -> list[int]:
    """What all ranks of a worker write; the number of groups that each has generated."""
    unit = unit_in(folder)
    missing = missing_groups(unit, PROMPTS)
    counts = []
    for rank in range(num_ranks):
        [groups] = deal_groups([missing], rank, num_ranks)
        write_shards(Echo(), tokenizer, unit, PROMPTS, groups, lambda finished: None)
        counts.append(len(groups))
    return counts


def stored(folder: Path) -> list[Rollout]:
    number = {prompt.prompt_id: number for number, prompt in enumerate(PROMPTS)}
    rows = [row for path in folder.glob("*.parquet") for row in read_rollout_file(path)]
    return sorted(rows, key=lambda row: (number[row.prompt_id], row.sample_index))


def test_eight_ranks_share_a_benchmark_of_30_prompts(tmp_path: Path, tokenizer: Any) -> None:
    counts = generate(tmp_path / "8", tokenizer, 8)
    assert sum(counts) / (8 * max(counts)) == 30 / 32
    assert generate(tmp_path / "1", tokenizer, 1) == [30]
    assert stored(tmp_path / "8") == stored(tmp_path / "1")
    assert len(stored(tmp_path / "8")) == 30 * NUM_SAMPLES
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["tiny-sum-00000-abc-000000.parquet"]


def test_ranks_differ_by_one_group_at_most_in_each_unit_and_in_all_of_a_job() -> None:
    missing = [list(range(size)) for size in (30, 40, 1, 0, 3, 500, 2, 2)]
    shares = [deal_groups(missing, rank, 8) for rank in range(8)]
    for number, groups in enumerate(missing):
        counts = [len(share[number]) for share in shares]
        assert max(counts) - min(counts) <= 1
        assert sorted(group for share in shares for group in share[number]) == groups
    totals = [sum(map(len, share)) for share in shares]
    assert max(totals) - min(totals) <= 1


def test_an_interrupted_unit_keeps_its_shards_however_they_were_cut(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shards of the former cut, one of them damaged, and one of a single rank: eight ranks make the rest."""
    monkeypatch.setattr(sampling, "SHARD_ROLLOUTS", 10 * NUM_SAMPLES)
    generate(tmp_path / "whole", tokenizer, 1)
    rows = stored(tmp_path / "whole")
    per_shard = 10 * NUM_SAMPLES
    kept = write_rollout_file(tmp_path / "tiny-sum-00000-abc-00000-of-00003.parquet", rows[:per_shard])
    damaged = write_rollout_file(tmp_path / "tiny-sum-00000-abc-00001-of-00003.parquet", rows[per_shard : 2 * per_shard])
    damaged.write_bytes(damaged.read_bytes()[:-100])
    (tmp_path / "whole" / "tiny-sum-00000-abc-000020.parquet").rename(tmp_path / "tiny-sum-00000-abc-000020.parquet")
    before = kept.read_bytes()
    assert sorted(generate(tmp_path, tokenizer, 8)) == [1] * 6 + [2] * 2
    assert stored(tmp_path) == rows
    assert kept.read_bytes() == before and not damaged.exists()
    assert generate(tmp_path, tokenizer, 8) == [0] * 8


def test_groups_are_graded_while_others_are_generated(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last group is graded before the first is generated, and the grades are those of all at once."""
    graded, waited = threading.Event(), []

    def grade(*arguments: Any, **others: Any) -> Any:
        grades = grade_prompts(*arguments, **others)
        graded.set()
        return grades

    monkeypatch.setattr(sampling, "grade_prompts", grade)
    engine = Echo(lambda number: waited.append(graded.wait(20)) if number == NUM_SAMPLES else None)
    told: list[int] = []
    samples, _ = sample_and_judge(engine, tokenizer, SOURCE, PROMPTS, NUM_SAMPLES, Sampling(9), (0,), told.append)
    assert waited == [True]
    assert sum(told) == len(samples) == 30 * NUM_SAMPLES
    assert [(s.prompt.prompt_id, s.sample_index) for s in samples] == [(p.prompt_id, n) for p in PROMPTS for n in range(8)]
    texts, golds = [sample.completion.text for sample in samples], [sample.prompt.answer for sample in samples]
    assert [sample.grade for sample in samples] == grade_responses("exact", texts, golds, ["stop"] * len(texts))
    assert {sample.grade.correct for sample in samples} == {True, False}
    assert all(each.anatomy == dissect(each.completion.text, each.num_tokens, each.prompt, each.grade) for each in samples)


@pytest.mark.parametrize("num_ranks", [1, 3, 8])
def test_rollouts_dealt_one_by_one_are_those_of_whole_groups(tokenizer: Any, num_ranks: int) -> None:
    def draw(part: slice) -> list[sampling.Sample]:
        return sample_and_judge(Echo(), tokenizer, SOURCE, PROMPTS, NUM_SAMPLES, Sampling(9), (0,), part=part)[0]

    parts, whole = [draw(slice(rank, None, num_ranks)) for rank in range(num_ranks)], draw(slice(None))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert groups_of(PROMPTS, NUM_SAMPLES, parts) == whole
    own = PROMPTS[1::num_ranks]
    assert groups_of(own, NUM_SAMPLES, parts) == [sample for sample in whole if sample.prompt in own]


def test_an_error_in_grading_is_raised(tokenizer: Any) -> None:
    source = SOURCE.model_copy(update={"grader": "code"})
    with pytest.raises(ValueError, match="needs the tests of every problem"):
        sample_and_judge(Echo(), tokenizer, source, PROMPTS[:3], 2, Sampling(9), (0,))
