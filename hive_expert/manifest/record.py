"""What every part of a manifest has in common: the record and its scalar types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    Strict,
    Tag,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from hive_expert.manifest.versions import SEMANTIC_VERSION


def _on_the_calendar(text: str) -> str:
    try:
        datetime.strptime(text, _TIME_FORMAT)  # only whether there is such a time
    except ValueError as exc:
        raise PydanticCustomError("no_time", "there is no such day or hour") from exc
    return text


def _shortest(number: float) -> int | float:
    # Beyond 2^53 the digits would be more than the number says, and more than readers take.
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


_LINE = r"^[^\r\n]*$"
_SHA256 = r"^[0-9a-f]{64}$"
_EXPERT_NAME = r"^expert-[a-z0-9]+(-[a-z0-9]+)*$"
_RELATIVE_PATH = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?$"
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_TIMESTAMP = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"

PATTERNS_IN_WORDS = {
    _LINE: "a single line",
    _SHA256: "a SHA-256 in 64 lower-case hexadecimal digits",
    _EXPERT_NAME: "of the form expert-<slug>, with a-z, 0-9 and single hyphens",
    _RELATIVE_PATH: "a relative path of letters, digits and . _ - (no .. and no hidden files)",
    SEMANTIC_VERSION: "a semantic version like 0.1.0",
    _TIMESTAMP: "a UTC time like 2026-01-31T12:00:00Z",
}

# Strict scalars: "8" is not 8 and 1 is not true. A manifest says what it means.
Text = Annotated[str, Strict(), Field(max_length=65_536)]
Line = Annotated[str, Strict(), Field(min_length=1, max_length=512, pattern=_LINE)]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=0)]
Positive = Annotated[int, Strict(), Field(ge=1)]
Real = Annotated[float, Strict(), Field(allow_inf_nan=False), PlainSerializer(_shortest)]
Fraction = Annotated[Real, Field(ge=0, le=1)]
Sha256 = Annotated[str, Strict(), Field(pattern=_SHA256)]
Timestamp = Annotated[str, Strict(), Field(pattern=_TIMESTAMP), AfterValidator(_on_the_calendar)]
ExpertName = Annotated[str, Strict(), Field(pattern=_EXPERT_NAME, max_length=64)]
RelativePath = Annotated[str, Strict(), Field(pattern=_RELATIVE_PATH, max_length=200)]


def timestamp(moment: datetime) -> str:
    """A moment as it is written in manifests and trust files."""
    return moment.astimezone(UTC).strftime(_TIME_FORMAT)


# A union of a short and a long form is told apart by the JSON kind of the value. The tags appear
# in pydantic's error locations, so they look like no key of a document.
SHORT, LONG = Tag("<short>"), Tag("<long>")
NOT_IN_DOCUMENT = frozenset({SHORT.tag, LONG.tag, "[key]"})
BY_FORM = Discriminator(lambda v: (LONG if isinstance(v, Mapping | BaseModel) else SHORT).tag)


class _Null:
    """Stands for JSON's null while a record is validated: no field type accepts it."""

    def __repr__(self) -> str:
        return "null"


NULL = _Null()


class Contradiction(NamedTuple):
    """Two fields of one record that cannot both be meant; ``field`` is the one to mend."""

    field: str
    what: str
    remedy: str = ""


class Record(BaseModel):
    """A frozen part of a manifest.

    Laws, for every subclass:

    - an unknown key is an error; a key that begins with ``_`` is a comment, kept and ignored;
    - ``null`` is an error: a field is either left out or has a value, and
      ``model_fields_set`` tells which;
    - no instance holds a contradiction: what ``contradictions`` yields is raised by validation;
    - dumping an instance (unset fields omitted) and validating the result gives it back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    _comments: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def comments(self) -> Mapping[str, Any]:
        """The record's comment keys, underscore included."""
        return self._comments

    def contradictions(self) -> Iterable[Contradiction]:
        """What cannot hold together in this record; subclasses say."""
        return ()

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, data: Any, validate: ModelWrapValidatorHandler[Record]) -> Record:
        if not isinstance(data, Mapping):
            return validate(data)
        comments = {k: v for k, v in data.items() if k.startswith("_")}
        fields = {k: NULL if v is None else v for k, v in data.items() if k not in comments}
        record = validate(fields)
        record._comments = comments
        found = [
            InitErrorDetails(
                type=PydanticCustomError(
                    "contradiction", "{what}", {"what": c.what, "remedy": c.remedy}
                ),
                loc=(c.field,),
                input=fields.get(c.field),
            )
            for c in record.contradictions()
        ]
        # Fields are typed and so refuse it; an open record's other keys are not.
        found += [
            InitErrorDetails(type=PydanticCustomError("null", "null"), loc=(key,), input=NULL)
            for key, value in (record.model_extra or {}).items()
            if value is NULL
        ]
        if found:
            raise ValidationError.from_exception_data(cls.__name__, found)
        return record

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**self._comments, **dump(self)}


def record_in(annotation: Any) -> type[Record] | None:
    """The record class inside a field's type, through tuples, unions and annotations."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return annotation
    for part in get_args(annotation):
        if (found := record_in(part)) is not None:
            return found
    return None
