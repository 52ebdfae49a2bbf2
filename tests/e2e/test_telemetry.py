"""Metrics, ids and logs of a real server."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.configs.dashboard import metrics, series_in
from tests.e2e.conftest import Server
from tests.e2e.test_serving import BASE, BASE_MESSAGES, JSON_MESSAGES, SQL_MESSAGES, ask, post

pytestmark = pytest.mark.e2e


def page(server: Server) -> str:
    return httpx.get(f"{server.url}/metrics").text


def value(server: Server, sample: str, **labels: str) -> float:
    """The sum of the samples of a name that bear these labels."""
    return sum(
        found.value
        for family in text_string_to_metric_families(page(server))
        for found in family.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


def test_the_dashboard_asks_for_metrics_that_there_are(server: Server) -> None:
    assert metrics() <= series_in(page(server))


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_counted_by_expert_as_the_answer_tells_them(
    server: Server, stream: bool
) -> None:
    def counted(kind: str) -> float:
        return value(server, "hive_tokens_total", expert="expert-sql", kind=kind)

    before = {kind: counted(kind) for kind in ("prompt", "completion")}
    if stream:
        chunks = ask(server, "expert-sql", stream=True, stream_options={"include_usage": True})
        usage = [chunk.usage for chunk in chunks][-1]
    else:
        usage = ask(server, "expert-sql").usage
    assert counted("prompt") - before["prompt"] == usage.prompt_tokens
    assert counted("completion") - before["completion"] == usage.completion_tokens


def test_requests_are_counted_by_expert_and_code(server: Server) -> None:
    def counted(expert: str, code: str) -> float:
        return value(server, "hive_requests_total", expert=expert, code=code)

    before = [counted("base", "200"), counted("none", "404"), counted("expert-json", "200")]
    ask(server, BASE, max_tokens=1)
    ask(server, "expert-json", max_tokens=1)
    post(server, "/v1/chat/completions", {"model": "no-such", "messages": BASE_MESSAGES})
    after = [counted("base", "200"), counted("none", "404"), counted("expert-json", "200")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]
    assert "no-such" not in page(server)


def test_adapters_that_meet_in_a_batch_leave_no_series_of_their_own(server: Server) -> None:
    ask(server, "expert-sql", max_tokens=1)
    assert "lora_requests_info" not in page(server)


def test_compositions_are_counted_together(server: Server) -> None:
    before = value(server, "hive_requests_total", expert="composed", code="200")
    for model in ("expert-json:0.5", "expert-json:0.3+expert-sql:0.7"):
        ask(server, model, messages=JSON_MESSAGES, max_tokens=1)
    assert value(server, "hive_requests_total", expert="composed", code="200") == before + 2
    assert 'expert="expert-json+expert-sql"' not in page(server)


def test_the_first_token_is_timed_by_residency(server: Server) -> None:
    def counted(residency: str) -> float:
        name = "hive_time_to_first_token_seconds_count"
        return value(server, name, expert="expert-sql", residency=residency)

    places = {"hit": "hot", "cpu": "cpu", "disk": "disk"}
    before = {name: counted(name) for name in places.values()}
    body = {"model": "expert-sql", "messages": SQL_MESSAGES, "max_tokens": 1}
    answer = post(server, "/v1/chat/completions", body)
    place = places[answer.headers["x-hive-residency"].split(";")[0]]
    assert counted(place) == before[place] + 1
    total = value(server, "hive_time_to_first_token_seconds_sum", expert="expert-sql")
    assert 0 < total < 600


def test_loads_are_counted(server: Server) -> None:
    path = f"{server.url}/v1/experts/expert-json"
    before = value(server, "hive_loads_total", expert="expert-json")
    httpx.post(f"{path}/unload", timeout=60)
    httpx.post(f"{path}/load", timeout=60)
    assert value(server, "hive_loads_total", expert="expert-json") == before + 1
    assert value(server, "hive_experts_resident") >= 1


def test_answers_that_fail_their_check_are_counted(server: Server) -> None:
    def counted(result: str) -> float:
        return value(server, "hive_validations_total", expert="expert-json", result=result)

    before = counted("passed"), counted("failed")
    body = {"model": "expert-json", "messages": JSON_MESSAGES, "temperature": 0}
    verdicts = [
        post(server, "/v1/chat/completions", body | more).headers.get("x-hive-validation", "")
        for more in ({}, {"max_tokens": 2})
    ]
    after = counted("passed"), counted("failed")
    assert [verdict.partition(":")[0] for verdict in verdicts] == ["passed", "failed"]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]


def test_a_refusal_is_counted_by_its_reason(server: Server) -> None:
    before = value(server, "hive_refusals_total", reason="route")
    httpx.post(f"{server.url}/invocations", json={})
    assert value(server, "hive_refusals_total", reason="route") == before + 1


def test_a_request_s_id_comes_back_and_names_the_answer(server: Server) -> None:
    body = {"model": BASE, "messages": BASE_MESSAGES, "max_tokens": 1}
    answer = post(server, "/v1/chat/completions", body, headers={"x-request-id": "my-request-7"})
    assert answer.headers["x-request-id"] == "my-request-7"
    assert answer.json()["id"] == "chatcmpl-my-request-7"
    assert len(post(server, "/v1/chat/completions", body).headers["x-request-id"]) == 32


def test_nothing_is_left_in_the_server(server: Server) -> None:
    assert value(server, "hive_requests_present") == 0
    assert value(server, "hive_requests_waiting") == 0
