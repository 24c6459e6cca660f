"""What hostile texts, names and addresses in a real store do to a terminal, a spreadsheet, a page and a tracker: nothing."""

import csv
import io
import json
import logging
import os
import pty
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stored_runs import rollout, write_runs
from typer.testing import CliRunner

from pipeline_lib.records import Prompt
from pipeline_lib.store.connections import connect
from pipeline_lib.store.database import Store

# Colours, window titles, cursor moves, C1, overwriting, reordering, hiding, links, markup, emoji names, and our own notation.
ESCAPES = (
    "\x1b[31mred\x1b]0;title\x07\x1b[2J\x9b31m\r\x08\x7f\u202eabc\u2066d\u2069\u200e\u061c"
    "\u200b\u2028\u2029\ufeff\u00ad\U000e0041\u3164 [link=http://evil.example]here[/link] [red]x[/red] :bomb: <U+202E>"
)
NAMES = ("<U+001B>", "<U+202E>", "<U+009B>", "<U+000D>", "<U+007F>", "<U+200B>", "<U+2028>", "<U+E0041>", "<U+003C>U+202E>")
FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1+1", " =1+1", '=HYPERLINK("http://evil.example")']
PASSWORD = "hunter2-secret"


def assert_harmless(text: str) -> None:
    """No character that a terminal obeys, hides or reorders by, but line feeds."""
    bad = {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char != "\n"}
    assert not bad, [f"U+{ord(char):04X}" for char in bad]
    assert "\u3164" not in text


@pytest.fixture
def rollout_id(home: Path) -> str:
    one, _ = write_runs(home)
    store = Store(home)
    store.write("prompts", [Prompt("p1", "tiny-sum", "tiny", f"problem {ESCAPES}", ESCAPES)])
    hostile = replace(rollout(one, "train", 9, "p1", 0, True, 9), text=f"text\n{ESCAPES}", answer=ESCAPES)
    store.write_rollouts([hostile], one.run_id, "train", "step-00009")
    return f"{one.run_id}/train/{one.name}-9/p1/0"


def run(*arguments: str) -> str:
    from flows.cli import app

    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout_bytes.decode()


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_show_makes_escapes_of_rollouts_visible(rollout_id: str, output_format: str) -> None:
    shown = run("show", rollout_id, "--format", output_format)
    assert_harmless(shown)
    if output_format == "json":
        tree = json.loads(shown)
        assert tree["problem"] == f"problem {ESCAPES}" and tree["answer"] == ESCAPES
        assert ESCAPES in {each["answer"] for each in tree["rollouts"]}
        assert f"text\n{ESCAPES}" in {each["text"] for each in tree["rollouts"]}
    else:
        unwrapped = shown.replace("\n", "").replace("│", "").replace(" ", "")
        assert all(name in unwrapped for name in NAMES)
        assert "[link=http://evil.example]here[/link][red]x[/red]:bomb:" in unwrapped


def test_sql_makes_escapes_visible_in_tables_and_leaves_data_alone_in_pipes(rollout_id: str, home: Path) -> None:
    query = 'select text as "a \x1b[31m", answer from rollouts where step = 9'
    table = run("sql", query)
    assert_harmless(table)
    unwrapped = "".join(table.split())
    assert "<U+001B>" in unwrapped and "[red]x[/red]" in unwrapped
    assert_harmless(as_json := run("sql", query, "--format", "json"))
    assert json.loads(as_json)[0]["answer"] == ESCAPES
    (_, row) = csv.reader(io.StringIO(run("sql", query, "--format", "csv"), newline=""))
    assert row[1] == ESCAPES, "a pipe or a file gets the data as they are"


def test_sql_csv_on_a_terminal_makes_escapes_visible_unless_raw(rollout_id: str, home: Path) -> None:
    query = "select answer from rollouts where step = 9"
    assert "\x1b" not in on_a_terminal(home, "sql", query, "--format", "csv")
    assert "\x1b[31mred" in on_a_terminal(home, "sql", query, "--format", "csv", "--raw")


def on_a_terminal(home: Path, *arguments: str) -> str:
    """What a command writes to a pseudo terminal as its standard output."""
    mine, its = pty.openpty()
    command = [sys.executable, "-m", "flows.cli", *arguments]
    with subprocess.Popen(
        command, stdout=its, stderr=subprocess.PIPE, env={**os.environ, "LACONIC_HOME": str(home)}
    ) as process:
        os.close(its)
        written = b""
        while True:
            try:
                written += (chunk := os.read(mine, 65_536))
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
        os.close(mine)
        assert process.wait() == 0, process.stderr and process.stderr.read()
    return written.decode()


