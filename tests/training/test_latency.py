from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import TrainingError
from hive_expert.manifest.parse import dump_manifest, manifest_from, parse_manifest
from hive_expert.training import latency
from hive_expert.training.intervals import Rate
from hive_expert.training.latency import BATCH_SIZES, WARM_UP, Overhead, measure_overhead, with_perf
from tests.training.conftest import manifest_document
from tests.training.openai_server import openai_server
from tests.training.test_evaluate import SUITE


def test_the_added_time_is_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def answer(body: dict[str, Any]) -> str:
        nonlocal now
        now += 0.050 if body["model"] == "expert-tiny" else 0.020
        return "x"

    monkeypatch.setattr(latency, "clock", lambda: now)
    with openai_server(answer) as server:
        made = measure_overhead(SUITE.cases, "expert-tiny", "tiny", server.endpoint, pairs=6)
        asked = [body["model"] for body, _ in server.requests]
    assert made.added_ms.count == 6
    assert made.added_ms.value == pytest.approx(30)
    assert asked.count("tiny") == WARM_UP + 6
    assert asked.count("expert-tiny") == WARM_UP + 6 + sum(BATCH_SIZES)
    assert all(body["max_tokens"] == 1 for body, _ in server.requests)


def test_a_failed_request_makes_no_time() -> None:
    with openai_server(lambda body: 400) as server, pytest.raises(TrainingError):
        measure_overhead(SUITE.cases, "expert-tiny", "tiny", server.endpoint, pairs=1)


def test_perf_is_written_as_the_manifest_has_it(tmp_path: Path) -> None:
    document = manifest_document()
    document["soft_prompts"] = [{"name": "tone", "path": "tone.safetensors", "tokens": 4}]
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "adapter_model.safetensors").write_bytes(b"x" * (3 << 20))
    (tmp_path / "tone.safetensors").write_bytes(b"x" * (1 << 19))
    overhead = Overhead(Rate(1.234, 1.0, 1.5, 9), BATCH_SIZES)
    made = with_perf(manifest_from(document), overhead, tmp_path)
    perf = parse_manifest(dump_manifest(made)).perf
    assert perf is not None
    assert (perf.latency_ms_overhead, perf.vram_mb_overhead) == (1.23, 3.5)
    assert perf.supported_batch_sizes == BATCH_SIZES


def test_memory_is_of_the_base_model_where_the_files_are_largest(tmp_path: Path) -> None:
    document = manifest_document()
    entry = document["base_models"][0]
    document["base_models"] = [entry, entry | {"name": "acme/other"}]
    document["soft_prompts"] = [{"name": "tone", "path": "tone", "tokens": 4}]
    (tmp_path / "tone").mkdir()
    for name, size in (("tiny", 2 << 20), ("other", 1 << 20)):
        (tmp_path / "tone" / f"{name}.safetensors").write_bytes(b"x" * size)
    perf = with_perf(manifest_from(document), Overhead(Rate(1, 1, 1, 1), ()), tmp_path).perf
    assert perf is not None
    assert perf.vram_mb_overhead == 2
