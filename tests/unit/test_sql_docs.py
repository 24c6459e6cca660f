"""Outputs are written below the queries of a page, and read back."""

from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_lib.store.database import QueryResult, Store
from pipeline_lib.store.sql_docs import aligned, main, questions, with_outputs

PAGE = """# Title

## One

```sql
SELECT 1 AS one, 'a' AS letter
```

Words.

## Two

```sql
SELECT NULL AS nothing
```

```text
stale
```

```bash
laconic sql
```
"""
EXPECTED = """# Title

## One

```sql
SELECT 1 AS one, 'a' AS letter
```

```text
one  letter
---  ------
  1  a
```

Words.

## Two

```sql
SELECT NULL AS nothing
```

```text
nothing
-------
      –
```

```bash
laconic sql
```
"""


def test_outputs_are_written_and_written_anew(home: Path, tmp_path: Path) -> None:
    store = Store(home)
    assert with_outputs(PAGE, store) == EXPECTED
    assert with_outputs(EXPECTED, store) == EXPECTED
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    assert main([str(path), "--home", str(home)]) == 0
    assert path.read_text(encoding="utf-8") == EXPECTED
    assert [(each.heading, each.columns) for each in questions(EXPECTED)] == [("One", ("one", "letter")), ("Two", ("nothing",))]
    assert next(questions(EXPECTED)).sql == "SELECT 1 AS one, 'a' AS letter"


def test_a_failing_query_is_named_by_its_heading(home: Path) -> None:
    with pytest.raises(ValueError, match="^Two: the query failed"):
        with_outputs(PAGE.replace("SELECT NULL AS nothing", "SELECT * FROM nowhere"), Store(home))


def test_alignment() -> None:
    rows = [(1, 0.123456, True, "long " * 30, Decimal("2.50")), (20, None, False, "a\nb", None)]
    text = aligned(QueryResult(("n", "share", "ok", "text", "money"), ("",) * 5, rows))
    head, rule, first, second = text.splitlines()
    assert head.split() == ["n", "share", "ok", "text", "money"]
    assert set(rule) == {"-", " "}
    assert first.startswith(" 1  0.1235  true   long long")
    assert first.endswith("…   2.50")
    assert second.split() == ["20", "–", "false", "a", "b", "–"]
    many = aligned(QueryResult(("n",), ("",), [(number,) for number in range(30)]))
    assert many.splitlines()[-1] == "… 30 rows in all"
    with pytest.raises(ValueError, match="a name with a space"):
        aligned(QueryResult(("a b",), ("",), []))
