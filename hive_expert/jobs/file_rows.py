"""What the database knows of files.

Whoever asks for an agent's files gets that agent's only; another's are not there.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, func, insert, select

from hive_expert.errors import JobError, Problem, UnknownJobError
from hive_expert.jobs.batch import OPEN, File
from hive_expert.jobs.rows import Page, Rows, columns_of, page_of, require_id
from hive_expert.jobs.tables import BATCHES, FILES, FOLDER


class FileRows(Rows):
    """The table of files."""

    def add_file(self, file: File) -> None:
        with self.engine.begin() as connection:
            connection.execute(insert(FILES).values(**columns_of(file, FILES)))

    def file(self, file_id: str, agent: str) -> File:
        """Raises UnknownJobError: the agent has no such file."""
        with self.engine.connect() as connection:
            return file_in(connection, file_id, agent)

    def files(
        self, agent: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> Page:
        """A page of an agent's files. Raises UnknownJobError: `after` is none of them."""
        with self.engine.connect() as connection:
            anchor = None if after is None else file_in(connection, after, agent).created_at
            wanted = [FILES.c.agent == agent]
            if purpose is not None:
                wanted.append(FILES.c.purpose == purpose)
            rows = page_of(connection, FILES, wanted, after, anchor, limit, newest_first)
        return Page(tuple(File(**row) for row in rows[:limit]), len(rows) > limit)

    def stored(self, agent: str) -> tuple[int, int]:
        """How many files an agent has, and their bytes."""
        query = select(func.count(), func.coalesce(func.sum(FILES.c.size), 0))
        with self.engine.connect() as connection:
            count, size = connection.execute(query.where(FILES.c.agent == agent)).one()
        return count, int(size)

    def remove_file(self, file_id: str, agent: str) -> None:
        """Forget a file.

        Raises:
            UnknownJobError: the agent has no such file.
            JobError: an open batch reads it.
        """
        with self.engine.begin() as connection:
            file_in(connection, file_id, agent)
            _require_unused(connection, file_id)
            connection.execute(delete(FILES).where(FILES.c.id == file_id))

    def remove_expired_files(self, now: int) -> list[str]:
        """Forget the files whose time is over and that no open batch reads; their ids."""
        used = select(BATCHES.c.input_file).where(BATCHES.c.state.in_(OPEN))
        over = and_(FILES.c.expires_at <= now, FILES.c.id.not_in(used))
        with self.engine.begin() as connection:
            gone = list(connection.scalars(select(FILES.c.id).where(over)))
            connection.execute(delete(FILES).where(FILES.c.id.in_(gone)))
        return gone

    def all_file_ids(self) -> set[str]:
        with self.engine.connect() as connection:
            return set(connection.scalars(select(FILES.c.id)))

    def folder_mark(self) -> str | None:
        """The mark of the folder that has the files' bytes; None before there is one."""
        with self.engine.connect() as connection:
            return connection.scalars(select(FOLDER.c.mark)).first()

    def set_folder_mark(self, mark: str) -> None:
        """Once for a database."""
        with self.engine.begin() as connection:
            connection.execute(insert(FOLDER).values(mark=mark))


def file_in(connection: Connection, file_id: str, agent: str) -> File:
    require_id(file_id, "file")
    query = select(FILES).where(FILES.c.id == file_id, FILES.c.agent == agent)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise UnknownJobError(Problem("", f"No such file: {file_id[:80]}"))
    return File(**row)


def _require_unused(connection: Connection, file_id: str) -> None:
    query = select(BATCHES.c.id).where(BATCHES.c.input_file == file_id, BATCHES.c.state.in_(OPEN))
    using = connection.scalars(query).first()
    if using is not None:
        raise JobError(Problem("", f"{file_id} is read by {using}", "cancel that batch first"))
