"""A limit beside each input of a stranger's."""

from __future__ import annotations

MAX_FILE_BYTES = 64 * 1024
"""Of a pipeline's file."""
MAX_VALUES = 5000
MAX_CANONICAL_CHARACTERS = 2 * MAX_FILE_BYTES
"""Of a pipeline as JSON, in a request."""
MAX_STEPS = 32
MAX_CHAIN = 10
"""Steps that may stand behind one another; an expert's `constraints.max_chain` may say fewer."""
MAX_COMPARED = 100
"""Names that a misspelled one is compared with: a document may have half a million."""
MAX_SHOWN_CHARACTERS = 64
"""Of each name that there is, where another was meant."""
MAX_TEMPLATE_CHARACTERS = 32 * 1024
MAX_REFERENCES = 64
"""In one template."""
MAX_REFERENCE_CHARACTERS = 200
MAX_FILLED_CHARACTERS = 1024 * 1024
"""Of a template with its values: one may name the same long text many times."""
MAX_SCHEMA_VALUES = 2000
"""In a step's JSON Schema, before anything looks at what it means."""
MAX_SCHEMA_DEPTH = 32
MAX_CHOICES = 64
MAX_RETRIES = 5
MAX_KEPT_CHARACTERS = 256 * 1024
"""Of a step's answer."""
