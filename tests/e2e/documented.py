"""The commands of the documentation: read out of its pages, run or held against the command line."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from driving import REPOSITORY, moved_copy
from typer.main import get_command

BLOCK = re.compile(r"(?:<!-- test: (?P<mark>[^\n]+?) -->\n)?```bash\n(?P<code>.*?)```", re.DOTALL)
SUBSTITUTION = re.compile(r"(?P<shown>\S+)=(?P<run>\S+)")
# Files that a page supposes its reader to have.
YOUR_OWN = ("my.toml", "mine.toml")
# A clone without what only a working copy has.
LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "artifacts", "site", "__pycache__", "wheels", "smollm2-135m"
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of commands; the mark says how it is tested, empty: it is run."""

    mark: str
    code: str

    @property
    def is_run(self) -> bool:
        """Whether it is run here, perhaps with another file in place of the one shown."""
        return not self.mark or SUBSTITUTION.fullmatch(self.mark) is not None

    @property
    def script(self) -> str:
        """The block as it is run."""
        found = SUBSTITUTION.fullmatch(self.mark)
        return self.code.replace(found["shown"], found["run"]) if found else self.code

    @property
    def lines(self) -> list[list[str]]:
        """The words of every command; a command may go over several lines, comments and redirections are left out."""
        found, open_ = [], ""
        for line in self.code.replace("\\\n", " ").splitlines():
            open_ += f"{line}\n"
            try:
                words = shlex.split(open_, comments=True)
            except ValueError:  # a quotation that goes on
                continue
            open_ = ""
            if words:
                found.append(words[: words.index(">")] if ">" in words else words)
        return found

    def commands(self, program: str) -> list[list[str]]:
        """What is given to every call of a program."""
        return [words[1:] for words in self.lines if words[0] == program]


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, by its path from docs/, in order. Experiments write the pages of findings, without marks."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    unmarked = "minutes" if page.startswith("findings/") else ""
    return [Block(found["mark"] or unmarked, found["code"]) for found in BLOCK.finditer(text)]


def parse(words: list[str], folder: Path = REPOSITORY, home: Path | None = None) -> None:
    """Hold a `laconic` command against the command line: its options, the configuration it names, and its SQL over a home.

    Only the reader's own files are not loaded when they are not in the folder.
    """
    from flows.cli import app
    from pipeline_lib.config import load_config, recorded_config
    from pipeline_lib.config.warmup import WarmupConfig
    from pipeline_lib.experiments.specification import child_runs, experiment_file, load_experiment
    from pipeline_lib.store.database import Store

    command = get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    given = command.make_context(words[0], words[1:], resilient_parsing=False).params
    overrides = given.get("overrides") or []
    config = given.get("config")
    if words[0] == "sql" and home:
        Store(home).query(given["query"])
    elif words[0] == "experiment" and given["name"] not in ("all", *YOUR_OWN):
        experiment = load_experiment(given["name"])
        child_runs(experiment, experiment_file(given["name"]), experiment.seeds[:1], tuple(overrides))
    elif words[0] == "evaluate" and given["rollouts"]:
        recorded_config(given["rollouts"], config, overrides)
    elif config and ((folder / config).exists() or config not in YOUR_OWN):
        if words[0] == "warmup":
            load_config(folder / config, overrides, model=WarmupConfig)
        else:
            load_config(folder / config, overrides)


def hold(words: list[str], folder: Path, home: Path) -> None:
    """Hold a command that is not run against what it is for: the command line, the make targets, the modules there are."""
    if words[0] == "laconic":
        parse(words[1:], folder, home)
    elif words[0] == "make":
        [targets] = re.findall(r"^\.PHONY: (.+)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert words[1] in targets.split()
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2])
    elif words[0] == "python":
        assert (REPOSITORY / words[1]).is_file(), words
    else:
        assert words[0] in ("export", "source", "pip"), words


class Checkout:
    """A copy of the checkout in which the commands of pages are run, one page after the other, over one home."""

    def __init__(self, folder: Path, smoke_home: Path | None, prefect_server: str) -> None:
        self.folder = folder / "laconic"
        shutil.copytree(REPOSITORY, self.folder, ignore=LEFT_BEHIND)
        programs = folder / "bin"
        programs.mkdir()
        for name, command in (("laconic", f'"{sys.executable}" -m flows.cli'), ("python", f'"{sys.executable}"')):
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
            # The tutorial's first run is that of `smoke_home`: here it finds everything there.
            "LACONIC_HOME": str(moved_copy(smoke_home, folder / "home") if smoke_home else folder / "home"),
            "PREFECT_HOME": str(folder / "prefect"),
            # One server for all commands: each would start one of its own, a quarter of a minute every time.
            "PREFECT_API_URL": prefect_server,
            "COLUMNS": "160",
        }

    def run(self, page: str) -> str:
        """Run the blocks of a page in order, in one shell; returns what they printed. Fails with it when a command fails."""
        blocks = [block for block in blocks_of(page) if block.is_run]
        script = "\n".join(
            ["set -euo pipefail", *(f"echo '--- block {n}'\n{block.script}" for n, block in enumerate(blocks, 1))]
        )
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        assert done.returncode == 0, f"{page}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout
