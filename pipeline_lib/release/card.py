"""The model card of a trained model, made from the store; whatever data or models say in it is shown and does nothing."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.config import PromptSource
from pipeline_lib.files.home import file_digest
from pipeline_lib.files.markdown import table
from pipeline_lib.messages.harmless import markdown_code, markdown_text, visible
from pipeline_lib.prompts.local_copies import source_identity
from pipeline_lib.release.judged import Judged, Point
from pipeline_lib.release.licence import licence_metadata
from pipeline_lib.release.trained import Trained
from pipeline_lib.report.data import ReportData, RunFacts, RunSeries, benchmark_names, compared_models
from pipeline_lib.report.summary import BudgetTable, budget_tables, headlines, hundredths

if TYPE_CHECKING:
    from pipeline_lib.runs.base_model import BaseModel
    from pipeline_lib.store.database import Store

TEMPLATE = Path(__file__).parents[1] / "report" / "templates" / "model_card.md.j2"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# What a reader asks for first; the rest is in laconic.json.
RECIPE = (
    "reward.name", "reward.target_tokens", "reward.parameters", "filter.subset", "train.steps", "train.prompts_per_step",
    "train.num_rollouts", "train.rollout_limit_tokens", "train.negative_rollouts", "train.staleness", "train.temperature",
    "train.learning_rate", "train.clip_low", "train.clip_high", "train.kl_coefficient", "train.lora", "generation.engine",
    "generation.dtype", "seed",
)  # fmt: skip


def write_card(folder: Path, store: "Store", trained: Trained, judged: Judged) -> None:
    """Write README.md and the picture of the sweep into a folder that has the weights already."""
    import jinja2

    from pipeline_lib.report.canvas import save_png
    from pipeline_lib.report.figures import accuracy_by_budget

    data = _report_data(store, trained)
    figure = accuracy_by_budget(data.series, data.budget_results, data.run.target_tokens)
    if figure is not None:
        save_png(figure, folder / "accuracy_by_budget.png")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=_escaped
    )
    environment.filters["code"] = lambda text: _Markdown(markdown_code(text))
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    shown = page.render(**_context(folder, store, trained, judged, data), has_picture=figure is not None)
    (folder / "README.md").write_text(re.sub(r"\n{3,}", "\n\n", shown), encoding="utf-8")


class _Markdown(str):
    """Text that is Markdown already."""


def _escaped(value: Any) -> Any:
    return markdown_text(value) if isinstance(value, str) and not isinstance(value, _Markdown) else value


def _report_data(store: "Store", trained: Trained) -> ReportData:
    """What there is of the base and of this checkpoint."""
    run, row = trained.run, trained.row
    rows = store.named("budget_table", run_ids=[run.run_id])
    return ReportData(
        RunFacts(run.run_id, run.config.name, row["base_model"], row["status"], target_tokens=run.config.reward.target_tokens),
        [RunSeries(run.run_id, run.config.reward.name, "main")],
        [point for point in rows if point["step"] in (0, trained.step)],
    )


def _context(folder: Path, store: "Store", trained: Trained, judged: Judged, data: ReportData) -> dict[str, Any]:
    run = trained.run
    base = _base(trained)
    benchmarks = benchmark_names(data.budget_results)
    licence = licence_metadata(base[0])
    is_judged = any(model.role == "after" for model in compared_models(data.series, data.budget_results))
    return {
        "metadata": _Markdown(_metadata(trained, licence)),
        "judged": judged,
        "reward": run.config.reward,
        "num_steps": trained.step,
        "headlines": [(name, figures) for name in benchmarks if (figures := headlines(data, name))],
        "tables": [(each.benchmark, _Markdown(_markdown(each))) for each in budget_tables(data)] if is_judged else [],
        "num_samples": run.config.evaluate.num_samples,
        "losses": losses(judged.points, judged.step),
        "alarms": store.named("alarms_of_run", run_id=run.run_id),
        "prompt": _Markdown(_fenced(_example(folder, run.config.evaluate.benchmarks[0]))),
        "recipe": _Markdown(_recipe(judged.config)),
        "data": _Markdown(_data(trained)),
        "num_selected": store.named("run_summary", run_id=run.run_id)[0]["num_selected_prompts"],
        "lineage": _Markdown(_lineage(folder, store, trained, base)),
        "licence": licence,
    }


def losses(points: Sequence[Point], step: int) -> list[str]:
    """A sentence on every budget at which the trained model is less accurate than its base, or finds fewer answers at all."""
    before = {(point.benchmark, point.budget_tokens): point for point in points if point.step == 0}
    found = []
    for new in (point for point in points if point.step == step):
        old = before.get((new.benchmark, new.budget_tokens))
        for name, key in (("accuracy", "mean_at_k"), ("Pass@k", "pass_at_k")):
            if (
                old is not None
                and getattr(new, key) < getattr(old, key)
                and (key == "mean_at_k" or new.mean_at_k >= old.mean_at_k)
            ):
                loss = 100 * (getattr(old, key) - getattr(new, key))
                apart = "" if key != "mean_at_k" else ", intervals apart" if new.ci_high < old.ci_low else ", intervals overlap"
                found.append(
                    f"{new.benchmark} within {new.budget_tokens} tokens: {name} fell by {loss:.1f} points, from "
                    f"{hundredths(getattr(old, key))} to {hundredths(getattr(new, key))} %{apart}"
                )
    if not found and before and any(point.step == step for point in points):
        return ["At none of the budgets that it was judged at is it less accurate than its base."]
    return found


def _base(trained: Trained) -> tuple["BaseModel | None", str]:
    """The base of the run, and its digest in words: None where it is not there any more."""
    try:
        base = trained.run.base
    except Exception as error:  # its folder was moved, or its registry is away: the card is made without it
        return None, f"not found ({type(error).__name__})"
    return base, base.digest


def _metadata(trained: Trained, licence: Mapping[str, str]) -> str:
    from huggingface_hub import ModelCardData

    config = trained.run.config
    is_hub_id = HUB_ID.fullmatch(config.base_model) and config.base_model == trained.row["base_model"]
    datasets = [config.prompts.path] if config.prompts.kind == "hub" else None
    card = ModelCardData(
        base_model=config.base_model if is_hub_id else None,
        datasets=datasets,  # type: ignore[arg-type]
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["laconic", "efficient-reasoning", "reinforcement-learning", "grpo"],
        **licence,  # type: ignore[arg-type]
    )
    return f"---\n{card.to_yaml()}\n---\n"


def _markdown(shown: BudgetTable) -> str:
    rows = [[row.label, *(f"{text} ({small})" if small else text for text, small in row.cells)] for row in shown.rows]
    return _table(["model", *(f"@{name}" if name[0].isdigit() else name for name in shown.columns)], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table(header, [[markdown_text(cell).replace("\\|", "|") for cell in row] for row in rows])


def _example(folder: Path, source: PromptSource) -> str:
    """The rendered prompt as the model is given it, special tokens and all."""
    from transformers import AutoTokenizer

    from pipeline_lib.prompts.rendering import render_prompt

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    text: str = tokenizer.decode(render_prompt(tokenizer, source, "PROBLEM"))
    return text


def _fenced(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{visible(text)}\n{fence}"


def _recipe(settings: Mapping[str, Any]) -> str:
    rows = []
    for key in RECIPE:
        value: Any = settings
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value not in (None, {}):
            rows.append([key, str(value)])
    return _table(["setting", "value"], rows)


def _data(trained: Trained) -> str:
    config = trained.run.config
    sources = [("training", config.prompts), *(("benchmark", source) for source in config.evaluate.benchmarks)]
    if config.validation:
        sources.insert(1, ("validation", config.validation.source))
    rows = []
    for role, source in sources:
        place = f"generated, family {source.family}, seed {source.seed}" if source.kind == "tiny" else str(source.path)
        origin = Path(place).name if source.kind == "file" else place
        digests = [str(digest)[:16] for digest in source_identity(source)[1:]]
        rows.append(
            [role, source.name, origin, source.revision or "–", source.licence or "not stated", ", ".join(digests) or "–"]
        )
    return _table(["for", "source", "from", "revision", "licence", "SHA-256 of its files"], rows)


def _lineage(folder: Path, store: "Store", trained: Trained, base: tuple["BaseModel | None", str]) -> str:
    row = trained.row
    rows = [
        ["run", trained.run.run_id],
        ["step", str(trained.step)],
        ["registered as", trained.version or "–"],
        ["MLflow run", row["mlflow_run_id"] or "–"],
        ["git commit of Laconic", row["git_commit"] or "–"],
        ["base model", row["base_model"]],
        ["digest of the base", base[1]],
        ["revision of the base", trained.run.config.model_revision or "–"],
    ]
    rows += [["trained from", f"{label} (run {run_id})"] for label, run_id in trained.ancestors(store) if run_id]
    rows += [[f"SHA-256 of {path.name}", file_digest(path)] for path in sorted(folder.glob("*.safetensors"))]
    return _table(["what", "value"], rows)
