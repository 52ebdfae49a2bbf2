"""Regular expressions for texts in an answer, in place of the compiler's own rules. SPEC section 7.

A pattern's texts have no quotes, backslashes or control characters: the compiler (xgrammar) writes
no escapes within one.
"""

from __future__ import annotations

NO_CONTROL = "[^\\u0000-\\u001f]"
PIECE = 64
"""Characters that are counted at once. The compiler refuses counts above 128, and takes a state for
each character, so longer texts are counted in pieces."""

_DAY = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_LEAP = "([1-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)-02-29"
_DATE = f"([1-9][0-9]{{3}}-{_DAY}|{_LEAP})"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?"
_ZONE = "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_N = "[0-9]{1,9}"
_DAYS = f"({_N}Y({_N}M({_N}D)?)?|{_N}M({_N}D)?|{_N}D)"
_HOURS = f"T({_N}H({_N}M({_N}S)?)?|{_N}M({_N}S)?|{_N}S)"
FORMATS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}{_ZONE}$",
    "date-time": f"^{_DATE}T{_TIME}{_ZONE}$",
    "duration": f"^P({_DAYS}({_HOURS})?|{_HOURS}|{_N}W)$",
    "ipv4": f"^({_BYTE}\\.){{3}}{_BYTE}$",
}
"""Years have four digits and no leading zero, fractions of a second up to nine, numbers of a
duration as many."""

_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_HOST = "[A-Za-z0-9]([.-]?[A-Za-z0-9]){0,31}"
NAMES = {
    "email": f"^{_ATOM}(\\.?{_ATOM}){{0,31}}@{_HOST}$",
    "hostname": f"^{_HOST}$",
}
"""At most 32 characters beside dots, and a host's hyphens: within RFC 5321 and RFC 1035."""


def text_of(low: int, high: int | None) -> str:
    """A pattern for any text of ``low`` to ``high`` characters; None: as many as it likes."""
    if high is None:
        return f"^{_exactly(low)}{NO_CONTROL}*$"
    return f"^{_exactly(low)}{_up_to(high - low)}$"


def _exactly(count: int) -> str:
    whole, rest = divmod(count, PIECE)
    return _pieces(whole, whole) + (f"{NO_CONTROL}{{{rest}}}" if rest else "")


def _up_to(count: int) -> str:
    whole, rest = divmod(count, PIECE)
    if not whole:
        return f"{NO_CONTROL}{{0,{rest}}}" if rest else ""
    return f"{_pieces(0, whole - 1)}{NO_CONTROL}{{0,{PIECE + rest}}}"


def _pieces(low: int, high: int) -> str:
    return f"({NO_CONTROL}{{{PIECE}}}){{{low},{high}}}" if high else ""
