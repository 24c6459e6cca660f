"""`laconic up` with a smoke pipeline: the pages in a browser, two pipelines at once, cancelling in every phase, a killed worker."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from driving import LACONIC, LIGHT, REPOSITORY, laconic, sql, wait_until_no_process_is_left
from foreign import ATTEMPTS, foreign_site
from serving import CHROMIUM, CHROMIUM_FLAGS, Served, keep_screenshot, served, serving_environment
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from pipeline_lib.jobs import read_json
from pipeline_lib.processes import descendants
from pipeline_lib.stages import STAGES

PIPELINE = "laconic-pipeline/pipeline"
SMOKE = "configs/smoke.toml"
DEPLOYMENTS = {
    each["name"] for each in yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
} | STAGES.keys()
# Everything that a run of all stages has, in fewer answers than the smoke run.
FEWER = [
    *LIGHT,
    *("prompts.num_prompts=24", "profile.num_rollouts=2", "profile.rollout_limit_tokens=96", 'filter.subset="all"'),
    *("evaluate.budgets_tokens=[24, 48]", "evaluate.benchmarks.0.num_prompts=16"),
]
# Sizes that make each phase of a training step last some seconds, so that a cancellation arrives within it.
SLOW = [
    *FEWER,
    *("train.steps=2", "train.prompts_per_step=12", "train.num_rollouts=32", "compute.micro_batch_tokens=512"),
    "checkpoint.every_steps=1",
]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`laconic up` with room for two flows at once."""
    with served(tmp_path_factory.mktemp("served") / "home", slots=2) as running:
        yield running


def test_everything_is_registered_and_says_what_it_takes(up: Served) -> None:
    found = {row["name"]: row for row in up.call("POST", "/deployments/filter", {"limit": 100})}
    assert found.keys() >= DEPLOYMENTS
    assert all(row["description"] and row["tags"] and row["enforce_parameter_schema"] for row in found.values())
    assert up.call("GET", "/v2/concurrency_limits/gpu")["limit"] == 2
    assert up.call("GET", "/work_pools/laconic")["type"] == "process"
    schema = found["pipeline"]["parameter_openapi_schema"]
    assert SMOKE in schema["properties"]["config"]["enum"]
    assert all(parameter.get("description") for parameter in schema["properties"].values())
    changes = schema["definitions"]["Changes"]["properties"]
    assert all(change.get("description") for change in changes.values())
    refused = up.call(
        "POST", f"/deployments/{found['pipeline']['id']}/create_flow_run", {"parameters": {"changes": {"steps": 0}}}
    )
    assert refused["status"] == 409
    assert "less than the minimum of 1" in refused["detail"]


