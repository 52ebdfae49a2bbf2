"""A child for tests: does what the message says, well or badly."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from hive_expert.decoding.child_program import Job, serve


def prepare(greeting: dict[str, Any]) -> Job:
    if greeting.get("broken"):
        raise SystemExit(3)
    kept: list[bytes] = []

    def job(message: dict[str, Any]) -> dict[str, Any]:
        match message.get("do"):
            case "sleep":
                time.sleep(message["seconds"])
            case "spin":
                while True:
                    pass
            case "eat":
                while True:
                    kept.append(bytearray(16 * 1024 * 1024))
            case "die":
                os.abort()
            case "kill-program":
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)
            case "print":
                print("something that must not get between the frames", flush=True)
            case "raise":
                raise ValueError(f"a mistake in {message.get('say')}")
        return {
            "pid": os.getpid(),
            "program": os.getppid(),
            "said": message.get("say"),
            "greeting": greeting.get("word"),
        }

    return job


if __name__ == "__main__":
    serve(prepare)
