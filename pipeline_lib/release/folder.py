"""A trained model as a folder that transformers, vLLM and the hub take: weights, tokenizer, generation settings, card."""

import json
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.files.whole_files import replacing
from pipeline_lib.release.card import write_card
from pipeline_lib.release.judged import FACTS_FILE, Judged, judged, read_judged
from pipeline_lib.release.licence import licence_files
from pipeline_lib.release.trained import Trained, find_trained

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store

# Of the model's own generation settings: what ends and pads a response. The others are those that it was judged with.
TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def export_model(store: "Store", word: str, folder: Path, may_be_there: bool = False) -> Judged:
    """Write the model that `word` means (`find_trained`) as a new folder; a reader finds none or the whole one.

    Raises ValueError for a folder that holds something; with `may_be_there` one that holds this export already is left as it is.
    """
    trained = find_trained(store, word)
    facts = judged(store, trained)
    folder = folder.expanduser().absolute()
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"{folder} is no folder: name one that is not there yet")
    if folder.exists() and any(folder.iterdir()):
        if may_be_there and read_judged(folder) == facts:
            return facts
        raise ValueError(f"{folder} is not empty: name a new folder, or empty it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as partial:
        partial.mkdir()
        _copy_model(trained, partial)
        _write_generation_settings(partial, facts)
        (partial / FACTS_FILE).write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")
        write_card(partial, store, trained, facts)
    return facts


def _copy_model(trained: Trained, partial: Path) -> None:
    """The plain files of the model's folder (with LoRA its weights are merged ones), and the texts of the base's licence."""
    for path in sorted(trained.folder.iterdir()):
        if stat.S_ISREG(path.lstat().st_mode) and not path.name.startswith("."):
            shutil.copyfile(path, partial / path.name)
    if not any(partial.glob("*.safetensors")):
        raise ValueError(f"{trained.folder} holds no weights as safetensors")
    try:
        base = Path(trained.run.base.location)
    except Exception:  # it was moved since, or its registry is away
        return
    for path in licence_files(base):
        shutil.copyfile(path, partial / path.name)


def _write_generation_settings(partial: Path, facts: Judged) -> None:
    path = partial / "generation_config.json"
    own = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    settings = {key: own[key] for key in TOKENS if own.get(key) is not None}
    # top_k = 0 is off: absent, transformers would take 50.
    settings |= {"do_sample": True, "temperature": facts.temperature, "top_p": facts.top_p, "top_k": 0}
    settings["max_new_tokens"] = facts.largest_budget
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
