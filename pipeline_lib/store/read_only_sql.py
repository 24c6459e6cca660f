"""Which SQL a user may run: one statement that only reads."""

import re

import duckdb

from pipeline_lib.messages.faults import one_line

ALLOWED = "one SELECT, WITH, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN statement"
_EXPLAIN_PREFIX = re.compile(r"\s*EXPLAIN\s*(\([^)]*\)\s*|ANALYZE\s+)*", re.IGNORECASE)
_COMMENT = re.compile(r"\s*(--[^\n]*(\n|$)|/\*.*?\*/)", re.DOTALL)


def check_reads_only(sql: str) -> None:
    """Raise ValueError unless DuckDB's own parser takes `sql` for one statement that reads.

    DESCRIBE, SHOW and SUMMARIZE parse as SELECT. EXPLAIN ANALYZE runs what it explains, so that must read as well.
    """
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise ValueError(f"not valid SQL: {in_words(error)}") from error
    if len(statements) != 1:
        raise ValueError(f"{len(statements)} statements given: the store answers {ALLOWED}")
    [statement] = statements
    if statement.type == duckdb.StatementType.EXPLAIN:
        check_reads_only(_explained(statement.query))
    elif statement.type != duckdb.StatementType.SELECT:
        raise ValueError(f"a {statement.type.name} statement is refused: the store answers {ALLOWED}")


def in_words(error: duckdb.Error) -> str:
    """DuckDB's message in one line, without the drawing of where in the SQL it is."""
    return one_line(str(error).partition("\n\nLINE ")[0])


def _explained(sql: str) -> str:
    while comment := _COMMENT.match(sql):
        sql = sql[comment.end() :]
    return _EXPLAIN_PREFIX.sub("", sql, count=1)