def test_spreadsheets_find_no_formula_in_csv_unless_raw(home: Path) -> None:
    store = Store(home)
    numbers = ["-1.5", "+3", "-2e-3"]
    store.write("prompts", [Prompt(f"p{i}", "s", "d", text, "x") for i, text in enumerate([*FORMULAS, *numbers])])
    query = 'select problem, -1.5 as number, problem as "=2+2" from prompts order by cast(prompt_id[2:] as integer)'
    header, *rows = csv.reader(io.StringIO(run("sql", query, "--format", "csv"), newline=""))
    assert [row[0] for row in rows] == [*(f"'{text}" for text in FORMULAS), *numbers]
    assert {row[1] for row in rows} == {"-1.5"} and header[2] == "'=2+2"
    header, *rows = csv.reader(io.StringIO(run("sql", query, "--format", "csv", "--raw"), newline=""))
    assert [row[0] for row in rows] == [*FORMULAS, *numbers] and header[2] == "=2+2"
    assert [row["problem"] for row in json.loads(run("sql", query, "--format", "json"))] == [*FORMULAS, *numbers]


def test_graded_files_defuse_formulas_in_csv_only(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"gold": "2", "prediction": text}) + "\n" for text in FORMULAS), encoding="utf-8")

    def predictions(name: str, *options: str) -> list[str]:
        out = tmp_path / name
        run("grade", str(source), "--grader", "exact", "--out", str(out), *options)
        if out.suffix == ".jsonl":
            return [json.loads(line)["prediction"] for line in out.read_text(encoding="utf-8").splitlines()]
        with out.open(encoding="utf-8", newline="") as file:
            return [row["prediction"] for row in csv.DictReader(file)]

    assert predictions("a.csv") == [f"'{text}" for text in FORMULAS]
    assert predictions("b.csv", "--raw") == predictions("c.jsonl") == FORMULAS


def test_names_in_results_check_and_promotions_are_harmless(home: Path) -> None:
    one, _ = write_runs(home)
    store = Store(home)
    with connect(store.path, read_only=False, wait_seconds=10) as connection:
        connection.execute("UPDATE budget_results SET model = model || ?", [ESCAPES])
    assert_harmless(shown := run("results", one.run_id))
    assert "<U+001B>" in "".join(shown.split())


def test_an_error_line_shows_neither_escapes_nor_passwords(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "sql", f'select * from "\x1b[2J\u202e http://me:{PASSWORD}@host"'],
        capture_output=True,
        text=True,
        env={**os.environ, "LACONIC_HOME": str(home), "PREFECT_API_URL": ""},
        check=False,
    )
    assert done.returncode == 1
    assert_harmless(done.stderr)
    assert "<U+001B>[2J<U+202E>" in done.stderr and PASSWORD not in done.stderr


def test_progress_shows_names_as_they_are_and_no_escapes(home: Path) -> None:
    from rich.progress import Progress

    from pipeline_lib.messages.harmless import HarmlessConsole
    from tasks import progress

    screen = io.StringIO()
    console = HarmlessConsole(file=screen, width=400, force_terminal=True, color_system=None, legacy_windows=False)
    bars = Progress(*progress._bars.columns, console=console, auto_refresh=False)
    bar = bars.add_task(f"name [red]{ESCAPES}", total=2, note=f"note [bold]{ESCAPES}")
    console.print(bars.get_renderable())
    shown = screen.getvalue()
    assert "[red]" in shown and "[bold]" in shown and "<U+001B>" in shown and bar == 0
    assert "\x1b[31m" not in shown and "\u202e" not in shown and "\x07" not in shown


