"""All that the database knows of jobs, and what concerns several of its tables at once."""

from __future__ import annotations

import json
from dataclasses import replace

from sqlalchemy import insert, update

from hive_expert.jobs.batch import NEXT, Batch, File
from hive_expert.jobs.batch_rows import (
    BatchRows,
    batch_columns,
    batch_in,
    counts_json,
    with_counts,
)
from hive_expert.jobs.file_rows import FileRows
from hive_expert.jobs.pipelines.step_rows import StepRows, forget_steps
from hive_expert.jobs.request_rows import RequestRows
from hive_expert.jobs.rows import columns_of
from hive_expert.jobs.tables import BATCHES, FILES, REQUESTS


class Store(FileRows, BatchRows, RequestRows, StepRows):
    """The database of jobs."""

    def finish(
        self, batch_id: str, state: str, now: int, output: File | None, errors: File | None
    ) -> Batch | None:
        """Bring a batch to its end together with its files; its answers are in these now.

        Returns:
            The batch; None if it had come to its end before.
        """
        with self.engine.begin() as connection:
            batch = batch_in(connection, batch_id, None, lock=True)
            if state not in NEXT[batch.state]:
                return None
            counts = with_counts(connection, [batch])[0].counts
            done = replace(
                batch,
                state=state,
                times={**batch.times, state: now},
                output_file=output.id if output else None,
                error_file=errors.id if errors else None,
                counts=counts,
            )
            for file in (output, errors):
                if file is not None:
                    connection.execute(insert(FILES).values(**columns_of(file, FILES)))
            columns = batch_columns(done) | {"counts": json.dumps(counts_json(counts))}
            connection.execute(update(BATCHES).where(BATCHES.c.id == batch_id).values(**columns))
            connection.execute(
                update(REQUESTS).where(REQUESTS.c.batch == batch_id).values(answer=None)
            )
            forget_steps(connection, batch_id)
        return done
