"""What one generation saves that is scored at every token budget, against one a budget: same seeds, same verdicts, fewer tokens.

    python -m benchmarks.sweep_saving [PROMPTS]      # 105; a minute on two cores, no network

The tiny model on held-out sums, four samples a prompt, at the demo's budgets; the two ways in turn. Prints accuracy at every budget
in both ways, tokens and seconds; ends with 1 where a verdict differs.
"""

import sys

import numpy as np
from transformers import AutoTokenizer

from benchmarks.host_overhead import CONFIG
from pipeline_lib.config import PromptSource, load_config
from pipeline_lib.evaluation.budget_sweep import cut_at_budget, sample_outcomes
from pipeline_lib.files import markdown
from pipeline_lib.generation.protocol import Sampling
from pipeline_lib.generation.sampling import sample_and_judge
from pipeline_lib.generation.vllm_engine import VllmGenerator
from pipeline_lib.prompts import load_prompts
from pipeline_lib.rewards.base import Outcomes
from pipeline_lib.tiny_world import BASE_FOLDER

NUM_SAMPLES = 4
BUDGETS = load_config("configs/demo.toml").evaluate.budgets_tokens


def main() -> int:
    """Measure and print."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 105
    source = PromptSource(name="tiny", kind="tiny", split="test", num_prompts=number, grader="exact", domain="tiny")
    prompts, tokenizer = load_prompts(source), AutoTokenizer.from_pretrained(BASE_FOLDER)
    generator = VllmGenerator(str(BASE_FOLDER), CONFIG, CONFIG.max_prompt_tokens + max(BUDGETS))

    def sample(limit: int) -> tuple[Outcomes, int, float]:
        samples, seconds = sample_and_judge(generator, tokenizer, source, prompts, NUM_SAMPLES, Sampling(limit), ("sweep",))
        rollouts = [each.rollout("sweep", "evaluate", 0, "base", source.name) for each in samples]
        groups = [rollouts[start : start + NUM_SAMPLES] for start in range(0, len(rollouts), NUM_SAMPLES)]
        return sample_outcomes(groups), sum(each.num_tokens for each in samples), seconds

    sample(max(BUDGETS))  # warms up
    one, tokens, seconds = sample(max(BUDGETS))
    rows, tokens_of_all, seconds_of_all, differing = [], 0, 0.0, 0
    for budget in BUDGETS:
        own, own_tokens, own_seconds = sample(budget)
        cut = cut_at_budget(one, budget)
        differing += int(np.sum(cut.correct_PN != own.correct_PN))
        rows.append([str(budget), f"{cut.correct_PN.mean():.2%}", f"{own.correct_PN.mean():.2%}"])
        tokens_of_all, seconds_of_all = tokens_of_all + own_tokens, seconds_of_all + own_seconds
    rows.append(["tokens generated", f"{tokens:,}", f"{tokens_of_all:,} ({tokens_of_all / tokens:.2f} times)"])
    rows.append(["seconds", f"{seconds:.2f}", f"{seconds_of_all:.2f} ({seconds_of_all / seconds:.2f} times)"])
    print(markdown.table(["budget", "one generation", "one a budget"], rows))
    print(f"{differing} of {one.correct_PN.size * len(BUDGETS)} verdicts differ")
    generator.close()
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
