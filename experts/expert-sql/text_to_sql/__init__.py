"""Data for a text-to-SQL expert: invented schemas, filled databases, questions, checked answers.

The way of one example: a schema (hand-written, varied, or composed from a word bank) is filled
with rows (`database`), a pattern asks a question of it (`patterns_*`, with filters from
`conditions`), the answer is executed and must tell something, and `forms` writes the messages.
"""
