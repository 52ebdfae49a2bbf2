"""Which requests come from a page of another site."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from hive_expert.serving.origin import foreign_page


@pytest.mark.parametrize(
    ("headers", "local", "foreign"),
    [
        ({"host": "127.0.0.1:8000"}, True, False),
        ({"host": "localhost:8000"}, True, False),
        ({"host": "LOCALHOST"}, True, False),
        ({"host": "[::1]:8000"}, True, False),
        ({"host": "[::1]"}, True, False),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, True, False),
        ({"host": "127.0.0.1:8000", "origin": "https://chat.example.org"}, True, False),
        ({"host": "127.0.0.1:8000", "origin": "http://evil.example.org"}, True, True),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:9000"}, True, True),
        ({"host": "127.0.0.1:8000", "origin": "null"}, True, True),
        ({"host": "evil.example.org:8000"}, True, True),
        ({"host": "127.0.0.1.evil.example.org"}, True, True),
        ({"host": ""}, True, True),
        ({}, True, True),
        ({"host": "models.example.org"}, False, False),
        ({"host": "models.example.org", "origin": "https://evil.example.org"}, False, True),
        ({"host": "models.example.org", "origin": "https://models.example.org"}, False, False),
    ],
)
def test_foreign_pages(headers: dict[str, str], local: bool, foreign: bool) -> None:
    allowed = frozenset({"https://chat.example.org"})
    assert foreign_page(Headers(headers), allowed, local=local) is foreign
