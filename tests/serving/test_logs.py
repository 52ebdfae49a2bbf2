"""JSON log lines: whole, one object each, with the request's id."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from hive_expert.serving.logs import log_to
from hive_expert.serving.observation import CURRENT, Observation


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """Ours, left as it was found."""
    found = logging.getLogger("hive_expert")
    before = (list(found.handlers), found.level, found.propagate)
    access = logging.getLogger("hive_expert.access")
    yield found
    found.handlers[:], found.level, found.propagate = before
    found.setLevel(before[1])
    access.setLevel(logging.NOTSET)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_object(logger: logging.Logger) -> None:
    stream = io.StringIO()
    log_to(stream, format_="json", verbose=False)
    logger.getChild("serving").info("two\nlines of %s", "text")
    (line,) = lines(stream)
    assert line["message"] == "two\nlines of text"
    assert (line["level"], line["logger"]) == ("info", "hive_expert.serving")


def test_lines_within_a_request_bear_its_id(logger: logging.Logger) -> None:
    stream = io.StringIO()
    log_to(stream, format_="json", verbose=False)
    token = CURRENT.set(Observation("abc", "POST", "/v1/completions"))
    try:
        logger.warning("something")
    finally:
        CURRENT.reset(token)
    assert lines(stream)[0]["request_id"] == "abc"


def test_the_end_of_a_request_tells_all(logger: logging.Logger) -> None:
    stream = io.StringIO()
    log_to(stream, format_="json", verbose=False)
    seen = Observation("abc", "POST", "/v1/completions", tenant="alice", asks_model=True)
    seen.status, seen.expert, seen.first_token_s = 200, "expert-sql", 0.12345
    logger.getChild("access").info("done", extra={"request": seen})
    (line,) = lines(stream)
    assert (line["tenant"], line["status"], line["expert"]) == ("alice", 200, "expert-sql")
    assert line["first_token_seconds"] == 0.1235 or line["first_token_seconds"] == 0.1234
    assert "refused" not in line


def test_text_leaves_single_requests_out_unless_all_is_told(logger: logging.Logger) -> None:
    for verbose in (False, True):
        stream = io.StringIO()
        log_to(stream, format_="text", verbose=verbose)
        logger.getChild("access").info("GET / 200")
        logger.info("ready")
        assert ("GET / 200" in stream.getvalue()) is verbose
        assert "ready" in stream.getvalue()
        logger.handlers.pop()


def test_an_exception_stays_on_its_line(logger: logging.Logger) -> None:
    stream = io.StringIO()
    log_to(stream, format_="json", verbose=False)
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("it failed")
    (line,) = lines(stream)
    assert "ValueError: broken" in str(line["exception"])
