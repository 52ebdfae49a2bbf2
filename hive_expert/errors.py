"""Every exception this project raises on purpose, as one tree.

::

    HiveError
    ├── UsageError            wrong command line or API use (exit 2)
    ├── ManifestError         a manifest that is malformed, lies, or asks for the impossible
    ├── PackageError          a package that is not accepted
    │   ├── ArchiveError      its container breaks the format (names, sizes, member kinds)
    │   ├── IntegrityError    a member's bytes differ from what the manifest or signature states
    │   ├── SignatureError    no signature, or one that does not verify
    │   └── TensorError       a weight file that breaks the strict safetensors rules
    ├── KeyFileError          a key file that cannot be read, written or unlocked
    ├── TrustError            a sound package that the trust policy refuses
    ├── BaseModelError        a base model that is missing, unreadable or not the pinned one
    ├── AdapterError          an adapter that does not fit its base model
    ├── DecodingError         a decoding contract that cannot be honoured
    │   └── GrammarError      a grammar that does not parse or compile
    ├── UnfitError            a verified expert that this server cannot serve
    ├── CatalogError          an expert that cannot be resolved
    │   ├── NotYetError       one that may be resolved in a moment
    │   ├── UnknownExpertError
    │   └── CompositionError  experts that do not go together in one request
    ├── SharingError          an expert that cannot be had from where it is shared
    │   ├── SourceError       a URL, path or name that is not allowed as a source
    │   ├── RepositoryError   a git repository that cannot be fetched, or is refused
    │   ├── IndexRefusedError an index whose metadata cannot be had or does not verify
    │   └── InstallError      packages that do not fit here, or do not go together
    ├── ConflictError         an operation that the present state does not allow
    ├── RoutingError          the router's index, policy or embeddings cannot be had
    ├── RequestError          a request that asks for what is not served
    ├── AgentError            an agent that may not have what it asks for
    │   └── BudgetError       it has used up its tokens
    ├── JobError              a file or batch that breaks a rule
    │   ├── PipelineError     a pipeline that is malformed, or a document that does not fit it
    │   ├── UnknownJobError   no such file or batch of this caller's
    │   └── NoJobsError       this server keeps no jobs
    ├── InvalidAnswerError    an answer that fails its expert's own check
    ├── OverflowedError       an answer in which an adapter's numbers overflow
    ├── ServerError           a running server that cannot be reached, or refuses what it is asked
    │   └── UnreachableError  nobody listens there
    ├── EngineError           the serving engine cannot start or died
    │   └── BusyError         it has no room for a request now, and may have later
    └── TrainingError         training or evaluation cannot go on
        ├── DatasetError      a data set that is broken, with line numbers
        └── UnfinishedError   a measurement that was stopped before its end

Each carries a tuple of :class:`Problem`, since one look at an input should report all
that is wrong with it. The text of an exception is for people; code looks at types.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (file, JSON path, member), what, and what to do."""

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.remedy})" if self.remedy else text


class HiveError(Exception):
    """Root of the tree. ``exit_code`` is what a command line returns for it."""

    exit_code = 1

    def __init__(self, *problems: Problem | str) -> None:
        self.problems: tuple[Problem, ...] = tuple(
            p if isinstance(p, Problem) else Problem("", p) for p in problems
        )
        super().__init__("\n".join(str(p) for p in self.problems))


class UsageError(HiveError):
    """Wrong command line or wrong use of the Python API."""

    exit_code = 2


class ManifestError(HiveError):
    """A manifest that is malformed, lies, or asks for what cannot be honoured."""


class PackageError(HiveError):
    """A package that is not accepted."""


class ArchiveError(PackageError):
    """The container breaks the format: names, sizes, member kinds, undeclared members."""


class IntegrityError(PackageError):
    """A member's bytes differ from what the manifest or the signature states."""


class SignatureError(PackageError):
    """No signature, or one that does not verify."""


class TensorError(PackageError):
    """A weight file that breaks the strict safetensors rules."""


class KeyFileError(HiveError):
    """A key file that cannot be read, written or unlocked."""


class TrustError(HiveError):
    """A sound package that the trust policy refuses."""


class BaseModelError(HiveError):
    """A base model that is missing, unreadable or not the pinned one."""


class AdapterError(HiveError):
    """An adapter that does not fit its base model."""


class DecodingError(HiveError):
    """A decoding contract that cannot be honoured."""


class GrammarError(DecodingError):
    """A grammar that does not parse or compile."""


class UnfitError(HiveError):
    """A package that is sound and trusted, of an expert that this server cannot serve."""

    def __init__(self, name: str, *problems: Problem | str) -> None:
        super().__init__(*problems)
        self.name = name


class CatalogError(HiveError):
    """An expert that cannot be resolved."""


class NotYetError(CatalogError):
    """An expert that cannot be had just now, for no fault of its own or of the request's."""


class UnknownExpertError(CatalogError):
    """No expert of that name; the problem's remedy lists the nearest ones."""


class CompositionError(CatalogError):
    """Experts that do not go together in one request, or a request that misspells them."""


class SharingError(HiveError):
    """An expert cannot be had from where it is shared."""


class SourceError(SharingError):
    """A URL, path or name that is not allowed as a source of packages."""


class RepositoryError(SharingError):
    """A git repository that cannot be fetched, or holds what is refused."""


class IndexRefusedError(SharingError):
    """An index whose metadata cannot be had, does not verify, is expired or goes back."""


class InstallError(SharingError):
    """Packages that do not fit the base, or do not go together with what is installed."""


class ConflictError(HiveError):
    """An operation that the present state does not allow, such as unloading what is pinned."""


class RoutingError(HiveError):
    """The router's index, policy or embeddings cannot be built or read."""


class RequestError(HiveError):
    """A request asks for what its model does not offer."""


class AgentError(HiveError):
    """An agent asks for an expert that its operator does not allow it."""


class BudgetError(AgentError):
    """An agent has used up the tokens that it may use for now: until ``again_s`` seconds later."""

    def __init__(self, *problems: Problem | str, again_s: int) -> None:
        super().__init__(*problems)
        self.again_s = again_s


class JobError(HiveError):
    """A file or batch that breaks a rule, or cannot do what is asked in its present state."""


class PipelineError(JobError):
    """A pipeline is malformed or cannot be followed, or a document lacks what it asks for."""


class UnknownJobError(JobError):
    """No such file or batch, or another agent's, which is the same to whoever asks."""


class NoJobsError(JobError):
    """This server keeps no files and batches, or another one keeps them."""


class InvalidAnswerError(HiveError):
    """What a model answered fails the check that its expert's manifest asks for."""


class OverflowedError(HiveError):
    """With this adapter and prompt the model computes what is no number; there is no answer."""


class ServerError(HiveError):
    """A running server cannot be reached, or refuses what it is asked."""


class UnreachableError(ServerError):
    """Nobody listens at a server's address."""


class EngineError(HiveError):
    """The serving engine cannot start or died."""


class BusyError(EngineError):
    """There is no room for a request now; there may be when it is asked again."""


class TrainingError(HiveError):
    """Training or evaluation cannot go on."""


class DatasetError(TrainingError):
    """A data set that is broken, with file and line numbers."""


class UnfinishedError(TrainingError):
    """A measurement was stopped before its end: its time is up, or the server fell away."""
