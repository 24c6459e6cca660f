"""Every command of the documentation's pages: run, or held against what it is for.

A comment `<!-- test: MARK -->` before a block says how:

| mark | the block is |
|---|---|
| none | run, on the home of the tutorial's smoke run |
| SHOWN=RUN | run with another file in place of the one shown |
| minutes, data, gpu | held, since it needs that: the command line is parsed, its configuration is loaded, its SQL is run |
| wheel | held; tests/e2e/test_real_model.py runs it where the wheel of a pretrained model can be had |
| refused | run, and refused with exit status 1 |
| served, gate, prefect, elsewhere | run by another test, named in RUN_BY |
| containers | held against compose.yaml and the command line |
| cluster | held: its files are there, and what `sbatch` hands on is a run; tests/unit/test_cluster_files.py looks into them |

The pages of findings, which experiments write, are held as `minutes`.
"""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from documented import Checkout, blocks_of, hold, parse
from driving import REPOSITORY, sql
from evidence import words_of

DOCS = REPOSITORY / "docs"
PAGES = ["../README.md", *sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if "```bash" in path.read_text())]
HELD = ("minutes", "data", "gpu", "wheel")
RUN_ELSEWHERE = ("served", "gate", "prefect", "elsewhere")

# Which test runs a command that is not run here, and the words of it that the test hands over. Commands by their first words.
RUN_BY: dict[str, tuple[str, tuple[str, ...]]] = {
    "laconic up": ("tests/e2e/test_served.py::test_everything_is_registered_and_says_what_it_takes", ("up",)),
    "laconic up --password-file": (
        "tests/e2e/test_password.py::test_the_password_is_asked_of_everybody_and_known_to_our_own",
        ("up", "--password-file"),
    ),
    "laconic down": ("tests/e2e/test_served.py::test_down_ends_everything", ("down",)),
    "laconic deploy": ("tests/e2e/test_served.py::test_registering_again_keeps_what_was_set_on_the_pages", ("deploy",)),
    "laconic retrain configs/retrain-tiny.toml": (
        "tests/e2e/test_retraining.py::test_a_killed_retraining_is_taken_up_and_decided_once",
        ("retrain", "configs/retrain-tiny.toml"),
    ),
    # By hand the rollback is refused, as the page says it is with nothing to go back to.
    "laconic rollback retrain-tiny": ("tests/e2e/test_retraining.py::test_by_hand", ("rollback", "retrain-tiny")),
    "laconic promotions retrain-tiny": ("tests/e2e/test_retraining.py::test_by_hand", ("promotions", "retrain-tiny")),
    "laconic promote RUN_ID": ("tests/e2e/test_retraining.py::test_by_hand", ("promote",)),
    "laconic export-model smoke@champion": ("tests/integration/test_release.py::test_to_the_hub", ("export-model", "--to")),
    "laconic serve": ("tests/e2e/test_model_server.py::test_the_server_says_what_the_engine_says", ("serve", "--port")),
    "export PREFECT_API_URL": (
        "tests/e2e/test_served.py::test_cancelled_in_any_phase_a_run_leaves_no_process_and_goes_on",
        ("PREFECT_API_URL",),
    ),
    "prefect deployment run laconic-pipeline/pipeline": (
        "tests/e2e/test_served.py::test_cancelled_in_any_phase_a_run_leaves_no_process_and_goes_on",
        ("deployment", "run", "laconic-pipeline/pipeline", "--param"),
    ),
    # Not curl itself, but the same requests by urllib.
    "id=$(curl": ("tests/e2e/test_served.py::test_two_pipelines_at_once_complete_and_do_not_mix", ("/deployments/name/",)),
    "token=$(curl": ("tests/e2e/test_served.py::test_two_pipelines_at_once_complete_and_do_not_mix", ("/csrf-token?client=",)),
    "curl": (
        "tests/e2e/test_served.py::test_two_pipelines_at_once_complete_and_do_not_mix",
        ("/deployments/", "/create_flow_run", "parameters", "Prefect-Csrf-Client", "Prefect-Csrf-Token"),
    ),
    "curl http://127.0.0.1:8000/v1/chat/completions": (
        "tests/e2e/test_model_server.py::test_the_server_says_what_the_engine_says",
        ("/v1/chat/completions", "messages", "max_tokens"),
    ),
    # They run the page's blocks.
    **dict.fromkeys(
        (
            "export LACONIC_HOME",
            "export RAY_",
            "export GLOO_",
            "PORTS=",
            "(umask 077; ray",
            "ray ",
            "laconic run configs/qwen3-8b.toml",
        ),
        ("tests/e2e/test_ray_clusters.py::test_two_nodes_by_hand", ("howto/ray-clusters.md", "elsewhere")),
    ),
    # They run the page's blocks; what follows the first line of the server's is its options.
    **dict.fromkeys(
        (
            "python -m vllm.entrypoints.openai.api_server",
            "laconic check configs/served.toml",
            "laconic run configs/served.toml",
            "laconic show served",
            'laconic sql "select stage, requests',
            "laconic filter configs/smoke.toml --rollouts served",
        ),
        ("tests/e2e/test_served_model_page.py::test_the_page", ("howto/served-model.md", "elsewhere")),
    ),
    # .ci/run is a script: the line stands in it.
    "make setup": (".ci/run", ("make setup",)),
    # Sets the path to what `make setup` has made; nothing of ours to run.
    "source .venv/bin/activate": (".ci/run", ("make setup",)),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, smoke_home: Path, prefect_server: str) -> Checkout:
    """A copy of the checkout, over a home in which the smoke run is done."""
    return Checkout(tmp_path_factory.mktemp("docs"), smoke_home, prefect_server)


