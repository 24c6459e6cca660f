"""vLLM in this process: seeded sampling with exact log-probs, and in-place weight updates.

The CPU backend keeps a packed copy of a tied output layer that a reload does not refresh, so it is packed again after each.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.config import GenerationConfig
from pipeline_lib.generation.protocol import OnFinished, Sampling
from pipeline_lib.records import Completion

if TYPE_CHECKING:
    import torch

GIB = 2**30
CPU_BATCH_TOKENS = 4096


def configure_environment() -> None:
    """Set what vLLM reads from the environment; must run before it is first imported."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # The default binding puts every engine of a machine on the same cores, which serialises two runs side by side.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")


class VllmGenerator:
    """A vLLM engine for one model folder or hub id."""

    def __init__(
        self, model: str, config: GenerationConfig, max_model_tokens: int, revision: str | None = None, world_size: int = 1
    ) -> None:
        configure_environment()
        import torch
        from vllm import LLM

        self._on_cpu = not torch.cuda.is_available()
        placement: dict[str, Any] = {"gpu_memory_utilization": config.gpu_memory_utilization}
        if self._on_cpu:
            placement = {
                "kv_cache_memory_bytes": int(config.kv_cache_gib * GIB),
                # A prompt prefilled in chunks rewinds its seeded random generator, which torch's CPU generator cannot do.
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(max_model_tokens, CPU_BATCH_TOKENS),
            }
        if world_size > 1:
            # One whole engine a rank, inside the process group of the launcher.
            placement["distributed_executor_backend"] = "external_launcher"
        self._llm = LLM(
            model=model,
            revision=revision,
            dtype=config.dtype,
            max_model_len=max_model_tokens,
            max_num_seqs=config.max_num_seqs,
            enforce_eager=config.enforce_eager or self._on_cpu,
            logprobs_mode="processed_logprobs",
            # Model folders bring sampling defaults (top_k, top_p) that would silently narrow the distribution.
            generation_config="vllm",
            disable_log_stats=True,
            seed=0,
            **placement,
        )

    def generate(
        self, prompts: Sequence[list[int]], sampling: Sampling, seeds: Sequence[int], on_finished: OnFinished | None = None
    ) -> list[Completion]:
        """See `Generator.generate`."""
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        parameters = [
            SamplingParams(
                temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.limit_tokens, logprobs=0, seed=seed
            )
            for seed in seeds
        ]
        requests = [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts]

        def bar(added: Any = None, **_: Any) -> Any:
            # vLLM wraps two loops: the adding of requests (an iterable) and their running.
            return added if added is not None else _FinishedCounter(on_finished)

        outputs = self._llm.generate(requests, parameters, use_tqdm=bar if on_finished else False)
        return [_completion(output.outputs[0]) for output in outputs]

    def load_weights(self, named_weights: Iterable[tuple[str, "torch.Tensor"]]) -> None:
        """See `Generator.load_weights`."""
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(named_weights)})
        self._after_reload()

    def load_folder(self, folder: Path) -> None:
        """See `Generator.load_folder`."""
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
        self._after_reload()

    def _after_reload(self) -> None:
        if self._on_cpu:
            self._llm.apply_model(_pack_tied_head)
        self._llm.reset_prefix_cache()

    def close(self) -> None:
        """See `Generator.close`."""
        del self._llm


def _pack_tied_head(model: Any) -> None:
    if getattr(model.config, "tie_word_embeddings", False):
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        dispatch_cpu_unquantized_gemm(model.lm_head, remove_weight=False)


def _completion(output: Any) -> Completion:
    token_ids = list(output.token_ids)
    logprobs = [entry[token].logprob for token, entry in zip(token_ids, output.logprobs, strict=True)]
    reason = "stop" if output.finish_reason == "stop" else "length"
    return Completion(token_ids, logprobs, output.text, reason)  # type: ignore[arg-type]


class _FinishedCounter:
    """The part of tqdm's interface that vLLM calls, reporting finished requests to a callback."""

    def __init__(self, on_finished: OnFinished | None) -> None:
        self._on_finished = on_finished
        self.n = 0
        self.postfix = ""
        self.format_dict = {"elapsed": 1.0}

    def update(self, count: int = 1) -> None:
        self.n += count
        if self._on_finished:
            self._on_finished(count)

    def refresh(self) -> None: ...

    def close(self) -> None: ...
