"""Generator of graph schemas, questions and Cypher.

English, values, and questions about the nodes of one label are expert-sql's: its generator
stands in the folder next to this one, and what it writes as SQL is translated here.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "expert-sql"))
