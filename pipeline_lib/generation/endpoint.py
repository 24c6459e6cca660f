"""A model behind an OpenAI-compatible endpoint: one response a request, which is sent again until a whole answer has come.

One response a request, since `usage` counts the tokens of all of a request's responses together.
"""

import asyncio
import json
import math
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pipeline_lib.config import EndpointConfig
from pipeline_lib.generation.protocol import Sampling
from pipeline_lib.messages.faults import RESUMES, Explained, one_line
from pipeline_lib.records import Completion, FinishReason

if TYPE_CHECKING:
    import httpx

MOST_BYTES = 64 << 20  # of an answer: some hundred thousand tokens with their log-probs
MOST_TOKENS = 2**31 - 1
SEEDS = 2**31  # what every server takes
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 60.0
LONGEST_RETRY_AFTER_SECONDS = 300.0
# An address that has never answered is most likely wrong.
RETRIES_OF_A_STRANGER = 3
PASSING = (408, 409, 425, 429)
SHOWN = 300  # characters of what a server says
CUT = ("length", "max_tokens")
BROKEN = (None, "abort", "error")


class EndpointFailed(Explained):
    """An endpoint gave no answer that can be used; one line."""


class _Failed(Exception):
    """A try that failed by something that may pass; `after` is how many seconds the server asks to wait."""

    def __init__(self, line: str, after: float | None = None) -> None:
        super().__init__(line)
        self.after = after


@dataclass(slots=True)
class Usage:
    """What was asked and answered so far."""

    requests: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Endpoint:
    """The connections to an endpoint, within `async with`. Raises ValueError where the key's variable holds no key."""

    def __init__(self, config: EndpointConfig, model: str) -> None:
        self._config, self._model = config, model
        self._key = read_key(config)
        self._client: httpx.AsyncClient | None = None
        self._asks_logprobs, self._has_answered = config.logprobs, False
        self._tokenizer: Any = None
        self.usage = Usage()

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that the configuration names, loaded on first use; None without."""
        if self._tokenizer is None and self._config.tokenizer:
            from transformers import AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(self._config.tokenizer)
        return self._tokenizer

    async def __aenter__(self) -> "Endpoint":
        import httpx

        number, seconds = self._config.concurrency, self._config.answer_seconds
        self._client = httpx.AsyncClient(
            base_url=f"{self._config.base_url}/",
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(seconds, connect=min(seconds, 30.0)),
            limits=httpx.Limits(max_connections=number, max_keepalive_connections=number),
            follow_redirects=False,  # a key and problems are for this address alone
            trust_env=not self._config.is_local,  # a proxy cannot reach this machine's loopback
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._client:
            await self._client.aclose()

    async def complete(
        self, messages: Sequence[dict[str, str]], arguments: dict[str, Any], sampling: Sampling, seed: int
    ) -> Completion:
        """One response to these turns; `arguments` are for the chat template. Raises EndpointFailed."""
        body = {
            "model": self._model,
            "messages": messages,
            self._config.limit_parameter: sampling.limit_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed % SEEDS,
            **({"chat_template_kwargs": arguments} if arguments else {}),
            **self._config.parameters,
        }
        number = 0
        while True:
            try:
                return self._read(await self._answer_to(body))
            except _Failed as failed:
                most = self._config.retries if self._has_answered else min(self._config.retries, RETRIES_OF_A_STRANGER)
                if number >= most:
                    tries = f"asked {number + 1} times" if number else "asked once"
                    raise EndpointFailed(self._line(f"{failed} ({tries}); {RESUMES}")) from None
                await asyncio.sleep(_pause_seconds(number) if failed.after is None else failed.after)
                number, self.usage.retries = number + 1, self.usage.retries + 1

    async def _answer_to(self, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON of an answer with status 200. Raises _Failed, or EndpointFailed for what would come again."""
        import httpx

        asks_logprobs = self._asks_logprobs
        self.usage.requests += 1
        try:
            async with asyncio.timeout(self._config.answer_seconds):
                status, headers, content = await self._post({**body, "logprobs": True} if asks_logprobs else body)
        except (TimeoutError, httpx.TimeoutException):
            raise _Failed(f"has given no whole answer within {self._config.answer_seconds:g} s") from None
        except httpx.RequestError as error:
            raise _Failed(f"does not answer: {self._shown(str(error)) or type(error).__name__}") from None
        if status == 200:
            tree = _json(content)
            if not isinstance(tree, dict):
                kind = headers.get("content-type", "").partition(";")[0] or "something"
                raise _Failed(f"answers with {self._shown(kind)} that is no JSON object: is base_url the API's?")
            self._has_answered = True
            return tree
        said = self._shown(_message(content))
        if status in PASSING or status >= 500:
            self._has_answered = True
            raise _Failed(f"answers {status}{said and f': {said}'}", _retry_after(headers.get("retry-after", "")))
        if asks_logprobs and status in (400, 422) and "logprob" in said.lower():
            self._asks_logprobs = False
            return await self._answer_to(body)
        raise EndpointFailed(self._line(self._refusal(status, said, headers.get("location", ""))))

    async def _post(self, body: dict[str, Any]) -> tuple[int, Any, bytes]:
        assert self._client, "within async with"
        content = bytearray()
        async with self._client.stream("POST", "chat/completions", json=body) as response:
            async for part in response.aiter_bytes():
                content += part
                if len(content) > MOST_BYTES:
                    raise _Failed(f"answers with more than {MOST_BYTES >> 20} MiB")
            return response.status_code, response.headers, bytes(content)

    def _read(self, tree: dict[str, Any]) -> Completion:
        """The response in an answer. Raises _Failed for one that is not whole."""
        try:
            choice = tree["choices"][0]
            message, reason = choice["message"], choice.get("finish_reason")
            text = _text(message)
        except (LookupError, TypeError, AttributeError):
            said = self._shown(_message(json.dumps(tree).encode()))
            raise _Failed(f"answers without a response{said and f': {said}'}") from None
        if reason in BROKEN:
            raise _Failed(f"answers with a response that did not end (finish_reason = {reason!r})")
        logprobs = _logprobs(choice)
        finish: FinishReason = "length" if reason in CUT else "stop"
        usage = tree.get("usage")
        num_prompt_tokens = _count(usage, "prompt_tokens")
        completion = Completion([], logprobs, text, finish, self._num_tokens(usage, text, logprobs), num_prompt_tokens)
        self.usage.input_tokens += num_prompt_tokens or 0
        self.usage.output_tokens += completion.num_tokens
        return completion

    def _num_tokens(self, usage: Any, text: str, logprobs: list[float]) -> int:
        counted = _count(usage, "completion_tokens") or len(logprobs)
        if counted or not text:
            return counted
        if self.tokenizer is not None:
            return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        raise EndpointFailed(
            self._line("tells no number of tokens (no usage, no log-probs): name a tokenizer, generation.endpoint.tokenizer")
        )

    def _refusal(self, status: int, said: str, location: str) -> str:
        said = said and f": {said}"
        if 300 <= status < 400:
            to = f" to {self._shown(location)}" if location else ""
            return f"answers {status}, a redirect{to}, which is not followed: base_url must be where the API is"
        if status in (401, 403):
            variable = self._config.key_variable
            which = f"the key in {variable}" if variable else "requests without a key (generation.endpoint.key_variable)"
            return f"answers {status} and refuses {which}{said}"
        if status == 404:
            return f"answers 404: it has no chat/completions there, or no model {self._model!r} (base_model){said}"
        return f"answers {status}{said}"

    def _line(self, what: str) -> str:
        return f"the endpoint {self._config.base_url} {what}"

    def _shown(self, text: str) -> str:
        """What a server says as it may be shown: one line, not long, and without the key."""
        line = one_line(text.replace(self._key, "***") if self._key else text)
        return line if len(line) <= SHOWN else f"{line[:SHOWN]} …"


