"""What one tenant has asked never speeds up another's request."""

from __future__ import annotations

from hive_expert.serving.cache_salt import CacheSalts


def test_a_salt_cannot_be_computed_from_outside() -> None:
    assert CacheSalts().salt("alice", None) != CacheSalts().salt("alice", None)
    assert "secret" not in repr(CacheSalts())


def test_where_nobody_says_who_he_is_the_request_s_own_salt_stands() -> None:
    assert CacheSalts().salt(None, None) is None
    assert CacheSalts().salt(None, "mine") == "mine"


def test_vllm_takes_such_a_salt() -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    salt = CacheSalts().salt("alice", "x" * 1024)
    ChatCompletionRequest.model_validate({"messages": [], "cache_salt": salt})
