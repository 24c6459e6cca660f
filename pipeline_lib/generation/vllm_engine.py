"""vLLM in this process: seeded sampling with exact log-probs, in-place weight updates that are checked, and sleep beside a trainer."""

import gc
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.config import GenerationConfig
from pipeline_lib.generation.checksums import Checksums, digest_of, require_sent_weights
from pipeline_lib.generation.packed import Coming, Packed
from pipeline_lib.generation.parity import ParityError, require_folder_parity
from pipeline_lib.generation.protocol import EngineRanks, More, OnFinished, Sampling
from pipeline_lib.records import Completion

if TYPE_CHECKING:
    import torch

    from pipeline_lib.generation.vllm_weights import Held

GIB = 2**30
CPU_BATCH_TOKENS = 4096
AT_START = "as loaded"  # the version of the weights that vLLM has loaded by itself, which nothing has proven yet


def configure_environment() -> None:
    """Set what vLLM reads from the environment; must run before it is first imported."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # The default binding puts every engine of a machine on the same cores, which serialises two runs side by side.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    import torch

    if not torch.cuda.is_available():
        # vLLM compiles one comparison of the sampler, with a C++ compiler: two seconds of an engine's start, for nothing on a CPU.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")


def on_cpu() -> bool:
    """Whether vLLM runs on the CPU here."""
    import torch

    return not torch.cuda.is_available()


class VllmGenerator:
    """A vLLM engine for one model folder or hub id, or one rank's part of it (`ranks`: those that share it).

    One that `is_apart` from the trainer is a `Receiver`.
    """

    def __init__(
        self,
        model: str,
        config: GenerationConfig,
        max_model_tokens: int,
        revision: str | None = None,
        world_size: int = 1,
        ranks: EngineRanks | None = None,
        is_apart: bool = False,
    ) -> None:
        configure_environment()
        import vllm.v1.engine.core
        from vllm import LLM

        # It collects garbage three times before it freezes what is left: half a second of a start that has made none.
        vllm.v1.engine.core.freeze_gc_heap = gc.freeze
        self._config, self._ranks = config, ranks or EngineRanks()
        self._model, self._revision, self._version = model, revision, AT_START
        self._on_cpu = on_cpu()
        self._can_sleep, self._sleeps = config.sleep and not self._on_cpu, False
        placement: dict[str, Any] = {"gpu_memory_utilization": config.gpu_memory_utilization}
        if self._on_cpu:
            placement = {
                "kv_cache_memory_bytes": int(config.kv_cache_gib * GIB),
                # A prompt prefilled in chunks rewinds its seeded random generator, which torch's CPU generator cannot do.
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(max_model_tokens, CPU_BATCH_TOKENS),
            }
        if world_size > 1:
            # Each rank its engine, or its part of one, inside the process group of the launcher.
            placement["distributed_executor_backend"] = "external_launcher"
        elif config.tensor_parallel > 1:
            placement["distributed_executor_backend"] = "mp"  # processes of its own, for an engine apart from the trainer
        placement["tensor_parallel_size"] = config.tensor_parallel
        if is_apart:
            from pipeline_lib.generation.vllm_transfer import SETTINGS

            placement |= SETTINGS
        shared_memory = self._name_shared_memory() if self._on_cpu and ranks else None
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
            enable_sleep_mode=self._can_sleep,
            **placement,
        )
        self._llm.update_weight_version(self._version)
        if shared_memory and self._ranks.place == 0:
            # All ranks have it open; a name would outlive a process that is killed.
            for path in Path("/dev/shm").glob(f"{shared_memory}-*"):
                path.unlink()

    def _name_shared_memory(self) -> str:
        """Give the memory that an engine's ranks share on a CPU a name of its own.

        vLLM names it after the address at which the ranks met, and an external launcher's is the same for all engines of a machine.
        """
        from vllm.v1.executor.uniproc_executor import ExecutorWithExternalLauncher

        name: str = self._ranks.gather(uuid.uuid4().hex)[0]
        place = (f"env://:{name}", int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]))
        setattr(ExecutorWithExternalLauncher, "_distributed_args", lambda _: place)  # noqa: B010  (not ours to type)
        return name

    def generate(
        self,
        prompts: Sequence[list[int]],
        sampling: Sampling,
        seeds: Sequence[int],
        on_finished: OnFinished | None = None,
        more: More | None = None,
    ) -> list[Completion]:
        """See `Generator.generate`; `more` is asked before each step."""
        engine, tokenizer = self._llm.llm_engine, self._llm.get_tokenizer()
        asked: list[list[int]] = []
        self._add(asked, zip(prompts, seeds, strict=True), sampling)
        completions: dict[int, Completion] = {}
        try:
            while engine.has_unfinished_requests():
                if more:
                    self._add(asked, more(), sampling)
                for output in engine.step():
                    self._require_version(output.outputs[0])
                    number = int(output.request_id)
                    completions[number] = _completion(tokenizer, asked[number], output.outputs[0])
                    if on_finished:
                        on_finished(number, completions[number])
        except BaseException:
            engine.abort_request([str(number) for number in range(len(asked)) if number not in completions])
            raise
        return [completions[number] for number in range(len(asked))]

    def _add(self, asked: list[list[int]], added: Iterable[tuple[list[int], int]], sampling: Sampling) -> None:
        """Hand prompts with their seeds to the engine, numbered on from those that it has been asked for."""
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        for prompt, seed in added:
            parameters = SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.limit_tokens,
                seed=seed,
                logprobs=0,
                # The engine's thread works on every token: a dict of log-probs and a piece of text for each would hold it up.
                flat_logprobs=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            self._llm.llm_engine.add_request(str(len(asked)), tokens_input(prompt), parameters)
            asked.append(prompt)

    def _require_version(self, output: Any) -> None:
        versions = {span.version for span in output.weight_versions or ()}
        if versions != {self._version}:
            raise ParityError(f"the engine generated with the weights of {sorted(versions)}, not of {self._version}")

    def load_weights(self, named_weights: Iterable[tuple[str, "torch.Tensor"]], version: str) -> str:
        """See `Generator.load_weights`; not for an engine apart from the trainer."""
        from pipeline_lib.generation.vllm_weights import reload

        return self._proven(version, reload, named_weights, "", None)

    def connect(self, init_info: dict[str, Any]) -> None:
        """See `Receiver.connect`."""
        self._llm.shutdown_weight_transfer_engine()  # of a group before
        self._llm.init_weight_transfer_engine({"init_info": init_info})

    def receive(self, weights: Packed | Coming, version: str) -> str:
        """See `Receiver.receive`."""
        from pipeline_lib.generation.vllm_transfer import received, update_info

        self._llm.start_weight_update()
        self._llm.update_weights({"update_info": update_info(weights)})
        self._llm.finish_weight_update(version)
        return self._proven(version, received, weights.sent if isinstance(weights, Coming) else None)

    def load_folder(self, folder: Path) -> str:
        """See `Generator.load_folder`; weights that are there since the engine's start are proven, and not loaded again."""
        from pipeline_lib.generation.vllm_weights import compare, reload

        is_own = str(folder) == self._model
        revision = self._revision if is_own else None
        if is_own and self._version == AT_START and not self._sleeps:
            digest = self._proven(str(folder), compare, str(folder), revision)
        else:
            digest = self._proven(str(folder), reload, None, str(folder), revision)
        if self._on_cpu:
            # Its kernels read packed copies, which no checksum sees; and a model that runs on a CPU is small enough to run twice.
            require_folder_parity(self, folder, revision, self._config)
        return digest

    def _proven(self, version: str, how: Callable[..., "Held"], *arguments: Any) -> str:
        """Have the weights of a version put there, or looked at, and return the digest of what is there. Raises ParityError."""
        self._wake("weights")
        parts = self._llm.collective_rpc(how, args=arguments)
        self._wake("kv_cache")
        self._sleeps = False
        own: Checksums = sum((part.held for part in parts), start=Counter())
        held: Checksums = sum(self._ranks.gather(own), start=Counter())
        require_sent_weights(parts[0].sent, held, version, parts[0].fused, parts[0].unseen)
        self._llm.reset_prefix_cache()
        self._llm.update_weight_version(version)
        self._version = version
        return digest_of(held)

    def _wake(self, part: str) -> None:
        if self._sleeps:
            import torch

            torch.cuda.empty_cache()  # what the trainer's allocator holds back, the engine's cannot have
            self._llm.wake_up(tags=[part])

    def sleep(self) -> None:
        """See `Generator.sleep`: weights and cache are freed."""
        if self._can_sleep and not self._sleeps:
            self._llm.sleep(level=2)
            self._sleeps = True

    def drain(self) -> None:
        """See `Generator.drain`."""

    def close(self) -> None:
        """See `Generator.close`."""
        del self._llm


def _completion(tokenizer: Any, prompt: list[int], output: Any) -> Completion:
    token_ids, logprobs = list(output.token_ids), list(output.logprobs.logprobs)
    assert len(token_ids) == len(logprobs)
    is_stopped = output.finish_reason == "stop"
    # What stops a response, whatever token that is, is no part of its text.
    text = response_text(tokenizer, prompt, token_ids[:-1] if is_stopped else token_ids)
    return Completion(token_ids, logprobs, text, "stop" if is_stopped else "length")


def response_text(tokenizer: Any, prompt: list[int], token_ids: list[int]) -> str:
    """The text of a response, special tokens left out, as vLLM's incremental detokenizer gives it.

    That is, as what follows the prompt (some tokenizers drop a space at the beginning of a text), and without what comes after
    the last whole character.
    """

    def decode(ids: list[int]) -> str:
        text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    start = len(decode(prompt))
    while (text := decode(prompt + token_ids)[start:]).endswith("\N{REPLACEMENT CHARACTER}"):
        token_ids = token_ids[:-1]
    return text