def read_key(config: EndpointConfig) -> str:
    """The key in the variable that the configuration names; empty where it names none. Raises ValueError that does not show it."""
    if config.key_variable is None:
        return ""
    key = os.environ.get(config.key_variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        what = "holds characters that no key has" if key else "is not set"
        raise ValueError(f"generation.endpoint.key_variable: the environment variable {config.key_variable} {what}")
    return key


def _pause_seconds(number: int) -> float:
    """How long to wait after a request has failed for so many times before; at random, so that not all come back at once."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(number, 10)) * random.uniform(0.5, 1.0)


def _retry_after(header: str) -> float | None:
    """The seconds, or the time, of a Retry-After header, within bounds; None where it says nothing."""
    try:
        seconds: float = float(header) if header.strip().isdigit() else parsedate_to_datetime(header).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _message(content: bytes) -> str:
    """What a server says is wrong; nothing of a page for people."""
    tree = _json(content)
    for key in ("error", "message", "detail"):
        if isinstance(tree, dict) and isinstance(tree.get(key), str | dict):
            tree = tree[key]
    if isinstance(tree, str):
        return tree
    text = content[: 4 * SHOWN].decode("utf-8", "replace")
    return "" if tree is not None or text.lstrip().startswith("<") else text


def _text(message: dict[str, Any]) -> str:
    """Reasoning, where it stands beside the content, and content: as models write them, one after the other."""
    reasoning, content = message.get("reasoning_content") or message.get("reasoning") or "", message.get("content") or ""
    if not isinstance(reasoning, str) or not isinstance(content, str):
        raise TypeError("not a text")
    if reasoning:
        content = f"<think>\n{reasoning}\n</think>\n\n{content}" if content else f"<think>\n{reasoning}"
    return content.encode("utf-8", "replace").decode()  # halves of surrogate pairs, which no file takes


def _logprobs(choice: dict[str, Any]) -> list[float]:
    """The log-probs of a response; empty where it has none, or no numbers."""
    try:
        found = [float(token["logprob"]) for token in choice["logprobs"]["content"]]
    except (LookupError, TypeError, ValueError):
        return []
    return found if all(map(math.isfinite, found)) else []


def _count(usage: Any, key: str) -> int | None:
    count = usage.get(key) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 < count <= MOST_TOKENS else None
