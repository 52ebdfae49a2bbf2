"""Enough of the curve of Ed25519 to forge with: its points, and those of small order. RFC 8032."""

from __future__ import annotations

from collections.abc import Iterator

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, PRIME) % PRIME
_ROOT_OF_MINUS_1 = pow(2, (PRIME - 1) // 4, PRIME)

Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    product = _D * x1 * x2 * y1 * y2 % PRIME
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, PRIME) % PRIME
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, PRIME) % PRIME
    return x, y


def times(scalar: int, point: Point) -> Point:
    result: Point = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def encode(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(raw: bytes) -> Point:
    """The point of an encoding; ValueError if there is none."""
    number = int.from_bytes(raw, "little")
    y, sign = number % 2**255, number >> 255
    square = (y * y - 1) * pow(_D * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * _ROOT_OF_MINUS_1 % PRIME
    if (x * x - square) % PRIME:
        raise ValueError("not on the curve")
    return (PRIME - x if x & 1 != sign else x), y


BASE = decode((4 * pow(5, -1, PRIME) % PRIME).to_bytes(32, "little"))


def _of_order_8() -> Point:
    """L times a point outside the prime-order subgroup is of small order; most are of order 8."""
    y = 2
    while True:
        y += 1
        try:
            point = times(ORDER, decode(y.to_bytes(32, "little")))
        except ValueError:
            continue
        if times(4, point) != (0, 1):
            return point


def small_order_points() -> Iterator[tuple[str, Point]]:
    """The eight points whose order divides 8, with a name each."""
    generator = _of_order_8()
    for factor in range(8):
        yield f"{factor}T", times(factor, generator)


def small_order_encodings() -> Iterator[tuple[str, bytes]]:
    """Every 32 bytes that some reader decodes to one of those points, canonical or not."""
    for name, point in small_order_points():
        yield name, encode(point)
        x, y = point
        if x == 0:
            yield f"{name} with a sign", (y | 1 << 255).to_bytes(32, "little")
        if y < 19:
            for sign in (0, 1):
                yield f"{name} + p, sign {sign}", (y + PRIME | sign << 255).to_bytes(32, "little")
