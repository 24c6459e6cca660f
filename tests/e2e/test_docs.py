"""Every command of the tutorial and the how-to pages: run, or held against what it is for.

A comment `<!-- test: MARK -->` before a block says how:

| mark | the block is |
|---|---|
| none | run |
| SHOWN=RUN | run with another file in place of the one shown |
| gpu | held against the command line, and its configuration is loaded |
| served, gate, prefect, elsewhere | run by another test, named in RUN_BY |
| containers | held against compose.yaml and the command line |
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from documented import Checkout, blocks_of, parse
from driving import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = ["tutorial.md", *(f"howto/{path.name}" for path in sorted((DOCS / "howto").glob("*.md")))]

# Which test, and which of its words, run a command that cannot be run here. Commands are named by their first words.
RUN_BY = {
    "make setup": (".ci/run", "make setup"),
    "source .venv/bin/activate": (".ci/run", "make test"),  # make calls what lies there
    "laconic doctor": ("tests/e2e/test_docs.py", "laconic doctor"),  # in the tutorial
    "laconic train configs/smoke.toml --set train.num_processes=2": ("tests/e2e/test_pipeline.py", "train.num_processes=2"),
    "laconic up": ("tests/e2e/test_served.py", "def up("),
    "laconic down": ("tests/e2e/test_served.py", "test_down_ends_everything"),
    "laconic deploy": ("tests/e2e/test_served.py", "test_everything_is_registered"),
    "laconic rollback": ("tests/e2e/test_scheduled.py", "rollback"),
    "laconic promotions": ("tests/e2e/test_scheduled.py", "promotions"),
    "laconic promote": ("tests/integration/test_promotions.py", 'decide(run, "promote")'),
    "laconic sql": ("tests/e2e/test_pipeline.py", "sql("),
    "export PREFECT_API_URL": ("tests/e2e/serving.py", "/api"),
    "prefect deployment run laconic-pipeline/pipeline": ("tests/e2e/test_served.py", 'PIPELINE = "laconic-pipeline/pipeline"'),
    "id=$(curl": ("tests/e2e/serving.py", "/deployments/name/"),
    "curl": ("tests/e2e/serving.py", "create_flow_run"),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A copy of the checkout."""
    copy = Checkout(tmp_path_factory.mktemp("docs"))
    yield copy
    copy.close()


@pytest.fixture(scope="module")
def tutorial(checkout: Checkout) -> str:
    """What the tutorial prints; other pages build on its smoke run."""
    return checkout.run("tutorial.md")


def test_the_tutorial(tutorial: str) -> None:
    printed = tutorial
    assert "tiny-sum: accuracy (%) within a token budget" in printed
    # The second run, of the demo as the smoke, finds everything there.
    assert printed.count("report: ") == 2
    assert "rollouts.parquet" in printed
    assert "configured" in printed


def test_own_data(checkout: Checkout) -> None:
    printed = checkout.run("howto/own-data.md")
    assert "num_selected" in printed
    for cause in ("conflicting_answers", "exact_duplicate", "empty_answer", "pass_rate"):
        assert cause in printed, cause


def test_own_reward(checkout: Checkout, tutorial: str) -> None:
    printed = checkout.run("howto/own-reward.md")
    assert "1 passed" in printed
    assert "inverse" in printed.split("1 passed", 1)[1]


def test_own_benchmark(checkout: Checkout, tutorial: str) -> None:
    printed = checkout.run("howto/own-benchmark.md")
    rows = [line for line in printed.splitlines() if re.match(r"│ [06] +│ (24|48|96|192) ", line)]
    assert len(rows) == 8, printed


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


@pytest.mark.parametrize(
    "page",
    ["howto/own-model-one-gpu.md", "howto/several-gpus.md", "howto/schedule.md", "howto/rollback.md", "howto/containers.md"],
)
def test_what_can_be_run_of_the_other_pages(checkout: Checkout, tutorial: str, page: str) -> None:
    checkout.run(page)
    for words in [words for block in blocks_of(page) if block.mark == "gpu" for words in block.commands("laconic")]:
        parse(words, checkout.folder)


@pytest.mark.parametrize("page", PAGES)
def test_pages_do_not_take_for_granted_that_the_home_has_a_name(page: str) -> None:
    """With LACONIC_HOME unset, "$LACONIC_HOME/configs" would be /configs."""
    code = "".join(block.code for block in blocks_of(page))
    used, named = code.find("$LACONIC_HOME"), code.find("LACONIC_HOME=${LACONIC_HOME:-")
    assert used < 0 or 0 <= named < used


def test_every_page_is_tested() -> None:
    source = Path(__file__).read_text()
    assert all(page in source for page in PAGES)
    marks = {block.mark for page in PAGES for block in blocks_of(page) if not block.is_run}
    assert marks <= {"gpu", "served", "gate", "prefect", "elsewhere", "containers"}


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_not_run_here_are_right_and_run_elsewhere(page: str) -> None:
    for block in blocks_of(page):
        if block.is_run:
            continue
        for words in block.commands("laconic"):
            parse(words)
        if block.mark in ("gpu", "containers"):
            continue
        for line in block.code.replace("\\\n", " ").splitlines():
            where = [place for start, place in RUN_BY.items() if line.startswith(start)]
            assert where, f"{page}: no test is named for {line!r}"
            assert where[-1][1] in (REPOSITORY / where[-1][0]).read_text(), f"{where[-1]} does not run {line!r}"


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


def test_the_references_are_up_to_date() -> None:
    from flows import cli_reference
    from pipeline_lib.config import reference
    from pipeline_lib.store import schema_docs

    for module, page in ((reference, "configuration"), (cli_reference, "cli"), (schema_docs, "schema")):
        assert module.main([str(DOCS / "reference" / f"{page}.md"), "--check"]) == 0
