"""Answers that are bound to their prompt: are they what their own schema allows, whatever it is?

`python -m tests.e2e.prompt_bound --help` counts over many schemas, `tests/e2e/test_prompt_bound.py`
is the short form.
"""
