"""A trained model leaves the home: its folder and card, what the card may not do, and its way onto a hub on loopback."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from loopback import free_port
from stored_runs import write_runs
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from pipeline_lib.config import RunConfig
from pipeline_lib.records import CheckpointRecord
from pipeline_lib.release.folder import export_model
from pipeline_lib.release.hub import hub_id, upload
from pipeline_lib.release.judged import read_judged
from pipeline_lib.release.serving import find_served, server_command
from pipeline_lib.store.database import Store
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.training.checkpoint_files import CheckpointError, seal

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTILE = "<img src=x onerror=alert(1)> [click](http://evil.example) \u202etxt"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, RunConfig, Path]]:
    """A home, only to be read, with the run `one`, its best checkpoint of step 6 a changed copy of the tiny base; and its folder."""
    home = tmp_path_factory.mktemp("released") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LACONIC_HOME", str(home))
        config, _ = write_runs(home)
        checkpoint = home / "checkpoints" / config.run_id / "step-00006"
        model = AutoModelForCausalLM.from_pretrained(BASE_FOLDER)
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(1.01)
        model.save_pretrained(checkpoint / "model")
        AutoTokenizer.from_pretrained(BASE_FOLDER).save_pretrained(checkpoint / "model")
        seal(checkpoint, {"step": 6, "best_step": 6, "validation_accuracy": 0.5, "weights_id": "w"})
        store = Store(home)
        store.write("checkpoints", [CheckpointRecord(config.run_id, 6, str(checkpoint), True, 0.5)])
        yield store, config, checkpoint


@pytest.fixture
def changeable(trained: tuple[Store, RunConfig, Path], tmp_path: Path) -> Store:
    """A copy of the home's store."""
    shutil.copytree(trained[0].home, tmp_path / "home", ignore=shutil.ignore_patterns("checkpoints"))
    return Store(tmp_path / "home")


def test_the_folder_is_the_model(trained: tuple[Store, RunConfig, Path], tmp_path: Path) -> None:
    store, _, checkpoint = trained
    folder = tmp_path / "out" / "model"
    facts = export_model(store, "one", folder)
    prompt = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        own, saved = (AutoModelForCausalLM.from_pretrained(each)(prompt).logits for each in (folder, checkpoint / "model"))
    assert torch.equal(own, saved)
    assert AutoTokenizer.from_pretrained(folder).chat_template == AutoTokenizer.from_pretrained(BASE_FOLDER).chat_template
    generation = GenerationConfig.from_pretrained(folder)
    assert (generation.temperature, generation.top_p, generation.top_k, generation.max_new_tokens) == (1.0, 1.0, 0, 192)
    assert generation.eos_token_id == 2
    assert read_judged(folder) == facts
    assert facts.recommended_tokens == 48, "4 of 6 right within 48 tokens as within 192"
    assert not [path.name for path in folder.parent.iterdir() if path != folder], "nothing unfinished is left"


