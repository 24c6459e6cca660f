"""Corpus, batches, learning-rate schedule, loss and gate verdict of the warm-up."""

from collections import Counter

import pytest
import torch

from pipeline_lib.config import WarmupConfig
from pipeline_lib.tiny_world.corpus import Sample, draw_corpus, pack_batches
from pipeline_lib.tiny_world.problems import parse_problem, split_of
from pipeline_lib.tiny_world.tokenizer import build_tokenizer
from pipeline_lib.tiny_world.traces import boxed_answer, style_of
from pipeline_lib.tiny_world.warmup import build_model, collate, rate_fraction, response_loss
from pipeline_lib.tiny_world.warmup_gate import Sampled, gate_problems, gate_reasons, summarise

SMALL = WarmupConfig(hidden_size=16, num_layers=1, intermediate_size=16, num_heads=2, num_key_value_heads=1, head_dim=8)


def test_corpus_follows_the_recipe() -> None:
    tokenizer = build_tokenizer()
    config = WarmupConfig(train_tokens=60_000, curriculum_fraction=0.25)
    samples = draw_corpus(config, tokenizer)
    assert sum(len(sample.token_ids) for sample in samples[:-1]) < 60_000 <= sum(len(sample.token_ids) for sample in samples)
    seen = 0
    styles: Counter[str] = Counter()
    for sample in samples:
        prompt = str(tokenizer.decode(sample.token_ids[: sample.prompt_tokens]))
        problem = prompt.removeprefix("<|im_start|>user\n").removesuffix("<|im_end|>\n<|im_start|>assistant\n")
        response = str(tokenizer.decode(sample.token_ids[sample.prompt_tokens : -1]))
        assert split_of(problem) == "train"
        assert sample.token_ids[-1] == tokenizer.eos_token_id
        assert len(sample.token_ids) - sample.prompt_tokens <= config.max_response_tokens
        assert boxed_answer(response) is not None
        if seen < 15_000:
            assert style_of(response) == "count"
            assert len(parse_problem(problem).operations) <= 3
        else:
            styles[style_of(response)] += 1
        seen += len(sample.token_ids)
    shares = {style: count / styles.total() for style, count in styles.items()}
    assert shares["count"] == pytest.approx(0.29, abs=0.08)
    assert shares["table"] == pytest.approx(0.22, abs=0.08)


def test_batches_hold_every_sample_once_within_the_budget() -> None:
    samples = [Sample([index] * (10 + 37 * index % 150), 5) for index in range(300)]
    batches = pack_batches(samples, 600, seed=0)
    assert sorted(sample.token_ids[0] for batch in batches for sample in batch) == list(range(300))
    padded = [len(batch) * max(len(sample.token_ids) for sample in batch) for batch in batches]
    assert max(padded) <= 600
    assert sum(len(sample.token_ids) for sample in samples) / sum(padded) > 0.85


def test_a_sample_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    assert [len(batch) for batch in pack_batches([Sample([1] * 50, 5)] * 3, 40, seed=0)] == [1, 1, 1]


def test_learning_rate_rises_stays_and_falls_to_two_percent() -> None:
    config = WarmupConfig(warmup_steps=10, flat_fraction=0.6)
    assert rate_fraction(0, 1000, config) == pytest.approx(0.1)
    assert rate_fraction(9, 1000, config) == 1.0
    assert rate_fraction(600, 1000, config) == 1.0
    assert rate_fraction(800, 1000, config) == pytest.approx(0.51)
    assert rate_fraction(1000, 1000, config) == pytest.approx(0.02)


def test_loss_is_the_mean_over_response_tokens_only() -> None:
    model = build_model(SMALL, build_tokenizer()).eval()
    batch = [Sample([5, 6, 7, 8, 2], 2), Sample([5, 9, 2], 1)]
    loss = response_loss(model, *collate(batch, 0)).item()
    # Plain computation, one sample at a time and without padding: tokens 7, 8, 2 after the first prompt, 9, 2 after the second.
    terms = []
    for sample in batch:
        log_probs = model(torch.tensor([sample.token_ids])).logits[0].log_softmax(-1)
        positions = range(sample.prompt_tokens, len(sample.token_ids))
        terms += [-log_probs[position - 1, sample.token_ids[position]].item() for position in positions]
    assert len(terms) == 5
    assert loss == pytest.approx(sum(terms) / 5, abs=1e-5)


def test_model_is_qwen3_of_the_stated_size_and_follows_the_seed() -> None:
    tokenizer = build_tokenizer()
    before = torch.get_rng_state()
    model = build_model(WarmupConfig(seed=3), tokenizer)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.config.model_type == "qwen3"
    assert model.lm_head.weight is model.model.embed_tokens.weight
    # Embedding; per layer q, o (128x128), k, v (128x64), three 128x384, two norms of 128, two of 32; last norm.
    per_layer = 2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 384 + 2 * 128 + 2 * 32
    assert sum(parameter.numel() for parameter in model.parameters()) == len(tokenizer) * 128 + 3 * per_layer + 128
    same, other = build_model(WarmupConfig(seed=3), tokenizer), build_model(WarmupConfig(seed=4), tokenizer)
    assert torch.equal(model.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)


def test_gate_problems_are_held_out_and_uniform_in_length() -> None:
    problems = gate_problems("sum", WarmupConfig(gate_problems=143))
    assert Counter(len(problem) // 3 for problem in problems) == {1: 20, 2: 20, 3: 20, 4: 20, 5: 21, 6: 21, 7: 21}
    assert {split_of(problem) for problem in problems} == {"validation"}


def test_figures_of_four_responses_by_hand() -> None:
    figures = summarise(
        [
            Sampled("7a+3b-2", "<think>\n7a+3=0\n0b-2=8\n</think>\n\\boxed{8}", 22, True),
            Sampled("7a+3b-2", "<think>\n7a+3=1\n1b-2=9\n</think>\n\\boxed{9}", 22, True),
            Sampled("7a+3", "<think>\n7a+3 8+2 9+1 0+0\n</think>\n\\boxed{0}", 22, True),
            Sampled("7a+3", "<think>\n7a+3 8+2 9", 10, False),
        ]
    )
    assert (figures.num_sampled, figures.accuracy, figures.mean_tokens, figures.truncated_fraction) == (4, 0.5, 19.0, 0.25)
    assert figures.accuracy_by_operations == {"1": 0.5, "2": 0.5}
    assert figures.share_by_style == {"count": 0.25, "other": 0.25, "table": 0.5}
    assert figures.accuracy_by_style == {"count": 1.0, "other": 0.0, "table": 0.5}
    assert figures.line_accuracy == {"count": 1.0, "table": 0.75}
    assert figures.line_accuracy_by_operand == {"count": {"3": 1.0}, "table": {"2": 1.0, "3": 0.5}}
    assert figures.lines_out_of_turn == 0.0
    reasons = gate_reasons({"sum": figures}, WarmupConfig(min_table_line_accuracy=0.8))
    assert reasons == ["table line accuracy 0.750 is outside 0.80..0.92"]
    assert gate_reasons({"sum": figures}, WarmupConfig()) == []
