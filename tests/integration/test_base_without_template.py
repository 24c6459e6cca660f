"""A base model without a chat template goes through every stage with one from a file; a system prompt and another place of the answer.

The template leaves the system prompt out, which the tiny base was never shown: its pass rates stay what they are.
"""

import json
import shutil
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from pipeline_lib.config import load_config
from pipeline_lib.prompts.chat_templates import has_chat_template
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.stages.pipeline import run_pipeline
from pipeline_lib.store.database import Store
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.tiny_world.tokenizer import CHAT_TEMPLATE

WITHOUT_SYSTEM = CHAT_TEMPLATE.replace("in messages", "in messages if message['role'] != 'system'")
OVERRIDES = [
    *("generation.engine=transformers", "tracking.enabled=false", "prompts.num_prompts=8", "profile.num_rollouts=2"),
    *("filter.subset=all", "prompts.answer_from=last_number", "evaluate.benchmarks.0.answer_from=last_number"),
    *("train.steps=1", "train.prompts_per_step=2", "train.num_rollouts=2", "checkpoint.every_steps=1"),
    *("validation.source.num_prompts=2", "system_prompt=Say little."),
    *("evaluate.benchmarks.0.num_prompts=4", "evaluate.num_samples=1", "evaluate.bootstrap_resamples=10"),
]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The tiny base with its chat template taken out."""
    folder = tmp_path / "base"
    shutil.copytree(BASE_FOLDER, folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert has_chat_template(str(folder)) is False and has_chat_template(str(BASE_FOLDER)) is True
    return folder


def test_a_base_model_without_a_template_goes_through_all_stages(home: Path, configs: Path, base: Path, tmp_path: Path) -> None:
    (tmp_path / "turns.jinja").write_text(WITHOUT_SYSTEM)
    overrides = [f"base_model={base}", f"chat_template={tmp_path}/turns.jinja", *OVERRIDES]
    outcome = run_pipeline(str(configs / "smoke.toml"), overrides)
    [run_id] = outcome["run_ids"]
    store, config = Store(home), load_config(configs / "smoke.toml", overrides)
    found = store.query("SELECT stage, step, budget_tokens, answered_fraction, accuracy FROM answers_found ORDER BY ALL").rows
    assert [row[:3] for row in found] == [
        *(("evaluate", step, budget) for step in (0, 1) for budget in (24, 48, 96, 192)),
        ("profile", 0, None),
        ("train", 1, None),
    ]
    assert all(0 <= accuracy <= answered <= 1 for *_, answered, accuracy in found)
    [(profiled,)] = store.query("SELECT accuracy FROM answers_found WHERE stage = 'profile'").rows
    assert profiled > 0.4, "the tiny base solves these, so it was asked in its own turns"
    answers = store.query("SELECT DISTINCT answer FROM rollouts WHERE finish_reason = 'stop' AND answer IS NOT NULL").rows
    assert answers and all(answer.lstrip("-").isdigit() for (answer,) in answers)
    assert store.query("SELECT count(answer) FROM rollouts WHERE finish_reason = 'length'").rows == [(0,)]
    [checkpoint] = store.named("checkpoints_of_run", run_id=run_id)
    saved = PreTrainedTokenizerFast.from_pretrained(Path(checkpoint["path"]) / "model")
    assert saved.chat_template.endswith(WITHOUT_SYSTEM) and "Say little." in saved.chat_template
    bare = config.prompts.model_copy(update={"system_prompt": None})
    assert saved.decode(render_prompt(saved, bare, "8a-3")) == "<|im_start|>user\n8a-3<|im_end|>\n<|im_start|>assistant\n"
