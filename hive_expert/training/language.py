"""What an expert's answers are written in, as far as this stack can read it."""

from __future__ import annotations

from typing import Literal, get_args

Language = Literal["sql", "json", "cypher", "typescript", "none"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
