"""hive-expert: signed experts, served unmerged and batched together by vLLM."""

__version__ = "0.1.0"
