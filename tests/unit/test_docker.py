"""The container files, as far as they can be checked without an engine."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, requires
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.validators import validator_for
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from flows.cli import app
from flows.server.environment import QUIET, SHOWN

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = (DOCKER / "compose.yaml").read_text()
VARIABLE = re.compile(r"\$\{(\w+)(?::?[-?+][^}]*)?\}")


class ComposeLoader(yaml.SafeLoader):
    """YAML with the tag by which an override takes a key away."""


ComposeLoader.add_constructor("!reset", lambda loader, node: None)


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    tree: dict[str, Any] = yaml.load((DOCKER / name).read_text(), ComposeLoader)
    return tree


def instructions(text: str = DOCKERFILE) -> list[tuple[str, str]]:
    """The Dockerfile's instructions with continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [(word, rest) for line in joined.splitlines() if line.strip() for word, _, rest in [line.strip().partition(" ")]]


def copied_sources() -> list[str]:
    """What COPY takes from the repository, not from another stage."""
    copies = [rest.split() for word, rest in instructions() if word in ("COPY", "ADD") and "--from=" not in rest]
    return [source for words in copies for source in words[:-1] if not source.startswith("--")]


def schema_of_compose() -> Any:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    return validator_for(schema)(schema)


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cpu.yaml"])
def test_compose_files_follow_the_compose_specification(name: str) -> None:
    schema_of_compose().validate(compose(name))


def test_the_schema_would_refuse_a_wrong_key() -> None:
    wrong = compose()
    wrong["services"]["worker"]["restarts"] = "always"
    assert list(schema_of_compose().iter_errors(wrong))


def test_nothing_is_published_beyond_loopback() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(isinstance(port, str) and port.startswith("127.0.0.1:") for port in ports), ports
    assert not any(service.get("network_mode") == "host" for service in compose()["services"].values())


def test_every_variable_is_in_the_example_and_every_secret_is_demanded() -> None:
    example = dict(
        line.partition("=")[::2] for line in (DOCKER / ".env.example").read_text().splitlines() if line and line[0] != "#"
    )
    used = set(VARIABLE.findall(COMPOSE))
    assert used == example.keys()
    secrets = {name for name in used if "PASSWORD" in name} - {"LACONIC_PASSWORD"}  # which is offered
    assert len(secrets) == 2
    for name in secrets:
        assert example[name] == ""
        assert all(f"{name}:?" in use for use in re.findall(rf"\${{{name}[^}}]*}}", COMPOSE))
    assert "/docker/.env" in (REPOSITORY / ".gitignore").read_text().splitlines()


def test_services_wait_for_the_health_of_what_they_need() -> None:
    services = compose()["services"]
    needs = {name: service.get("depends_on", {}) for name, service in services.items()}
    assert needs["worker"]["deployments"] == {"condition": "service_completed_successfully"}
    for name, service in services.items():
        for needed, how in needs[name].items():
            if how["condition"] == "service_healthy":
                assert "test" in services[needed]["healthcheck"], needed
        assert service["init"] is True
        assert "stop_grace_period" in service or service["restart"] == "no", name


def test_images_are_pinned() -> None:
    stages = {rest.split()[-1] for word, rest in instructions() if word == "FROM" and " AS " in rest}
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    foreign = [base for base in bases if base not in stages and base != "scratch"]
    pulled = [service["image"] for service in compose()["services"].values() if "build" not in service]
    assert foreign
    assert pulled
    for image in foreign + pulled:
        assert re.search(r":\d+\.\d+", image), image
    targets = {service["build"]["target"] for name in ("compose.yaml", "compose.cpu.yaml") for service in built(name)}
    assert targets == {"cpu", "gpu", "servers"}
    assert targets <= stages


def built(name: str) -> list[dict[str, Any]]:
    return [service for service in compose(name)["services"].values() if "build" in service]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    patterns = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]

    def is_ignored(path: str) -> bool:
        ignored = False
        for pattern in patterns:
            wanted = pattern.removeprefix("!")
            if any(fnmatch(part, wanted) for part in (path, *map(str, Path(path).parents))):
                ignored = not pattern.startswith("!")
        return ignored

    for source in copied_sources():
        assert (REPOSITORY / source).exists(), source
        assert not is_ignored(source), source
    for kept_out in (".git", ".venv", "artifacts", "docker/.env", "tests", "site"):
        assert is_ignored(kept_out), kept_out


def test_the_code_that_is_installed_is_the_code_that_is_copied() -> None:
    packages = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    assert {*packages, "configs", "prefect.yaml"} <= set(copied_sources())


