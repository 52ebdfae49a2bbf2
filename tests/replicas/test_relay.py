"""Which headers cross the front."""

from __future__ import annotations

import pytest

from hive_expert.replicas.relay import Head, Relayed, to_client, to_replica


def test_the_key_and_the_request_s_id_go_along() -> None:
    sent = ((b"Authorization", b"Bearer k"), (b"x-request-id", b"1"), (b"X-Hive-Debug", b"1"))
    assert to_replica(sent) == tuple((name.lower(), value) for name, value in sent)


@pytest.mark.parametrize(
    "name",
    [b"Host", b"Origin", b"Content-Length", b"Connection", b"Transfer-Encoding", b"TE", b"Expect"],
)
def test_what_belongs_to_the_front_s_connection_stays_there(name: bytes) -> None:
    assert to_replica([(name, b"x"), (b"accept", b"*/*")]) == ((b"accept", b"*/*"),)


def test_what_connection_names_stays_too() -> None:
    headers = [(b"connection", b"close, X-Mine"), (b"x-mine", b"1"), (b"x-yours", b"2")]
    assert to_replica(headers) == to_client(headers) == ((b"x-yours", b"2"),)


def test_the_answer_s_headers_come_back_with_its_length() -> None:
    answered = [
        (b"X-Hive-Experts", b"expert-sql@0.2.0"),
        (b"content-length", b"5"),
        (b"date", b"today"),
        (b"server", b"uvicorn"),
        (b"transfer-encoding", b"chunked"),
    ]
    assert to_client(answered) == (
        (b"x-hive-experts", b"expert-sql@0.2.0"),
        (b"content-length", b"5"),
    )


def test_a_stream_is_known_by_its_type() -> None:
    assert Head(200, ((b"content-type", b"text/event-stream; charset=utf-8"),)).streams
    assert not Head(200, ((b"content-type", b"application/json"),)).streams


def test_another_request_by_the_same_caller_shares_no_replica() -> None:
    request = Relayed("POST", "/v1/completions", ((b"x", b"y"),), b"{}", "expert-sql")
    other = request.to("POST", "/v1/route")
    assert (other.headers, other.body, other.experts) == (((b"x", b"y"),), b"{}", "")