@pytest.fixture(scope="module")
def tutorial(checkout: Checkout) -> str:
    """What the tutorial prints; other pages build on its smoke run."""
    return checkout.run("tutorial.md")


def test_the_tutorial(tutorial: str) -> None:
    printed = tutorial
    assert "tiny-sum: accuracy (%) within a token budget" in printed
    # The second run is of the demo as the smoke.
    assert printed.count("report: ") == 2
    assert "rollouts.parquet" in printed
    assert "configured" in printed


def test_a_second_run_does_nothing_again(checkout: Checkout, tutorial: str, smoke_home: Path) -> None:
    query = "select run_id, stage, unit, recorded_at from stage_results where stage not in ('report', 'register') order by all"
    assert (stored := sql(smoke_home, query))
    assert sql(Path(checkout.environment["LACONIC_HOME"]), query) == stored


def test_export(checkout: Checkout, tutorial: str) -> None:
    """Before other pages add runs of the same name."""
    assert "exported/smoke/rollouts.parquet" in checkout.run("sql.md")


def test_own_data(checkout: Checkout) -> None:
    printed = checkout.run("howto/own-data.md")
    assert "num_selected" in printed
    for cause in ("conflicting_answers", "exact_duplicate", "empty_answer", "pass_rate"):
        assert cause in printed, cause


def test_own_reward(checkout: Checkout, tutorial: str) -> None:
    printed = checkout.run("howto/own-reward.md")
    assert "1 passed" in printed
    assert "inverse" in printed.split("1 passed", 1)[1]


@pytest.mark.slow  # a whole pipeline of its own
def test_own_benchmark(checkout: Checkout, tutorial: str) -> None:
    printed = checkout.run("howto/own-benchmark.md")
    rows = [line for line in printed.splitlines() if re.match(r"│ [06] +│ (24|48|96|192) ", line)]
    assert len(rows) == 8, printed


@pytest.mark.slow  # an engine; tests/integration/test_own_graders.py shows more
def test_own_grader(checkout: Checkout, tutorial: str) -> None:
    printed = checkout.run("howto/own-grader.md")
    for reason in ("correct: off by 2%", "wrong: off by 50%", "wrong: no length"):
        assert reason in printed, printed
    assert re.search(r"│ (correct|wrong) +│ \d+ ", printed), printed


@pytest.mark.slow  # an engine; tests/integration/test_own_graders.py shows more
def test_reasoning_gym(checkout: Checkout, tutorial: str) -> None:
    pytest.importorskip("reasoning_gym", reason="the extra laconic[gym] is not installed")
    printed = checkout.run("howto/reasoning-gym.md")
    assert "legs" in printed
    assert "gym: 0 errors" in printed


def test_backup_and_restore(checkout: Checkout, tutorial: str) -> None:
    """The former home is out of reach while the restored one is used."""
    home = Path(checkout.environment["LACONIC_HOME"])
    page = "howto/backup-restore.md"
    printed = checkout.run(page)
    assert re.search(r"checkpoints\.path: [1-9]", printed), printed
    assert "mlflow runs.artifact_uri: 0" not in printed
    assert "laconic.duckdb" in printed
    restored = checkout.folder / "restored"
    away = home.rename(home.with_name("away"))
    try:
        environment = {**checkout.environment, "LACONIC_HOME": str(restored)}
        script = """
            laconic sql "select path from checkpoints" --format csv
            laconic train configs/smoke.toml
            python -c "
import os
import mlflow
mlflow.set_tracking_uri(f'sqlite:///{os.environ[\\"LACONIC_HOME\\"]}/mlflow.db')
print('model in', mlflow.artifacts.download_artifacts('models:/smoke@challenger'))"
        """
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=checkout.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        away.rename(home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(home) not in done.stdout
    assert f"{restored}/checkpoints/smoke-" in done.stdout
    assert f"model in {restored}/mlartifacts/" in done.stdout


OWN_TESTS = (
    "tutorial.md",
    "sql.md",
    "howto/own-data.md",
    "howto/own-reward.md",
    "howto/own-benchmark.md",
    "howto/own-grader.md",
    "howto/reasoning-gym.md",
    "howto/backup-restore.md",
)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in OWN_TESTS])
def test_what_can_be_run_of_the_other_pages(checkout: Checkout, tutorial: str, page: str) -> None:
    blocks = blocks_of(page)
    if any(block.is_run for block in blocks):
        checkout.run(page)
    home = Path(checkout.environment["LACONIC_HOME"])
    for words in [words for block in blocks if block.mark in HELD for words in block.lines]:
        hold(words, checkout.folder, home)


