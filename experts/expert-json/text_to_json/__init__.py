"""Texts with JSON Schemas and the objects that answer them.

A *domain* (:mod:`domains`) is a kind of text: its fields and its English. A *schema*
(:mod:`schemas`) asks for some of the fields. *Facts* (:mod:`values`) are drawn, put into
words (:mod:`phrasing`) and answered (:mod:`examples`). The wording, the names and the
hand-written cases lie in ``data/``.
"""
