"""`laconic init`: asks for model, data and card, and writes a configuration that `laconic check` passes."""

import sys
from pathlib import Path

from rich.prompt import Prompt
from rich.text import Text

from flows.commands.checking import counted
from flows.commands.terminal import console, say
from pipeline_lib.config import laconic_home, load_config
from pipeline_lib.guidelines import SEVERITIES, PlannedRun, check_run
from pipeline_lib.guidelines.beginning import Beginning, first_configuration
from pipeline_lib.guidelines.data_sources import data_source
from pipeline_lib.memory import H100, Card, card_here
from pipeline_lib.messages.harmless import visible_line
from pipeline_lib.section import is_name


def begin(
    name: Path, model: str | None, data: str | None, tests: list[str], answer: str | None, card: str | None, num_gpus: int | None,
    served_name: str | None, key_variable: str | None, fields: dict[str, str], takes_defaults: bool, force: bool,
) -> bool:  # fmt: skip
    """Write NAME.toml and say what was noticed and what comes next; False where `laconic check` finds an error in it.

    Raises ValueError for what cannot be, and for a file that is there without `force`.
    """
    path = name if name.suffix == ".toml" else name.with_name(f"{name.name}.toml")
    if not is_name(path.stem):
        raise ValueError(f"{path.stem!r} is no name of a run: lower-case letters, digits, '.', '_' and '-'")
    if path.exists() and not force:
        raise ValueError(f"{path} is there: another name, or --force to overwrite it")
    asks, found = not takes_defaults and sys.stdin.isatty(), card_here()

    def ask(given: str | None, question: str, default: str) -> str:
        return given or (str(Prompt.ask(Text(question), default=default, console=console)) if asks else default)

    model = _known_model(
        ask(model, "Model: a folder, hub id, 'builtin:tiny', or an endpoint (https://HOST/v1)", "builtin:tiny")
    )
    is_tiny, is_served = model == "builtin:tiny", model.startswith(("http://", "https://"))
    if is_served and not (served_name := ask(served_name, "What does the endpoint call the model?", "")):
        raise ValueError("--served-name: what does the endpoint call the model?")
    usual = "tiny" if is_tiny else "deepscaler"
    data = ask(data, "Data: a file, hub id, 'gym:TASK', a shipped one such as 'gsm8k', or 'tiny'", usual)
    if "/" in data or Path(data).exists():
        answer = ask(answer, "Answer: boxed, last_number, after:MARK, pattern:REGEX, or python:MODULE:FUNCTION", "boxed")
    source = data_source(data, answer, fields)
    say(visible_line(f"{data}: {source.noticed}"))
    judged = tuple(data_source(test, answer, fields) for test in tests)
    here = f"{found[0].gib:.1f}" if found else "none"
    memory = "none" if is_tiny or is_served else ask(card, "Card: GiB of each GPU, or 'none'", here)
    begun = Beginning(
        path.stem, model, source, judged, _card(memory), num_gpus or (found[1] if found and memory == here else 1), served_name,
        key_variable,
    )  # fmt: skip
    text = first_configuration(begun)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w" if force else "x", encoding="utf-8") as file:
        file.write(text)
    return _check(path, begun, memory == here)


def _known_model(model: str) -> str:
    folder = Path(model).expanduser()
    is_elsewhere = model == "builtin:tiny" or model.startswith(("http://", "https://", "models:/"))
    if (
        is_elsewhere
        or (folder / "config.json").is_file()
        or (not folder.exists() and model.count("/") == 1 and model[0] not in "./~")
    ):
        return model
    raise ValueError(
        f"model {model!r}: no folder with a config.json, hub id (OWNER/NAME), 'builtin:tiny' or address of an endpoint"
    )


def _card(memory: str) -> Card | None:
    try:
        return None if memory == "none" else Card("as given", float(memory))
    except ValueError:
        raise ValueError(f"--card {memory}: GiB of a GPU, such as 24, or 'none'") from None


def _check(path: Path, begun: Beginning, is_here: bool) -> bool:
    remarks = check_run(PlannedRun.of(load_config(path), laconic_home(), begun.card or H100))
    for remark in remarks:
        if remark.advice.severity == "error":
            console.print(
                Text(visible_line(f"error: {remark.advice.found}: {remark.advice.remedy}"), style="bold red"), soft_wrap=True
            )
    counts = {severity: sum(remark.advice.severity == severity for remark in remarks) for severity in SEVERITIES}
    say(f"{path} is written; laconic check: " + ", ".join(counted(counts[severity], severity) for severity in SEVERITIES))
    given = f" --card-gib {begun.card.gib:g}" if begun.card and not is_here else ""
    for command, what in (
        (f"prompts {path}", "what the model is asked"),
        (f"check {path}{given}", "the guidelines, one by one"),
        (f"run {path}", "all of it; " + ("profile and evaluation" if begun.is_served else "profile, training, evaluation")),
    ):
        say(f"  laconic {command:<40} # {what}")
    return not counts["error"]