def test_the_images_are_installed_by_the_make_targets() -> None:
    """The images call `make`, so what is installed in them is what the tests run on, with more of Ray and without `dev`."""
    made = [re.search(r"make .*$", rest) for word, rest in instructions() if word == "RUN" and "make setup" in rest]
    assert [found.group() for found in made if found] == [
        "make setup EXTRA=cpu WITH=kuberay",
        "make setup EXTRA=gpu WITH=kuberay",
    ]
    own, image = dry_run("setup", "EXTRA=cpu"), dry_run("setup", "EXTRA=cpu", "WITH=kuberay")
    assert "--editable '.[cpu,dev]'" in own
    assert image == own.replace("[cpu,dev]", "[cpu,kuberay]")
    servers = dry_run("servers")
    assert "--constraints constraints-cpu.txt" in servers
    constraints = (REPOSITORY / "constraints-cpu.txt").read_text()
    assert all(f"\n{package}==" in constraints for package in ("prefect", "mlflow", "psycopg", "psycopg-binary", "asyncpg"))


def dry_run(*arguments: str) -> str:
    """What make would run."""
    command = ["make", "--dry-run", "--always-make", "--no-print-directory", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_commands_of_the_containers_are_commands_of_ours() -> None:
    assert ("ENTRYPOINT", '["laconic"]') in instructions()
    given = [service["command"] for service in built("compose.yaml") if service["image"].startswith("laconic:")]
    default = json.loads(next(rest for word, rest in instructions() if word == "CMD"))
    for words in [*given, default]:
        words = [VARIABLE.sub("1", word) for word in words]
        command = get_command(app).commands[words[0]]  # type: ignore[attr-defined]
        command.make_context(words[0], words[1:], resilient_parsing=False)


def test_the_mlflow_server_takes_its_command() -> None:
    words = compose()["services"]["mlflow"]["command"]
    assert words[:2] == ["mlflow", "server"]
    from mlflow.cli import cli

    taken = {option for parameter in cli.commands["server"].params for option in parameter.opts}
    assert taken >= {word for word in words if word.startswith("--")}
    [app] = entry_points(group="mlflow.app", name=words[words.index("--app-name") + 1])
    assert app.value == "pipeline_lib.services.mlflow_server:create_application"


def test_the_servers_are_those_of_laconic_up_and_closed_to_other_sites() -> None:
    services = compose()["services"]
    assert services["prefect"]["command"] == ["python", "-m", "flows.server.program"]
    for name in ("prefect", "mlflow"):
        settings = services[name]["environment"]
        # Called by the worker by the service's name, by a browser by that of the published address.
        assert settings["LACONIC_ALLOWED_HOSTS"].split(",")[:3] == [name, "localhost", "127.0.0.1"]
        assert not any("ALLOWED_ORIGINS" in variable or "CSRF" in variable for variable in settings)
    for name in ("prefect", "mlflow", "deployments", "worker"):
        assert services[name]["environment"]["LACONIC_PASSWORD"] == "${LACONIC_PASSWORD:-}"


def test_the_image_of_the_servers_holds_what_they_import() -> None:
    """They are installed alone; a module that needs more would be missed in the container only."""
    given = "prefect", "mlflow", "psutil", "psycopg"
    assert all(package in dry_run("servers") for package in given)
    assert "--no-deps --editable ." in dry_run("servers")
    code = "import sys, flows.server.program, pipeline_lib.services.mlflow_server; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split()) - sys.stdlib_module_names - {"flows", "pipeline_lib"}
    packages = packages_distributions()
    installed = {canonicalize_name(package) for name in loaded for package in packages.get(name, [])}
    assert installed <= requirements_of(given) | {"setuptools"}


def requirements_of(names: Iterable[str]) -> set[str]:
    """What is installed with some packages, their own names included."""
    found: set[str] = set()
    wanted = [Requirement(name) for name in names]
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found.add(name)
        with suppress(PackageNotFoundError):
            needed = [Requirement(line) for line in requires(name) or []]
            extras = ("", *requirement.extras)
            wanted += [each for each in needed if not each.marker or any(each.marker.evaluate({"extra": e}) for e in extras)]
    return found


def test_the_dockerfile_passes_its_linter() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", DOCKER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_worker_logs_to_the_pages_what_a_terminal_is_spared() -> None:
    silenced = {name for name in QUIET if name.startswith("PREFECT_LOGGING_")}
    assert silenced
    assert silenced <= SHOWN.keys()
    assert all(SHOWN[name] == "INFO" for name in silenced)


def test_prefect_may_write_its_pages() -> None:
    """Its default is its own package, which the user of the images may not change: the server then serves no pages."""
    folder = re.search(r"PREFECT_UI_STATIC_DIRECTORY=(\S+)", DOCKERFILE)
    assert folder
    assert "--create-home laconic" in DOCKERFILE
    assert folder[1].startswith("/home/laconic/")
    users = [rest for word, rest in instructions() if word == "USER"]
    assert users == ["10001:10001"] * 2


def test_what_the_page_copies_into_a_container_has_a_folder_there() -> None:
    page = (REPOSITORY / "docs" / "howto" / "containers.md").read_text()
    folders = {str(Path(target).parent) for target in re.findall(r" cp \S+ worker:(\S+)", page)}
    made = {word for rule, rest in instructions() if rule == "RUN" and "install --directory" in rest for word in rest.split()}
    assert folders
    assert folders <= made
