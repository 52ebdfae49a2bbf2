"""Pipelines: a graph of steps over each document of a file. SPEC section 14.

The life of a run:

1. `parse` reads the file (`yaml_reader`, or strict JSON) into a `model.Pipeline`, or says all that
   is wrong with it: what `graph` finds in the steps, and `template` in their texts.
2. `documents` reads the input line by line; each is held against what the pipeline asks of it.
3. Pipeline and document become one line of a batch for `/v1/pipelines` (`request`), and so have
   what every batch has: a place in the queue, a fair share, a budget, cancellation, one result.
4. The server's dispatcher hands a document out, and `runner` asks its steps in their order.
5. Each step's answer is checked (`checks`), asked for again if it is wrong, and written down
   (`step_rows`): a document that is asked again after a kill goes on behind its last finished step.

**Why a document is one request of a batch.** What must not happen twice is a result, and batches
have that law already. A document's steps come one after the other, so it holds one place in the
engine; documents are many, and side by side.
"""
