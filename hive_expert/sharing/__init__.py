"""Experts from elsewhere: git repositories, local files and signed indexes. SPEC section 13.

An installation goes `source` (what was asked for) → `repository` or `index` (where it lies) →
`candidate` (verified packages) → `resolve` (which of them, with what they require) →
`transaction` (into the experts directory, all or nothing) and `lock` (how to have the same again).
"""