def test_a_configuration_against_a_guideline_is_refused(checkout: Checkout) -> None:
    [block] = [block for block in blocks_of("guidelines.md") if block.mark == "refused"]
    done = subprocess.run(
        ["bash", "-c", block.code.replace("my.toml", "configs/demo.toml --set train.negative_rollouts=-I")],
        cwd=checkout.folder,
        env=checkout.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "error    masks-all-incorrect" in done.stdout
    assert '"masks-all-incorrect"' in done.stdout  # as JSON


@pytest.mark.parametrize("page", PAGES)
def test_pages_do_not_take_for_granted_that_the_home_has_a_name(page: str) -> None:
    """With LACONIC_HOME unset, "$LACONIC_HOME/configs" would be /configs."""
    code = "".join(block.code for block in blocks_of(page))
    used, named = code.find("$LACONIC_HOME"), code.find("LACONIC_HOME=${LACONIC_HOME:-")
    assert used < 0 or 0 <= named < used


def test_every_block_is_tested() -> None:
    marks = {block.mark for page in PAGES for block in blocks_of(page) if not block.is_run}
    assert marks <= {*HELD, *RUN_ELSEWHERE, "refused", "containers", "cluster"}
    assert not [page for page in OWN_TESTS if any(block.mark in HELD for block in blocks_of(page))], "not held"


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_not_run_here_are_right_and_run_elsewhere(page: str) -> None:
    for block in blocks_of(page):
        if block.is_run or block.mark in HELD:
            continue
        for words in block.commands("laconic"):
            parse(words)
        if block.mark not in RUN_ELSEWHERE:
            continue
        for line in block.code.replace("\\\n", " ").splitlines():
            named = [place for start, place in RUN_BY.items() if line.startswith(start)]
            assert named, f"{page}: no test is named for {line!r}"
            test, words_wanted = named[-1]
            handed = words_of(test) if "::" in test else set((REPOSITORY / test).read_text().splitlines())
            for word in words_wanted:
                # An address stands in a longer text.
                assert word in handed or (word[0] == "/" and any(word in each for each in handed)), f"{test}: {word!r}"


def test_evidence_is_of_what_a_test_runs_not_of_what_its_file_says() -> None:
    by_hand = words_of("tests/e2e/test_retraining.py::test_by_hand")
    assert {"promote", "rollback"} <= by_hand
    assert "deploy" not in by_hand
    assert "promote" not in words_of("tests/e2e/test_served.py::test_down_ends_everything")
    with pytest.raises(KeyError):
        words_of("tests/e2e/test_served.py::test_of_no_such_name")


def test_commands_of_containers_name_services_and_commands_of_ours() -> None:
    services = yaml.safe_load((REPOSITORY / "docker" / "compose.yaml").read_text())["services"]
    commands = [words for block in blocks_of("howto/containers.md") for words in block.commands("docker")]
    for words in commands:
        if words[0] != "compose":
            continue
        files = [words[place + 1] for place, word in enumerate(words) if word == "--file"]
        assert all((REPOSITORY / file).exists() for file in files)
        rest = [word for word in words[1 + 2 * len(files) :] if not word.startswith("-")]
        named = {"exec": rest[1:2], "run": rest[1:2], "logs": rest[1:2], "stop": rest[1:2], "start": rest[1:2]}
        if rest[0] == "cp":
            assert rest[2].split(":")[0] in services
        assert all(service in services for service in named.get(rest[0], [])), words
        if "laconic" in rest:
            parse(rest[rest.index("laconic") + 1 :])


def test_commands_of_clusters_name_files_that_are_there() -> None:
    lines = [words for block in blocks_of("howto/ray-clusters.md") if block.mark == "cluster" for words in block.lines]
    files = {word for words in lines for word in words if word.startswith("docker/")}
    assert files == {"docker/Dockerfile", "docker/rayjob.yaml", "docker/slurm.sbatch"}
    assert all((REPOSITORY / file).is_file() for file in files)
    [submitted] = [words for words in lines if words[0] == "sbatch"]
    parse(["run", *submitted[2:]])
    script = (REPOSITORY / submitted[1]).read_text()
    [needed] = [words for words in lines if words[0] == "export"]
    assert all(f"${{{word.partition('=')[0]}:?" in script for word in needed[1:])
