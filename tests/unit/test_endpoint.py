"""A model behind an endpoint, held against a server of this machine that answers well or badly, and against nothing at all."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import ChatServer, chat_answer, dripping_server, free_port
from typer.testing import CliRunner

from flows.cli import app
from pipeline_lib.config import EndpointConfig, PromptSource, RunConfig, load_config
from pipeline_lib.fleet.fleets import make_fleet
from pipeline_lib.generation import endpoint as endpoint_module
from pipeline_lib.generation.endpoint import Endpoint, EndpointFailed
from pipeline_lib.generation.protocol import Sampling
from pipeline_lib.guidelines import PlannedRun, check_run
from pipeline_lib.jobs import GenerateJob, GenerateUnit, write_prompts
from pipeline_lib.prompts import load_prompts
from pipeline_lib.records import Completion, EndpointUsage, Rollout
from pipeline_lib.runs.run import Run, runs_of
from pipeline_lib.stages import STAGES
from pipeline_lib.store.rollout_files import read_stage_rollouts

KEY = "sk-AbC123"
SAMPLING = Sampling(64, temperature=0.5, top_p=0.9)
GOOD = (200, {}, chat_answer("it is 3"))
# What may pass: each costs a try.
FAULTS: dict[str, tuple[tuple[int, dict[str, str], bytes], str]] = {
    "429": ((429, {"retry-after": "0"}, b'{"error": {"message": "slow down"}}'), "answers 429: slow down"),
    "500": ((500, {}, b"<html>nginx</html>"), "answers 500"),
    "half a body": ((200, {"content-length": "900"}, GOOD[2]), "does not answer: peer closed connection"),
    "half a JSON": ((200, {}, GOOD[2][:60]), "application/json that is no JSON object"),
    "a page": ((200, {"content-type": "text/html"}, b"<html>login</html>"), "text/html that is no JSON object"),
    "no choices": ((200, {}, b'{"choices": []}'), "answers without a response"),
    "an error in 200": ((200, {}, b'{"error": "overloaded"}'), "answers without a response: overloaded"),
    "null text and role": ((200, {}, b'{"choices": [{"message": null}]}'), "answers without a response"),
    "not ended": ((200, {}, chat_answer("it", finish_reason=None)), "did not end"),
    "nothing": ((0, {}, b""), "does not answer"),
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("MY_KEY", KEY)


def ask(settings: EndpointConfig, arguments: dict[str, Any] | None = None) -> tuple[Completion, Endpoint]:
    async def once() -> tuple[Completion, Endpoint]:
        async with Endpoint(settings, "some-model") as endpoint:
            return await endpoint.complete([{"role": "user", "content": "1+2"}], arguments or {}, SAMPLING, 2**40 + 7), endpoint

    return asyncio.run(once())


def in_turn(*answers: Any) -> Callable[[ChatServer, Any], Any]:
    """Answers one after the other, the last again and again."""
    return lambda server, _: answers[min(len(server.asked), len(answers)) - 1]


def test_a_request_and_its_answer() -> None:
    with ChatServer(in_turn(GOOD)) as server:
        settings = EndpointConfig(base_url=f"{server.url}/", key_variable="MY_KEY", parameters={"top_k": -1})
        completion, endpoint = ask(settings, {"enable_thinking": False})
    assert server.asked == [
        {
            "model": "some-model",
            "messages": [{"role": "user", "content": "1+2"}],
            "max_tokens": 64,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": (2**40 + 7) % 2**31,
            "chat_template_kwargs": {"enable_thinking": False},
            "top_k": -1,
            "logprobs": True,
        }
    ]
    assert server.headers_seen[0]["authorization"] == f"Bearer {KEY}"
    assert (completion.text, completion.num_tokens, completion.finish_reason) == ("it is 3", 9, "stop")
    assert (endpoint.usage.requests, endpoint.usage.input_tokens, endpoint.usage.output_tokens) == (1, 5, 9)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_may_pass_costs_a_try(fault: str) -> None:
    answer, line = FAULTS[fault]
    with ChatServer(in_turn(answer, GOOD)) as server:
        completion, endpoint = ask(EndpointConfig(base_url=server.url))
        assert completion.text == "it is 3"
        assert (endpoint.usage.requests, endpoint.usage.retries) == (2, 1)
    with ChatServer(in_turn(answer)) as server, pytest.raises(EndpointFailed) as failed:
        ask(EndpointConfig(base_url=server.url, retries=1))
    assert str(failed.value).startswith(f"the endpoint {server.url} ")
    assert line in str(failed.value)
    assert "(asked 2 times); the same command resumes" in str(failed.value)
    assert "\n" not in str(failed.value)
    assert len(server.asked) == 2


@pytest.mark.parametrize("first", [b"", b'HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{"choices"'])
def test_one_that_hangs_has_a_deadline(first: bytes) -> None:
    with (
        dripping_server(first) as (address, _),
        pytest.raises(EndpointFailed, match=r"no whole answer within 0.3 s|does not answer"),
    ):
        started = time.monotonic()
        ask(EndpointConfig(base_url=address, retries=1, answer_seconds=0.3))
    assert time.monotonic() - started < 5


def test_nothing_listens() -> None:
    with pytest.raises(EndpointFailed, match=r"does not answer: .*\(asked 4 times\)"):
        ask(EndpointConfig(base_url=f"http://127.0.0.1:{free_port()}/v1", retries=50))


def test_it_waits_as_long_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    async def sleep(seconds: float) -> None:
        told.append(seconds)

    monkeypatch.setattr(endpoint_module.asyncio, "sleep", sleep)
    date = "Fri, 01 Jan 1999 00:00:00 GMT"
    answers = [(429, {"retry-after": header}, b"{}") for header in ("7", "999999", date, "soon")]
    with ChatServer(in_turn(*answers, GOOD)) as server:
        ask(EndpointConfig(base_url=server.url))
    assert told[:3] == [7.0, 300.0, 0.0]
    assert 0 < told[3] < 1


def test_what_would_come_again_is_said_at_once_and_shows_no_key() -> None:
    with ChatServer(in_turn(GOOD)) as other:
        for answer, words in (
            ((302, {"location": f"{other.url}/chat/completions"}, b""), r"a redirect to .*base_url must be"),
            (
                (401, {}, json.dumps({"error": {"message": f"wrong key {KEY}"}}).encode()),
                r"the key in MY_KEY: wrong key \*\*\*",
            ),
            ((404, {}, b'{"detail": "Not Found"}'), "no model 'some-model'"),
            ((400, {}, b'{"message": "maximum context length is 4096"}'), "400: maximum context length is 4096"),
        ):
            with ChatServer(in_turn(answer)) as server, pytest.raises(EndpointFailed, match=words) as failed:
                ask(EndpointConfig(base_url=server.url, key_variable="MY_KEY"))
            assert KEY not in str(failed.value)
            assert len(server.asked) == 1
        assert not other.asked


def test_a_key_that_is_none_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EndpointConfig(base_url="http://127.0.0.1:1", key_variable="MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk-1\nsk-2")
    with pytest.raises(ValueError, match="MY_KEY holds characters that no key has$"):
        Endpoint(settings, "m")
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ValueError, match="variable MY_KEY is not set$"):
        Endpoint(settings, "m")


def test_log_probs_are_asked_for_until_they_are_refused() -> None:
    refusal = (400, {}, b'{"error": {"message": "logprobs is not supported with this model"}}')
    tree = json.loads(GOOD[2])
    tree["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]}
    del tree["usage"]
    with ChatServer(in_turn((200, {}, json.dumps(tree).encode()))) as server:
        completion, _ = ask(EndpointConfig(base_url=server.url))
    assert (completion.logprobs, completion.num_tokens) == ([-0.5, -1.5], 2)
    with ChatServer(in_turn(refusal, GOOD)) as server:
        completion, endpoint = ask(EndpointConfig(base_url=server.url))
    assert (completion.logprobs, endpoint.usage.retries) == ([], 0)
    assert ["logprobs" in asked for asked in server.asked] == [True, False]
    with ChatServer(in_turn(GOOD)) as server:
        ask(EndpointConfig(base_url=server.url, logprobs=False))
    assert "logprobs" not in server.asked[0]


@pytest.mark.parametrize(
    ("answer", "text", "finish"),
    [
        (chat_answer("3", reasoning_content="1+2"), "<think>\n1+2\n</think>\n\n3", "stop"),
        (chat_answer("3", reasoning="1+2"), "<think>\n1+2\n</think>\n\n3", "stop"),
        (chat_answer(None, reasoning="1+", finish_reason="length"), "<think>\n1+", "length"),  # type: ignore[arg-type]
        (chat_answer("3", finish_reason="eos"), "3", "stop"),
        (chat_answer("\ud800x"), "?x", "stop"),
    ],
)
def test_reasoning_belongs_to_the_response(answer: bytes, text: str, finish: str) -> None:
    with ChatServer(in_turn((200, {}, answer))) as server:
        completion, _ = ask(EndpointConfig(base_url=server.url))
    assert (completion.text, completion.finish_reason, completion.num_tokens) == (text, finish, 9)


def test_without_a_count_of_tokens_it_says_what_to_name() -> None:
    tree = {"choices": json.loads(GOOD[2])["choices"]}
    answer = (200, {}, json.dumps(tree).encode())
    with ChatServer(in_turn(answer)) as server, pytest.raises(EndpointFailed, match=r"generation\.endpoint\.tokenizer"):
        ask(EndpointConfig(base_url=server.url))


def test_an_answer_without_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "MOST_BYTES", 1 << 20)
    with ChatServer(in_turn((200, {}, b" " * (2 << 20)))) as server, pytest.raises(EndpointFailed, match="more than 1 MiB"):
        ask(EndpointConfig(base_url=server.url, retries=0))


# --- stages over an endpoint


def configured(url: str, *changes: str) -> RunConfig:
    settings = (f"generation.endpoint.base_url={url}", "prompts.num_prompts=40", "profile.num_rollouts=3", *changes)
    return load_config(Path(__file__).resolve().parents[2] / "configs" / "served.toml", settings)


def job_of(config: RunConfig, folder: Path) -> GenerateJob:
    write_prompts(folder / "prompts.json", load_prompts(config.prompts))
    return GenerateJob(
        units=(
            GenerateUnit(
                run_id=config.run_id,
                stage="profile",
                step=0,
                model=config.base_model,
                source=config.prompts,
                prompts_file=str(folder / "prompts.json"),
                num_samples=config.profile.num_rollouts,
                limit_tokens=64,
                temperature=1.0,
                top_p=1.0,
                seed=0,
                shard_prefix="abc",
                output_folder=str(folder / "profile"),
            ),
        )
    )


def solver(source: PromptSource, faulty: Callable[[int], Any]) -> Callable[[ChatServer, dict[str, Any]], Any]:
    """Answers every problem rightly, but where `faulty(number of the request)` is a fault."""
    gold = {prompt.problem: prompt.answer for prompt in load_prompts(source)}

    def answer(server: ChatServer, body: dict[str, Any]) -> Any:
        problem = body["messages"][0]["content"]
        return faulty(len(server.asked)) or (200, {}, chat_answer(f"\\boxed{{{gold[problem]}}}"))

    return answer


def generate(config: RunConfig, folder: Path) -> tuple[dict[str, Any], list[EndpointUsage], list[Rollout]]:
    usage: list[EndpointUsage] = []
    fleet = make_fleet(config, "", folder, on_usage=usage.append)
    fleet.start()
    try:
        result = fleet.run(job_of(config, folder))
    finally:
        rollouts = read_stage_rollouts(folder / "profile", "abc-")
    return result, usage, rollouts


def test_no_shard_is_lost_or_doubled_whatever_the_server_does(tmp_path: Path) -> None:
    ill = [answer for name, (answer, _) in FAULTS.items() if name != "nothing"]
    with ChatServer(lambda *_: GOOD) as server:
        config = configured(server.url, "prices.output_per_million_tokens=1000", "generation.endpoint.concurrency=8")
        server.answer = solver(config.prompts, lambda number: ill[number % len(ill)] if number % 3 == 0 else None)
        result, usage, rollouts = generate(config, tmp_path)
        asked = len(server.asked)
        again, more, same = generate(config, tmp_path)
    assert len(server.asked) == asked, "what is there is not asked for again"
    assert same == rollouts
    assert len({(rollout.prompt_id, rollout.sample_index) for rollout in rollouts}) == len(rollouts) == 120
    assert all(rollout.correct and rollout.num_tokens == 9 and rollout.mean_logprob is None for rollout in rollouts)
    assert {rollout.model for rollout in rollouts} == {"tiny"}
    assert asked == usage[-1].requests == 120 + usage[-1].retries
    assert (result["num_tokens"], result["input_tokens"], result["cost_usd"]) == (1080, 600, pytest.approx(1.08))
    assert usage[-1].cost == pytest.approx(1.08)
    assert (again["rollouts"], more[-1].requests) == (120, 0)


def test_what_came_before_a_server_was_lost_is_kept(tmp_path: Path) -> None:
    lost = (503, {}, b"")
    with ChatServer(lambda *_: GOOD) as server:
        config = configured(server.url, "generation.endpoint.concurrency=4", "generation.endpoint.retries=2")
        server.answer = solver(config.prompts, lambda number: lost if number > 80 else None)
        with pytest.raises(EndpointFailed, match=r"answers 503 \(asked 3 times\); the same command resumes"):
            generate(config, tmp_path)
        kept = read_stage_rollouts(tmp_path / "profile", "abc-")
        assert len(kept) == 63  # one shard of 21 prompts
        first = len(server.asked)
        server.answer = solver(config.prompts, lambda _: None)
        _, usage, rollouts = generate(config, tmp_path)
    assert len(server.asked) - first == usage[-1].requests == 120 - 63
    assert len({(rollout.prompt_id, rollout.sample_index) for rollout in rollouts}) == len(rollouts) == 120


def test_a_stage_has_a_deadline_and_can_be_ended(tmp_path: Path) -> None:
    with dripping_server() as (address, asked):
        late = configured(address, "generation.endpoint.stage_seconds=0.4", "generation.endpoint.answer_seconds=60")
        with pytest.raises(EndpointFailed, match=r"stage_seconds = 0.4 are over with 0 of 120 responses"):
            generate(late, tmp_path)
        fleet = make_fleet(configured(address), "", tmp_path)

        def end(progress: dict[str, Any]) -> None:
            assert progress["total"] in (0, 120)
            if asked.is_set():
                fleet.kill()

        started = time.monotonic()
        with pytest.raises(EndpointFailed, match="given up"):
            fleet.run(job_of(late, tmp_path), end)
        assert time.monotonic() - started < 10


# --- the configuration


def test_it_is_another_run_where_another_model_answers() -> None:
    config = configured("http://127.0.0.1:1/v1")
    others = (
        "generation.endpoint.concurrency=1",
        "generation.endpoint.key_variable=MY_KEY",
        "prices.input_per_million_tokens=1",
    )
    assert configured("http://127.0.0.1:1/v1", *others).run_id == config.run_id
    assert configured("http://127.0.0.1:2/v1").run_id != config.run_id
    effort = configured("http://127.0.0.1:1/v1", 'generation.endpoint.parameters={reasoning_effort="low"}')
    assert Run.of(effort).base.digest != Run.of(config).base.digest
    assert [
        run.config.name
        for run in runs_of(configured("http://127.0.0.1:1", "control.enabled=true", "train.rollout_limit_tokens=192"))
    ] == ["served"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("generation.engine=vllm", "needed together"),
        ("generation.endpoint.base_url=https://user:secret@host/v1", "is no address"),
        ("generation.endpoint.base_url=https://host/v1?api_key=secret", "is no address"),
        ("generation.endpoint.key_variable=secret", "no name of an environment variable"),
        ("generation.endpoint.api_key=secret", "unknown key generation.endpoint.api_key"),
        ("generation.endpoint.parameters={stream=true}", "stream cannot be set here"),
        ("chat_style=r1-distill", "chat template opens the response"),
        ("retrain={}", "is not retrained"),
    ],
)
def test_a_mistake_is_told_and_no_key_is_shown(change: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as mistake:
        configured("http://127.0.0.1:1/v1", change)
    assert "secret" not in str(mistake.value)
    assert "secret" not in str(mistake.value.__cause__)


def test_training_is_refused_in_one_line(home: Path) -> None:
    with pytest.raises(ValueError, match=r"tiny is served elsewhere.* train needs the weights"):
        STAGES["train"].require_possible(configured("http://127.0.0.1:1/v1"))
    for stage in ("train", "register"):
        done = CliRunner().invoke(app, [stage, "configs/served.toml"])
        assert isinstance(done.exception, ValueError)
        assert "\n" not in str(done.exception)
    assert not (home / "laconic.duckdb").exists()


def test_check_warns_of_a_key_that_everybody_can_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY")

    def remarks(url: str, *changes: str) -> set[str]:
        return {remark.rule.id for remark in check_run(PlannedRun.of(configured(url, *changes), home))}

    key = "generation.endpoint.key_variable=MY_KEY"
    assert remarks("http://10.0.0.1:8000/v1", key) >= {"key-in-the-clear", "key-not-set", "served-without-price"}
    assert not remarks("https://host/v1", key, "prices.output_per_million_tokens=1") & {
        "key-in-the-clear",
        "served-without-price",
    }
    monkeypatch.setenv("MY_KEY", KEY)
    assert not {"key-in-the-clear", "key-not-set", "served-without-price"} & remarks("http://127.0.0.1:8000/v1", key)
    assert "key-in-the-clear" not in remarks("http://10.0.0.1:8000/v1", "prices.input_per_million_tokens=1")
