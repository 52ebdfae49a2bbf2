"""Batches of requests that survive the death of anything. SPEC section 14.

The life of a batch:

1. `upload` streams a JSONL file into `files`, within limits; nothing of it is read yet.
2. `batches_api` notes the batch (`store`) and enqueues its one durable workflow (`workflows`, which
   goes through `steps`).
3. `intake` reads the file line by line; all broken lines are reported with their numbers, or each
   request becomes a row `(batch, custom_id)` that is `pending`.
4. `dispatcher` hands requests out: as many as `admission` finds room for beside those that somebody
   waits for, the highest class first, agents of one class by `fair_share`.
5. `upstream` asks this server's own application, past no check of it; with replicas that is the
   front's (`replicas.front_jobs`).
6. `recorder` writes the answer into its row, if that is still pending: one transaction for all
   answers of a moment, with the tokens they cost their agents.
7. `results` writes output and error file, each made whole by one rename, and the batch is done.

A request of a batch may also be a document and a pipeline: see `pipelines`.

**Why one workflow for a batch, not one for a request.** DBOS writes its state for every step: on
SQLite we measured 18 ms for a workflow of one step, 35 ms through a queue, on two cores. 10,000
short requests would cost 3 to 6 minutes of that alone. So the workflow has three steps, each of
which can be done twice, and what must not happen twice, a result, is held by the row's primary key
and its state. A kill in the middle of step 4 to 6 leaves the row pending: that request is asked
again, and all others are not.
"""
