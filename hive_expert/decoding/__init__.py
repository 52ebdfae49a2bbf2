"""How an expert's answers are decoded: the contract, and the grammars it may hold."""