def test_registering_again_keeps_what_was_set_on_the_pages(up: Served) -> None:
    deployment = up.deployment("laconic-filter/filter")["id"]
    made = [{"schedule": {"cron": "0 5 * * 1", "timezone": "UTC"}, "active": False, "parameters": {"config": SMOKE}}]
    up.call("POST", f"/deployments/{deployment}/schedules", made)
    told = {**serving_environment(up.home), "PREFECT_API_URL": f"{up.prefect}/api", "PREFECT_HOME": str(up.home / "prefect")}
    done = subprocess.run([*LACONIC, "deploy", "--slots", "2"], env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [kept] = up.deployment("laconic-filter/filter")["schedules"]
    assert (kept["schedule"]["cron"], kept["active"], kept["parameters"]) == ("0 5 * * 1", False, {"config": SMOKE})


def test_what_is_taken_is_said(up: Served, tmp_path: Path) -> None:
    second = laconic(up.home, "up", check=False)
    assert second.returncode == 1
    assert "is up already" in second.stderr
    other = laconic(tmp_path / "other", "up", *up.ports, check=False)
    assert other.returncode == 1
    assert "cannot listen on 127.0.0.1" in other.stderr


def changed_by_others(up: Served) -> tuple[list[str], list[str]]:
    """Names of the flow runs and of MLflow's experiments that a foreign page could have made."""
    runs = [run["name"] for run in up.call("POST", "/flow_runs/filter", {"limit": 200})]
    found = httpx.get(f"{up.mlflow}/api/2.0/mlflow/experiments/search?max_results=100", trust_env=False).json()
    return [name for name in runs if name == "foreign"], [
        each["name"] for each in found["experiments"] if each["name"] == "foreign"
    ]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (make browser installs Debian's)")
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_site_creates_reads_and_runs_nothing(up: Served, tmp_path: Path, name: str) -> None:
    marker = tmp_path / "ran"
    given = [up.prefect, up.mlflow, up.deployment("laconic-filter/filter")["id"], f"touch {marker}"]
    with foreign_site() as port, page_of(up.prefect) as page:
        page.goto(f"http://{name}:{port}/")
        outcomes = page.evaluate(ATTEMPTS, given)
        page.wait_for_timeout(1000)  # the form
    assert {what: outcome for what, outcome in outcomes.items() if outcome != "refused"} == {}
    assert changed_by_others(up) == ([], [])
    assert not marker.exists()


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example:4200"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_requests_of_another_site_are_refused_on_every_address(up: Served, headers: dict[str, str]) -> None:
    token = up.call("GET", "/csrf-token?client=mine")
    mine = {"Prefect-Csrf-Token": token.get("token", ""), "Prefect-Csrf-Client": "mine", **headers}
    create = f"{up.prefect}/api/deployments/{up.deployment('laconic-filter/filter')['id']}/create_flow_run"
    with httpx.Client(trust_env=False, headers=mine) as client:
        answers = [
            client.post(create, json={"name": "foreign", "job_variables": {"command": "false"}}),
            client.post(f"{up.prefect}/api/flow_runs/filter", json={}),
            client.get(f"{up.prefect}/api/csrf-token?client=foreign"),
            client.get(f"{up.prefect}/api/health"),
            client.get(f"{up.prefect}/ui-settings"),
            client.get(f"{up.mlflow}/ajax-api/2.0/mlflow/experiments/search?max_results=5"),
            client.get(f"{up.mlflow}/api/2.0/mlflow/experiments/search?max_results=5"),
            client.post(f"{up.mlflow}/api/2.0/mlflow/experiments/create", json={"name": "foreign"}),
            client.get(f"{up.mlflow}/api/2.0/mlflow-artifacts/artifacts?path=x"),
            client.get(f"{up.mlflow}/version"),
        ]
    assert [answer.status_code for answer in answers] == [403] * len(answers), [answer.text[:80] for answer in answers]
    assert changed_by_others(up) == ([], [])
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{up.prefect.replace('http', 'ws')}/api/events/in", additional_headers=headers, proxy=None)
    assert refused.value.response.status_code in (400, 403)


def test_a_link_from_elsewhere_still_shows_a_page_but_no_data(up: Served) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}
    with httpx.Client(trust_env=False, headers=link) as client:
        shown = [client.get(f"{up.prefect}/runs"), client.get(f"{up.mlflow}/")]
        assert [answer.status_code for answer in shown] == [200, 200]
        assert [answer.headers["x-frame-options"] for answer in shown] == ["SAMEORIGIN", "SAMEORIGIN"]
        assert client.get(f"{up.prefect}/api/csrf-token?client=x").status_code == 403


def test_writing_needs_a_token_which_our_own_clients_fetch(up: Served) -> None:
    refused = httpx.post(f"{up.prefect}/api/flow_runs/filter", json={}, trust_env=False)
    assert (refused.status_code, "CSRF" in refused.text) == (403, True)
    with connect(f"{up.prefect.replace('http', 'ws')}/api/events/in", proxy=None):
        pass  # programs send no Origin


@pytest.mark.parametrize("variable", ["command", "env", "working_dir"])
def test_job_variables_are_refused(up: Served, variable: str) -> None:
    path = f"/deployments/{up.deployment('laconic-filter/filter')['id']}/create_flow_run"
    value = {"PATH": "/tmp"} if variable == "env" else "/tmp"
    refused = up.call("POST", path, {"name": "foreign", "job_variables": {variable: value}})
    assert refused["status"] == 422, refused
    assert f"'{variable}' was unexpected" in refused["detail"]
    assert changed_by_others(up) == ([], [])


@pytest.fixture(scope="module")
def both(up: Served) -> tuple[str, str]:
    """Two pipelines at once: one started on the pages (where there is a browser), one over HTTP. Flow run ids."""
    first = start_on_the_pages(up) if CHROMIUM else up.start(PIPELINE, config=SMOKE, changes={"steps": 4, "seed": 1})
    # The first has vLLM.
    return first, up.start(PIPELINE, config=SMOKE, changes={"steps": 4, "seed": 2}, overrides=FEWER)


def start_on_the_pages(up: Served) -> str:
    """Find the deployment, fill its form, submit it; returns the flow run's id."""
    with page_of(up.prefect) as page:
        page.goto(f"{up.prefect}/deployments")
        page.get_by_role("link", name="pipeline", exact=True).first.wait_for()
        page.wait_for_timeout(1000)
        keep_screenshot(page, "deployments")
        page.get_by_role("link", name="pipeline", exact=True).first.click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_text("Custom run").click()
        page.locator(".p-select-button__value").first.wait_for()
        choose(page, SMOKE)
        for label, value in (("Steps (Optional)", "4"), ("Seed (Optional)", "1")):
            field = page.locator(".p-label", has=page.get_by_text(label, exact=True)).last
            field.get_by_role("button", name="int", exact=True).click()
            field.locator("input").fill(value)
        page.get_by_text("Parameters", exact=True).scroll_into_view_if_needed()
        keep_screenshot(page, "pipeline_form")
        page.get_by_role("button", name="Submit").click()
        page.wait_for_timeout(2000)
    created = up.call("POST", "/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})[0]
    assert created["parameters"]["config"] == SMOKE
    assert (created["parameters"]["changes"]["steps"], created["parameters"]["changes"]["seed"]) == (4, 1)
    return str(created["id"])


def choose(page: Any, value: str) -> None:
    """Choose from the first list of a form; it may take the click for a focus first."""
    option = page.get_by_role("option", name=value, exact=True)
    for _ in range(4):
        page.locator(".p-select-button__icon").first.click()
        page.wait_for_timeout(700)
        if option.count():
            option.first.click()
            return
    raise AssertionError(f"the list does not offer {value}")


class page_of:
    """A page in headless Chromium."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> Any:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = self._browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(30_000)
        return page

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._playwright.stop()


def test_two_pipelines_at_once_complete_and_do_not_mix(up: Served, both: tuple[str, str]) -> None:
    assert [up.wait(flow_run) for flow_run in both] == ["COMPLETED", "COMPLETED"], up.logs(both[0]) + up.logs(both[1])
    spans = [up.call("GET", f"/flow_runs/{flow_run}") for flow_run in both]
    assert spans[1]["start_time"] < spans[0]["end_time"], "they did not run at the same time"
    runs = sql(up.home, "select run_id, config->>'seed' as seed, status, prefect_flow_run_id from runs order by seed")
    assert [(row["seed"], row["status"], row["prefect_flow_run_id"]) for row in runs] == [
        ("1", "completed", both[0]),
        ("2", "completed", both[1]),
    ]
    counted = sql(
        up.home,
        """select run_id, stage, count(*) as n, count(distinct rollout_id) as ids from rollouts
           where stage != 'evaluate' group by run_id, stage order by run_id, stage""",
    )
    of_run = {row["run_id"]: number for number, row in enumerate(runs)}
    assert sorted((of_run[row["run_id"]], row["stage"], row["n"], row["ids"]) for row in counted) == [
        (0, "profile", 192, 192),
        (0, "train", 256, 256),
        (1, "profile", 48, 48),
        (1, "train", 256, 256),
    ]
    steps = sql(up.home, "select run_id, count(*) as n, max(step) as last from training_steps group by run_id")
    assert [(row["n"], row["last"]) for row in steps] == [(4, 4), (4, 4)]
    lengths = sql(up.home, "select distinct run_id, mean_tokens from training_steps where step = 1")
    assert lengths[0]["mean_tokens"] != lengths[1]["mean_tokens"], "different seeds, yet the same rollouts"


def test_a_run_shows_its_progress_tables_and_pictures(up: Served, both: tuple[str, str]) -> None:
    up.wait(both[1])
    shown = {artifact["key"]: artifact for artifact in up.artifacts(both[1])}
    assert shown["smoke-train-progress"]["data"] == 100
    assert shown["smoke-profile-progress"]["data"] == 100
    table = shown["smoke-training-steps"]["data"]
    assert [row["step"] for row in (table if isinstance(table, list) else json.loads(table))] == [4, 3, 2, 1]
    assert shown["smoke-training-dynamics"]["data"].startswith("data:image/png;base64,")
    mlflow_run = sql(up.home, f"select mlflow_run_id from runs where prefect_flow_run_id = '{both[1]}'")[0]["mlflow_run_id"]
    assert f"{up.mlflow}/#/experiments/" in shown["smoke-mlflow"]["data"]
    assert mlflow_run in shown["smoke-mlflow"]["data"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (make browser installs Debian's)")
def test_the_pages_show_the_run_its_artifacts_and_the_model(up: Served, both: tuple[str, str]) -> None:
    assert up.wait(both[0]) == "COMPLETED"
    with page_of(up.prefect) as page:
        page.goto(f"{up.prefect}/runs/flow-run/{both[0]}")
        page.get_by_text("Completed").first.wait_for()
        page.wait_for_timeout(3000)
        keep_screenshot(page, "flow_run")
        shown = {artifact["key"]: artifact["id"] for artifact in up.artifacts(both[0])}
        for key, text, picture_name in (
            ("smoke-budgets", "mean_at_k", "artifact_budgets"),
            ("smoke-training-steps", "reward_mean", "artifact_steps"),
            ("smoke-train-progress", "Progress: 100%", "artifact_progress"),
        ):
            page.goto(f"{up.prefect}/artifacts/artifact/{shown[key]}")
            page.get_by_text(text).first.wait_for()
            page.wait_for_timeout(1000)
            keep_screenshot(page, picture_name)
        page.goto(f"{up.prefect}/artifacts/artifact/{shown['smoke-training-dynamics']}")
        picture = page.locator("img[src^='data:image/png']").first
        picture.wait_for()
        assert picture.evaluate("image => image.complete && image.naturalWidth > 400")
        page.wait_for_timeout(1000)
        keep_screenshot(page, "artifact_dynamics")
        page.goto(f"{up.mlflow}/#/models/smoke")
        page.get_by_text("challenger").first.wait_for()
        page.wait_for_timeout(1500)
        keep_screenshot(page, "mlflow_model")


def wait_for_phase(up: Served, flow_run: str, wanted: str) -> None:
    """Wait until the worker of a flow run says that it is in this part of a training step."""
    query = f"select run_id from runs where prefect_flow_run_id = '{flow_run}'"
    wait_for(lambda: bool(sql(up.home, query)))
    run_id = sql(up.home, query)[0]["run_id"]

    def reached() -> bool:
        folder = max(up.home.glob(f"workers/{run_id}-*/"), key=lambda path: path.stat().st_mtime, default=up.home)
        files = sorted(folder.glob("*.progress.json"))
        try:
            phase = read_json(files[-1]).get("phase") if files else None
        except (OSError, ValueError):
            return False
        return bool(phase == wanted)

    wait_for(reached)


def wait_for(what: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.3)


@pytest.mark.parametrize(
    ("phases", "seed", "overrides"),
    [
        (["updating"], 2, SLOW),
        pytest.param(["generating", "checkpointing"], 1, [*SLOW, "validation.num_samples=32"], marks=pytest.mark.slow),
    ],
)
def test_cancelled_in_any_phase_a_run_leaves_no_process_and_goes_on(
    up: Served, both: tuple[str, str], phases: list[str], seed: int, overrides: list[str]
) -> None:
    for flow_run in both:  # whose profile is taken over
        up.wait(flow_run)
    for phase in phases:
        start = start_from_the_command_line if phase == "updating" else start_over_http
        flow_run = start(up, changes={"seed": seed}, overrides=overrides)
        wait_for_phase(up, flow_run, phase)
        up.call("POST", f"/flow_runs/{flow_run}/set_state", {"state": {"type": "CANCELLING"}})
        told = time.monotonic()
        up.wait_until_no_engine(30)
        assert up.wait(flow_run, 30) == "CANCELLED"
        assert time.monotonic() - told < 30
        row = sql(up.home, f"select status, error from runs where prefect_flow_run_id = '{flow_run}'")[0]
        assert row == {"status": "cancelled", "error": "terminated"}
    last = up.start(PIPELINE, config=SMOKE, changes={"seed": seed}, overrides=overrides)
    assert up.wait(last) == "COMPLETED", up.logs(last)
    run = sql(up.home, f"select run_id, status from runs where prefect_flow_run_id = '{last}'")[0]
    assert run["status"] == "completed"
    steps = sql(up.home, f"select step, num_rollouts from training_steps where run_id = '{run['run_id']}' order by step")
    assert [(row["step"], row["num_rollouts"]) for row in steps] == [(step, 12 * 32) for step in (1, 2)]
    assert up.call("GET", "/v2/concurrency_limits/gpu")["active_slots"] == 0


def test_a_killed_flow_leaves_no_orphan_and_nothing_marked_as_running(up: Served, both: tuple[str, str]) -> None:
    for flow_run in both:
        up.wait(flow_run)
    flow_run = up.start(PIPELINE, config=SMOKE, changes={"seed": 2, "steps": 200}, overrides=FEWER)
    query = f"select status, error from runs where prefect_flow_run_id = '{flow_run}'"
    wait_for(lambda: bool(sql(up.home, query)))
    [process] = [process for process in psutil.process_iter() if runs_flow(process, flow_run)]
    os.kill(process.pid, signal.SIGKILL)
    up.wait_until_no_engine(30)
    assert up.wait(flow_run, 60) == "CRASHED"
    wait_for(lambda: sql(up.home, query)[0]["status"] == "failed", seconds=10)  # by the flow's hook, which the worker runs
    assert "without a word" in sql(up.home, query)[0]["error"]


@pytest.mark.slow
@pytest.mark.parametrize(("way", "seed"), [("CANCELLED", 4), ("CRASHED", 5)])
def test_no_actor_and_no_child_is_left_of_a_fleet_on_ray_whose_flow_is_cancelled_or_killed(
    up: Served, way: str, seed: int
) -> None:
    flow_run = up.start(PIPELINE, config=SMOKE, changes={"seed": seed}, overrides=[*SLOW, "fleet.kind=ray"])
    wait_for_phase(up, flow_run, "updating")
    # What it is about to start looks like it for a moment.
    flow = min((each for each in psutil.process_iter() if runs_flow(each, flow_run)), key=psutil.Process.create_time)
    started = descendants(flow.pid)
    names = [" ".join(process.cmdline()) for process in started]
    assert {"ray::TrainerActor", "ray::GeneratorActor"} <= {name.split(".")[0] for name in names}, names
    if way == "CANCELLED":
        up.call("POST", f"/flow_runs/{flow_run}/set_state", {"state": {"type": "CANCELLING"}})
    else:
        flow.kill()
    assert psutil.wait_procs([flow], timeout=30)[1] == []
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert up.wait(flow_run, 60) == way
    query = f"select status from runs where prefect_flow_run_id = '{flow_run}'"
    wait_for(lambda: sql(up.home, query) == [{"status": {"CANCELLED": "cancelled", "CRASHED": "failed"}[way]}], seconds=10)


def start_from_the_command_line(up: Served, **parameters: Any) -> str:
    """As docs/howto/schedule.md says, with Prefect's own command; returns the flow run's id."""
    given = [f"--param={name}={json.dumps(value)}" for name, value in parameters.items()]
    command = [sys.executable, "-m", "prefect", "deployment", "run", PIPELINE, "--param", f"config={SMOKE}", *given]
    told = {**serving_environment(up.home), "PREFECT_API_URL": f"{up.prefect}/api", "PREFECT_HOME": str(up.home / "prefect")}
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    [found] = re.findall(r"UUID: ([0-9a-f-]{36})", done.stdout)
    return str(found)


def start_over_http(up: Served, **parameters: Any) -> str:
    return up.start(PIPELINE, config=SMOKE, **parameters)


def runs_flow(process: psutil.Process, flow_run: str) -> bool:
    try:
        return "prefect.engine" in process.cmdline() and process.environ().get("PREFECT__FLOW_RUN_ID") == flow_run
    except psutil.Error:
        return False


def test_a_killed_worker_leaves_no_orphan_and_nothing_marked_as_running(up: Served, both: tuple[str, str]) -> None:
    for flow_run in both:
        up.wait(flow_run)
    flow_run = up.start(PIPELINE, config=SMOKE, changes={"seed": 2, "steps": 200}, overrides=FEWER)
    wait_for(lambda: any("worker.program" in line for line in up.engine_processes()))
    workers = [process for process in psutil.process_iter() if is_prefect_worker(process, up.home)]
    assert len(workers) == 1
    os.kill(workers[0].pid, signal.SIGKILL)
    up.wait_until_no_engine(30)
    assert up.wait(flow_run, 60) == "CRASHED"
    assert sql(up.home, "select count(*) as n from runs where status = 'running'") == [{"n": 0}]
    wait_for(lambda: any(is_prefect_worker(process, up.home) for process in psutil.process_iter()))  # started again


def is_prefect_worker(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get("LACONIC_HOME") == str(home) and " prefect worker start" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def test_down_ends_everything(up: Served) -> None:
    up.end()
    wait_until_no_process_is_left(up.home)
    assert "nothing is up" in laconic(up.home, "down").stdout
