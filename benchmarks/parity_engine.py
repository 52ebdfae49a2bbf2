"""One mixed batch through real vLLM, in a process of its own.

Called as `parity_engine.py JOB ANSWERS`. A job is JSON: the engine's arguments, and requests as
[adapter directory or null, integer id, prompt token ids]. Answers are a torch file: for each
request its tokens, and the log probabilities of the whole vocabulary at each of them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["VLLM_PLUGINS"] = "hive_expert"
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
# One process less to start; sharded engines have their workers all the same.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main() -> None:
    import torch
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    from hive_expert.engine.launch import ADAPTED_MODULES

    job = json.loads(Path(sys.argv[1]).read_bytes())
    vocabulary = job["vocabulary"]
    llm = LLM(
        **job["engine"],
        skip_tokenizer_init=True,
        enforce_eager=True,
        enable_lora=True,
        lora_target_modules=list(ADAPTED_MODULES),
        worker_extension_cls="hive_expert.engine.plugin.WorkerExtension",
        max_logprobs=vocabulary,
        disable_log_stats=True,
    )
    sampling = SamplingParams(
        temperature=0,
        max_tokens=job["tokens"],
        logprobs=vocabulary,
        ignore_eos=True,
        detokenize=False,
    )
    outputs = llm.generate(
        [{"prompt_token_ids": prompt} for _, _, prompt in job["requests"]],
        sampling,
        lora_request=[
            LoRARequest(f"adapter-{number}", number, path) if path else None
            for path, number, _ in job["requests"]
        ],
        use_tqdm=False,
    )
    answers = [
        (
            list(output.outputs[0].token_ids),
            torch.tensor(
                [[at[v].logprob for v in range(vocabulary)] for at in output.outputs[0].logprobs]
            ),
        )
        for output in outputs
    ]
    torch.save({"answers": answers, "status": llm.collective_rpc("hive_status")}, sys.argv[2])


if __name__ == "__main__":
    main()
