"""The tables of files, batches, requests, steps and spent tokens, and the mark of the folder that
has the files' bytes; SQLite or PostgreSQL by a URL.

DBOS keeps its own in the same database. WAL lets readers go on while one writes, and outlives a
killed process; a commit that a power cut takes away is a request that is asked again.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from hive_expert.errors import Problem, UsageError

metadata = MetaData()


def _of_an_agent() -> tuple[Column[Any], ...]:
    """What is listed for an agent, page by page (`rows.page_of`)."""
    return (
        Column("id", String(40), primary_key=True),
        Column("agent", String(64), nullable=False),
        Column("created_at", BigInteger, nullable=False),
    )


def _of_a_request() -> tuple[Column[Any], ...]:
    """What belongs to one request of one batch."""
    return (
        Column("batch", String(40), primary_key=True),
        Column("custom_id", String(128), primary_key=True),
    )


FILES = Table(
    "hive_files",
    metadata,
    *_of_an_agent(),
    Column("name", Text, nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Index("hive_files_by_agent", "agent", "created_at", "id"),
)

FOLDER = Table(
    "hive_folder",
    metadata,
    Column("mark", String(40), primary_key=True),  # one row; see `belonging`
)

BATCHES = Table(
    "hive_batches",
    metadata,
    *_of_an_agent(),
    Column("endpoint", String(64), nullable=False),
    Column("input_file", String(40), nullable=False),
    Column("window", String(16), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("runs", Integer, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("output_seconds", BigInteger),
    Column("output_file", String(40)),
    Column("error_file", String(40)),
    Column("problems", Text, nullable=False),
    Column("times", Text, nullable=False),
    Column("counts", Text),  # once it is done; counted from its requests before
    Index("hive_batches_by_agent", "agent", "created_at", "id"),
)

REQUESTS = Table(
    "hive_requests",
    metadata,
    *_of_a_request(),
    Column("line", Integer, nullable=False),
    Column("start", BigInteger, nullable=False),  # where its line stands in the input file
    Column("length", Integer, nullable=False),
    Column("state", String(10), nullable=False),  # pending, done, failed, expired, cancelled
    Column("status", Integer),
    Column("answer", Text),  # JSON, until it stands in the batch's files
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Index("hive_requests_by_line", "batch", "line"),
    Index("hive_requests_by_state", "batch", "state", "line"),
)

STEPS = Table(
    "hive_pipeline_steps",
    metadata,
    *_of_a_request(),
    Column("step", String(64), primary_key=True),
    Column("answer", Text, nullable=False),  # JSON; gone once the batch is done
)

SPENT = Table(
    "hive_spent_tokens",
    metadata,
    Column("agent", String(64), primary_key=True),
    Column("period", String(16), primary_key=True),
    Column("tokens", BigInteger, nullable=False),
)


def open_database(url: str) -> Engine:
    """The database at a URL, with its tables.

    Raises:
        UsageError: the URL is none, or nothing answers there.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(_no_database("is no database URL")) from error
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise UsageError(_no_database(f"{parsed.drivername} is not served"))
    engine = create_engine(parsed, pool_pre_ping=parsed.get_backend_name() == "postgresql")
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    try:
        metadata.create_all(engine)
    except SQLAlchemyError as error:
        # Its own text may have the password.
        raise UsageError(_no_database(f"cannot be used: {type(error).__name__}")) from error
    return engine


def _no_database(what: str) -> Problem:
    return Problem("--jobs-database", what, "sqlite:////path/jobs.sqlite or postgresql://…")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = "IMMEDIATE"
    connection.execute("PRAGMA busy_timeout=30000")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
