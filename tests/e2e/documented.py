"""The commands of the documentation: read out of its pages, run or held against the command line."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from driving import REPOSITORY
from serving import free_port
from typer.main import get_command

from pipeline_lib.services.service import Service

BLOCK = re.compile(r"(?:<!-- test: (?P<mark>[^\n]+?) -->\n)?```bash\n(?P<code>.*?)```", re.DOTALL)
SUBSTITUTION = re.compile(r"(?P<shown>\S+)=(?P<run>\S+)")
# A clone without what only a working copy has.
LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "artifacts", "site", "__pycache__")


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

    def commands(self, program: str) -> list[list[str]]:
        """The words of every command of a program, `\\` at a line's end joined."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [shlex.split(line)[1:] for line in lines if line.split(" ", 1)[0] == program]


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page below docs/, in order."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    return [Block(found["mark"] or "", found["code"]) for found in BLOCK.finditer(text)]


def parse(words: list[str], folder: Path | None = None) -> None:
    """Hold a `laconic` command against the command line; given the folder it is for, load the configuration that it names.

    Without a folder only shipped configurations are loaded: those that a page writes are not there.
    """
    from flows.cli import app
    from pipeline_lib.config import load_config

    command = get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    given = command.make_context(words[0], words[1:], resilient_parsing=False).params
    config = given.get("config")
    if config and (folder or (REPOSITORY / config).exists()):
        load_config((folder or REPOSITORY) / config, given.get("overrides") or [])


class Checkout:
    """A copy of the checkout in which the commands of pages are run, one page after the other, over one home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "laconic"
        shutil.copytree(REPOSITORY, self.folder, ignore=LEFT_BEHIND)
        programs = folder / "bin"
        programs.mkdir()
        for name, command in (("laconic", f'"{sys.executable}" -m flows.cli'), ("python", f'"{sys.executable}"')):
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o755)
        address = f"http://127.0.0.1:{(port := free_port())}"
        self.environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
            "LACONIC_HOME": str(folder / "home"),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": f"{address}/api",
            "COLUMNS": "160",
        }
        # One server for all commands: each would start one of its own, a quarter of a minute every time.
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        self._server = Service(
            "Prefect", command, folder / "prefect.log", self.environment, self.folder, f"{address}/api/health"
        )
        self._server.start()
        self._server.wait_until_ready(timeout_seconds=180)

    def close(self) -> None:
        """End the server."""
        self._server.stop(grace_seconds=10)

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