def test_the_card_says_what_the_store_says(trained: tuple[Store, RunConfig, Path], tmp_path: Path) -> None:
    store, config, _ = trained
    export_model(store, config.run_id[:5], tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---")[1])
    assert (metadata["license"], metadata["library_name"]) == ("apache-2.0", "transformers")
    assert "base_model" not in metadata, "no model of the hub"
    for fact in (
        f"| run | {config.run_id} |",
        "| base model | builtin:tiny |",
        "| reward.name | truncation |",
        "| train.learning_rate | 0.0001 |",
        "tiny-sum: Mean response length (tokens): 102.0 → **40.0** (−60.8 %)",
        "| before RL | 16.7 (0.0–50.0) |",
        "| after RL (truncation) | 16.7 ",
        "![Accuracy at every token budget, before and after](accuracy_by_budget.png)",
        "<|im_start|>user\nPROBLEM<|im_end|>",
        "Of the base model, by its own card: apache-2.0.",
    ):
        assert fact in card, fact
    assert (tmp_path / "model" / "accuracy_by_budget.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in card + (tmp_path / "model" / "laconic.json").read_text(), "no path of this machine"


def test_what_was_lost_is_told(trained: tuple[Store, RunConfig, Path], changeable: Store, tmp_path: Path) -> None:
    store, config = changeable, trained[1]
    rows = [
        row for row in store.named("budget_table", run_ids=[config.run_id]) if (row["step"], row["budget_tokens"]) == (6, 192)
    ]
    elsewhere = ("name", "control_of", "tokens_per_correct", "cost_per_1000_correct", "currency")
    lost = {key: value for key, value in rows[0].items() if key not in elsewhere}
    store.write("budget_results", [{**lost, "mean_at_k": 0.25, "ci_low": 0.2, "ci_high": 0.3, "pass_at_k": 0.25}])
    export_model(store, "one", tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "tiny-sum within 192 tokens: accuracy fell by 41.7 points, from 66.7 to 25.0 %" in card


def test_a_name_from_elsewhere_does_nothing_in_the_card(
    trained: tuple[Store, RunConfig, Path], changeable: Store, tmp_path: Path
) -> None:
    store, config = changeable, trained[1]
    tree = config.model_dump(mode="json")
    tree["prompts"]["licence"] = tree["evaluate"]["benchmarks"][0]["licence"] = f"{HOSTILE} | --- |"
    store.write("runs", [{"run_id": config.run_id, "name": "one", "config": tree, "base_model": f"{HOSTILE}`x`"}])
    export_model(store, config.run_id, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "\u202e" not in card
    plain = re.sub(r"(`+) .+? \1|\\.", "", card)  # without code and what is escaped
    assert "<img" not in plain and "[click]" not in plain
    assert card.count("\n---\n") == 1, "the metadata ends where it should"


@pytest.mark.parametrize("what", ["file", "full", "link"])
def test_nothing_is_overwritten(trained: tuple[Store, RunConfig, Path], tmp_path: Path, what: str) -> None:
    folder = tmp_path / "taken"
    if what == "file":
        folder.write_text("mine")
    elif what == "full":
        folder.mkdir()
        (folder / "mine").write_text("mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="taken is"):
        export_model(trained[0], "one", folder)
    assert not (tmp_path / "elsewhere").exists() or not list((tmp_path / "elsewhere").iterdir())


def test_a_damaged_checkpoint_is_not_exported(trained: tuple[Store, RunConfig, Path], tmp_path: Path) -> None:
    store, _, checkpoint = trained
    path = checkpoint / "model" / "config.json"
    whole = path.read_text()
    path.write_text(f"{whole} ")
    try:
        with pytest.raises(CheckpointError, match="config.json"):
            export_model(store, "one", tmp_path / "model")
    finally:
        path.write_text(whole)
    assert not (tmp_path / "model").exists()


def test_the_server_is_told_how_the_model_was_judged(
    trained: tuple[Store, RunConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _, checkpoint = trained
    export_model(store, "one", tmp_path / "model")
    for word, folder in (("one", checkpoint / "model"), (str(tmp_path / "model"), tmp_path / "model")):
        served = find_served(store, word)
        command = server_command(served, "127.0.0.1", 8000, ["--max-num-seqs", "4"])
        assert command[-2:] == ["--max-num-seqs", "4"]
        options = dict(zip(command[3::2], command[4::2], strict=False))
        assert options["--model"] == str(folder)
        assert (options["--served-model-name"], options["--dtype"], options["--max-model-len"]) == ("one", "float32", "256")
        assert json.loads(options["--override-generation-config"]) == {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with pytest.raises(ValueError, match="VLLM_API_KEY"):
        server_command(served, "0.0.0.0", 8000, [])
    assert "--api-key=K" in server_command(served, "0.0.0.0", 8000, ["--api-key=K"])
    with pytest.raises(ValueError, match="no model folder at"):
        find_served(store, str(tmp_path / "nowhere"))
    (tmp_path / "model" / "laconic.json").write_text('{"run_id": 1}')
    with pytest.raises(ValueError, match="export the model again"):
        find_served(store, str(tmp_path / "model"))


class Hub(ThreadingHTTPServer):
    """The endpoints of the hub that an upload needs; `files` are those committed, `asked` the bodies of what created repositories."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.stored: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.refuses = False


class _HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stored[hashlib.sha256(content).hexdigest()] = content
        self._answer({})

    def do_POST(self) -> None:
        hub, body = self.server, self._body()
        hub.tokens.add(self.headers.get("Authorization"))
        if hub.refuses:
            self._answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            hub.created.append(json.loads(body))
            self._answer({"url": f"{hub.address}/me/brief", "name": "me/brief"})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
            self._answer({"files": [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            upload = {"upload": {"href": f"{hub.address}/put", "header": {}}}
            objects = [{**each, "actions": upload} for each in json.loads(body)["objects"]]
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.files[value["path"]] = hub.stored[value["oid"]]
            self._answer({"commitUrl": f"{hub.address}/me/brief/commit/0", "commitOid": "0" * 40, "pullRequestUrl": None})
        else:  # a look at the card's metadata
            self._answer({"warnings": [], "errors": []})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def _answer(self, tree: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def hub_on_loopback() -> Iterator[Hub]:
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


def test_to_the_hub(trained: tuple[Store, RunConfig, Path], tmp_path: Path) -> None:
    """By the command, in a process of its own: the hub's address is read at import. The token is shown to nobody else."""
    folder = tmp_path / "model"
    with hub_on_loopback() as hub:
        variables = {"HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_secret", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "export-model", "one", str(folder), "--to", "hub:me/brief"],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "LACONIC_HOME": str(trained[0].home), **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert "/me/brief/commit/0" in done.stdout
    assert "max_tokens = 48" in done.stdout
    assert hub.created[0]["visibility"] == "private"
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert hub.tokens == {"Bearer hf_secret"}
    assert "hf_secret" not in done.stdout + done.stderr


def test_a_refusal_leaves_the_folder_for_another_try(
    trained: tuple[Store, RunConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    export_model(trained[0], "one", folder)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with hub_on_loopback() as hub:
        hub.refuses = True
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
        with pytest.raises(RuntimeError, match=r"the hub refused me/brief \(status 401\): log in .* the same command sends it"):
            upload(folder, "me/brief", is_public=False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RuntimeError, match="could not be reached"):
        upload(folder, "me/brief", is_public=False)
    export_model(trained[0], "one", folder, may_be_there=True)
    with pytest.raises(ValueError, match="not empty"):
        export_model(trained[0], "one", folder)


@pytest.mark.parametrize("target", ["brief", "hub:brief", "hub:../x/y", "s3://me/brief"])
def test_what_is_no_place_on_the_hub(target: str) -> None:
    with pytest.raises(ValueError, match="hub:OWNER/NAME"):
        hub_id(target)
