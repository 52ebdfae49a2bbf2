"""Which experts should answer a request that names none (`model=auto`). SPEC section 9.

`index.build_index` turns manifests into a `RoutingIndex` once; `route.route` decides about one
conversation, as a pure function of the messages, the index, where the experts' weights are, and
the settings. Evidence comes from keywords (`keywords`), the form of the request (`cues`) and
static embeddings (`embeddings`); a small linear model turns it into one probability per expert
(`policy`), and the base model answers when none is high enough.
"""
