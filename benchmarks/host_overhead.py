"""What the host's work around vLLM costs: tokens of our generator against the bare engine's, with the same requests.

    python benchmarks/host_overhead.py [REQUESTS [REPEATS]]     # 256 and 5; a minute on two cores, no network

The tiny model of the tiny world, where the host is all there is to wait for. Each repeat takes the ways in turn: the engine with neither
log-probs nor text, our generator (flat log-probs, text decoded once a response), and the engine with dicts of log-probs and text as
it comes. Counts tokens a second of the processor's time on one thread, which hardly depends on what else runs; prints medians, and medians
of the ratios within a repeat.
"""

import os
import sys
import time
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; threads that wait for others count as working

from transformers import AutoTokenizer

from pipeline_lib.config import GenerationConfig, PromptSource
from pipeline_lib.generation.protocol import Sampling
from pipeline_lib.generation.vllm_engine import VllmGenerator
from pipeline_lib.prompts import load_prompts
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.tiny_world import BASE_FOLDER

LIMIT_TOKENS = 192
CONFIG = GenerationConfig(dtype="float32", max_prompt_tokens=64, kv_cache_gib=0.5)


def prompts_of(number: int) -> list[list[int]]:
    """Rendered prompts of the tiny world."""
    source = PromptSource(name="tiny", kind="tiny", split="test", num_prompts=number, grader="exact", domain="tiny")
    tokenizer = AutoTokenizer.from_pretrained(BASE_FOLDER)
    return [render_prompt(tokenizer, source, prompt.problem) for prompt in load_prompts(source)]


def run_engine(generator: VllmGenerator, prompts: list[list[int]], **settings: Any) -> int:
    """Tokens that the engine generates by itself under some sampling parameters."""
    from vllm import SamplingParams
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind

    engine, num_tokens = generator._llm.llm_engine, 0
    for seed, prompt in enumerate(prompts):
        parameters = SamplingParams(max_tokens=LIMIT_TOKENS, seed=seed, output_kind=RequestOutputKind.FINAL_ONLY, **settings)
        engine.add_request(str(seed), tokens_input(prompt), parameters)
    while engine.has_unfinished_requests():
        num_tokens += sum(len(output.outputs[0].token_ids) for output in engine.step())
    return num_tokens


def run_ours(generator: VllmGenerator, prompts: list[list[int]]) -> int:
    """Tokens of our generator."""
    completions = generator.generate(prompts, Sampling(LIMIT_TOKENS), list(range(len(prompts))))
    return sum(len(completion.token_ids) for completion in completions)


def main() -> None:
    """Measure, and print a line a way."""
    num_requests, repeats = (int(word) for word in [*sys.argv[1:], *("256", "5")[len(sys.argv) - 1 :]])
    prompts = prompts_of(num_requests)
    generator = VllmGenerator(str(BASE_FOLDER), CONFIG, CONFIG.max_prompt_tokens + LIMIT_TOKENS)
    ways = {
        "bare engine": lambda: run_engine(generator, prompts, detokenize=False),
        "our generator": lambda: run_ours(generator, prompts),
        "dicts and text": lambda: run_engine(generator, prompts, logprobs=0),
    }
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    tokens: set[int] = set()
    for repeat in range(repeats + 1):
        for way, run in ways.items():
            started = time.process_time()
            num_tokens = run()
            tokens.add(num_tokens)
            if repeat:  # the first warms up
                speeds[way].append(num_tokens / (time.process_time() - started))
    assert len(tokens) == 1, "the same seeds draw the same tokens"
    for way, found in speeds.items():
        ratio = median(one / bare for one, bare in zip(found, speeds["bare engine"], strict=True))
        print(f"{way:15} {median(found):8,.0f} tokens/s  {ratio:.2f} of the bare engine")
    generator.close()


if __name__ == "__main__":
    main()
