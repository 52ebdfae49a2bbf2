"""A vLLM engine that measures on command, in a process of its own.

Arguments of the engine come as JSON on the command line. Each line of standard input is a job,
each line of the original standard output its result; what vLLM prints goes to standard error.
A job is one batch, prefilled and decoded, all of its requests at once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

RESULTS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

VOCABULARY = 40_000
"""Random prompts use ids below it."""


class Engine:
    def __init__(self, arguments: dict[str, Any]) -> None:
        from vllm import LLM

        self.llm = LLM(**arguments, skip_tokenizer_init=True, disable_log_stats=True)
        self.numbers: dict[str, int] = {}
        self.random = Random(0)
        self.served = 0

    def status(self) -> dict[str, Any]:
        import torch

        plugged = hasattr(self.llm.llm_engine.vllm_config, "parallel_config") and bool(
            self.llm.llm_engine.vllm_config.parallel_config.worker_extension_cls
        )
        status = self.llm.collective_rpc("hive_status")[0] if plugged else {}
        return {"threads": torch.get_num_threads(), **status}

    def run(self, job: dict[str, Any]) -> dict[str, float]:
        """Seconds until all requests have their first token, and from then to the last."""
        adapters = job["adapters"]
        self._batch(adapters, prompt=1, tokens=1)  # copies the adapters into slots, untimed
        peak = _reset_peak() if job.get("memory") else None
        result = self._batch(adapters, job["prompt"], job["tokens"])
        if peak is not None:
            result["peak_mib"] = (_memory("VmHWM") - peak) / 1024
        return result

    def _batch(self, adapters: list[str | None], prompt: int, tokens: int) -> dict[str, float]:
        from vllm import SamplingParams

        sampling = SamplingParams(
            temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False
        )
        engine = self.llm.llm_engine
        for adapter in adapters:
            self.served += 1
            ids = [self.random.randrange(10, VOCABULARY) for _ in range(prompt)]
            engine.add_request(
                str(self.served),
                {"prompt_token_ids": ids},
                sampling,
                lora_request=self._request(adapter),
            )
        waiting = len(adapters)
        generated = at_first = 0
        start = first = time.perf_counter()
        while engine.has_unfinished_requests():
            for output in engine.step():
                length = len(output.outputs[0].token_ids)
                generated += 1
                waiting -= length == 1
            if waiting == 0 and not at_first:
                first, at_first = time.perf_counter(), generated
        end = time.perf_counter()
        assert generated == len(adapters) * tokens, "a step made more than one token of a request"
        return {
            "prefill_s": first - start,
            "prefilled": len(adapters) * prompt,
            "decode_s": end - first,
            "decoded": generated - at_first,
        }

    def _request(self, adapter: str | None) -> Any:
        from vllm.lora.request import LoRARequest

        if adapter is None:
            return None
        number = self.numbers.setdefault(adapter, len(self.numbers) + 1)
        return LoRARequest(f"adapter-{number}", number, adapter)


def _memory(field: str) -> int:
    """KiB, of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def _reset_peak() -> int:
    """Let VmHWM start again from what is in use now, and tell that."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def main() -> None:
    engine = Engine(json.loads(sys.argv[1]))
    reply(engine.status())
    for line in sys.stdin:
        reply(engine.run(json.loads(line)))


def reply(result: dict[str, Any]) -> None:
    print(json.dumps(result), file=RESULTS, flush=True)


if __name__ == "__main__":
    main()