def test_log_lines_warnings_and_tracebacks_are_harmless() -> None:
    script = (
        "import logging, warnings\nfrom pipeline_lib.messages.harmless import make_messages_harmless\nmake_messages_harmless()\n"
        f"text = {ESCAPES!r} + ' http://me:{PASSWORD}@host/path'\n"
        "logging.basicConfig()\nlog = logging.getLogger('x')\nlog.warning('said %s', text)\nwarnings.warn(text)\n"
        "try:\n    raise KeyError(text)\nexcept KeyError:\n    log.exception('failed')\n"
        "class Fault(Exception): pass\nraise Fault(text)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("<U+202E>abc") >= 3 and "http://host/path" in done.stderr
    assert_harmless(done.stderr)
    assert done.stderr.count(PASSWORD) == done.stderr.count("text = "), "only the script's own source may hold it"


def test_a_password_in_the_trackers_address_is_used_and_never_shown_or_stored(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pipeline_lib.config import load_config
    from pipeline_lib.runs.run import Run
    from pipeline_lib.runs.session import RunSession
    from pipeline_lib.stages.opened import finish
    from pipeline_lib.tracking import Tracker

    smoke = str(Path(__file__).resolve().parents[2] / "configs" / "smoke.toml")
    address = f"http://me:{PASSWORD}@127.0.0.1:9/mlflow?token={PASSWORD}"
    with_password = load_config(smoke, [f'tracking.uri="{address}"', "tracking.timeout_seconds=1"])
    assert with_password.run_id == load_config(smoke, []).run_id
    assert PASSWORD not in with_password.model_dump_json() + repr(with_password)
    session = RunSession(Run.of(with_password))
    assert session.tracker._connection.uri == address, "it is connected with"
    with caplog.at_level(logging.DEBUG):
        session.open(None)
        finish(session, "failed", f"could not reach {address}")
    assert "cannot be reached" in caplog.text and "127.0.0.1:9/mlflow" in caplog.text
    stored = json.dumps(Store(home).named("run", run_id=session.run.run_id), default=str)
    assert "127.0.0.1:9" in stored
    assert PASSWORD not in stored + caplog.text + session.tracker.uri

    # A run that is known to the store alone connects by the address of the environment.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{PASSWORD}@127.0.0.1:8/x")
    monkeypatch.setenv("PREFECT_API_URL", f"http://me:{PASSWORD}@127.0.0.1:7/api")
    config = with_password.tracking.model_copy(update={"uri": "http://127.0.0.1:8/x"})
    assert Tracker(config, home)._connection.uri == f"http://me:{PASSWORD}@127.0.0.1:8/x"
    found = [finding for finding in _addresses() if finding.name in ("Prefect API", "MLflow")]
    assert [finding.found for finding in found] == ["http://127.0.0.1:7/api", "http://127.0.0.1:8/x"]


def _addresses() -> list[Any]:
    from pipeline_lib import doctor

    return doctor._addresses()


def test_links_and_parameters_carry_no_password(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline_lib.config import TrackingConfig
    from pipeline_lib.tracking import Tracker
    from pipeline_lib.tracking.conversion import as_tags, flatten_params

    tracker = Tracker(TrackingConfig(uri=f"http://me:{PASSWORD}@127.0.0.1:9"), home)
    monkeypatch.setattr(tracker, "_submit", lambda *_, **__: "3")
    assert tracker.run_address("abc") == "http://127.0.0.1:9/#/experiments/3/runs/abc"
    monkeypatch.setenv("LACONIC_MLFLOW_PAGES", f"https://me:{PASSWORD}@pages.example")
    assert tracker.run_address("abc") == "https://pages.example/#/experiments/3/runs/abc"
    address = f"see https://me:{PASSWORD}@pages.example/a\x1b[31m"
    assert flatten_params({"a": {"b": address}}) == {"a.b": "see https://pages.example/a<U+001B>[31m"}
    assert as_tags({"a": address}) == {"a": "see https://pages.example/a<U+001B>[31m"}


def test_settings_of_a_command_reach_prefect_without_their_passwords(home: Path) -> None:
    import typer

    from flows.commands.terminal import Overrides
    from pipeline_lib.config import load_config
    from pipeline_lib.tracking.registry import tracking_address

    seen: list[list[str]] = []
    app = typer.Typer()

    @app.command()
    def command(overrides: Overrides = []) -> None:  # noqa: B006
        seen.append(overrides)

    settings = [f'tracking.uri="http://me:{PASSWORD}@127.0.0.1:9"', 'name="a=b"', "train.steps=4"]
    assert CliRunner().invoke(app, [part for each in settings for part in ("--set", each)]).exit_code == 0
    assert seen == [['tracking.uri="http://127.0.0.1:9"', 'name="a=b"', "train.steps=4"]]
    smoke = str(Path(__file__).resolve().parents[2] / "configs" / "smoke.toml")
    assert tracking_address(load_config(smoke, seen[0][:1]).tracking, home) == f"http://me:{PASSWORD}@127.0.0.1:9"


def test_markdown_shows_hostile_names_as_text() -> None:
    from tasks.artifacts import readable

    texts = [
        "[click](javascript:alert(1))",
        "<img src=x onerror=alert(1)>",
        "`a`",
        "a|b",
        "**a**",
        "![a](http://e)",
        "# a",
        "a_b",
    ]
    cells = [row["name"] for row in readable([{"name": text} for text in texts])]
    assert cells == [
        "\\[click\\](javascript:alert(1))",
        "\\<img src=x onerror=alert(1)>",
        "\\`a\\`",
        "a\\|b",
        "\\*\\*a\\*\\*",
        "!\\[a\\](http://e)",
        "\\# a",
        "a_b",
    ]
