"""What documents show of the code is what the code says."""

import shutil
from pathlib import Path

import pytest

from flows import generated_docs
from flows.generated_docs import BLOCKS, REPOSITORY, main, updated_document


def test_the_documents_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_stale_blocks_are_named_and_rewritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.png"))
    stale = {"docs/guidelines.md": "`few-rollouts`", "docs/reference/schema.md": "`budget_results`"}
    for document, shown in stale.items():
        text = (tmp_path / document).read_text(encoding="utf-8")
        assert shown in text
        (tmp_path / document).write_text(text.replace(f"| {shown}", "| `what_was`"), encoding="utf-8")
    changed = {document: (tmp_path / document).read_text(encoding="utf-8") for document in stale}

    assert main(["--check"], tmp_path) == 1
    said = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(":")[0] for line in said) == sorted(stale)
    assert all(line.endswith("is stale: run python -m flows.generated_docs") for line in said)
    assert {document: (tmp_path / document).read_text(encoding="utf-8") for document in stale} == changed

    assert main([], tmp_path) == 0
    for document, _, _ in BLOCKS:
        assert (tmp_path / document).read_text(encoding="utf-8") == (REPOSITORY / document).read_text(encoding="utf-8")


def test_what_is_around_a_block_stays() -> None:
    document = "# Title\n<!-- rules:start -->\nold\n<!-- rules:end -->\nrest\n"
    assert updated_document(document, "rules", "new") == "# Title\n<!-- rules:start -->\nnew\n<!-- rules:end -->\nrest\n"


def test_a_document_without_the_marks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.md").write_text("<!-- rules:end --> <!-- rules:start -->", encoding="utf-8")
    monkeypatch.setattr(generated_docs, "BLOCKS", (("page.md", "rules", lambda: "new"),))
    with pytest.raises(ValueError, match="must hold <!-- rules:start --> and <!-- rules:end --> once"):
        main([], tmp_path)
