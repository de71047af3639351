"""Read the rows of a damaged SQLite file page by page, without its B-trees and its schema.

Only the leaves of tables hold rows. A row may be outdated or damaged: the caller has to check it.

Source: SQLite, "Database File Format", sections 1.3 to 2.1.
"""

import struct
from collections.abc import Iterator

Value = int | float | bytes | None
LEAF, OTHERS = 0x0D, (0x02, 0x05, 0x0A)
"""First byte of a page: a leaf of a table; inner pages and leaves of indexes."""
DEFAULT_SIZE, FILE_HEADER = 4096, 100
"""Bytes of a page by default, and of the header of the file."""
INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
"""Bytes of an integer by its serial type."""


def read_rows(data: bytes) -> Iterator[tuple[int, list[Value]]]:
    """Rowid and values of every row in every leaf, texts as bytes; malformed rows are left out."""
    size = _page_size(data)
    for start in range(0, len(data), size):
        page = data[start : start + size]
        header = FILE_HEADER if start == 0 else 0
        if len(page) < size or page[header] in OTHERS:
            continue
        count = struct.unpack_from(">H", page, header + 3)[0]
        for at in range(min(count, (size - header - 8) // 2)):
            place = struct.unpack_from(">H", page, header + 8 + 2 * at)[0]
            try:
                yield _row(data, size, start + place, start + size)
            except (IndexError, struct.error, ValueError):
                continue


def _page_size(data: bytes) -> int:
    size: int = struct.unpack_from(">H", data, 16)[0] if len(data) >= FILE_HEADER else 0
    size = 65536 if size == 1 else size
    return size if size >= 512 and size & (size - 1) == 0 and len(data) % size == 0 else DEFAULT_SIZE


def _row(data: bytes, size: int, place: int, end: int) -> tuple[int, list[Value]]:
    length, place = _varint(data, place)
    rowid, place = _varint(data, place)
    payload = _payload(data, size, length, place, end)
    header, at = _varint(payload, 0)
    values, body = list[Value](), header
    while at < header:
        kind, at = _varint(payload, at)
        value, body = _value(payload, kind, body)
        values.append(value)
    if body != length:
        raise ValueError("the row's length is not that of its values")
    return rowid, values


def _payload(data: bytes, size: int, length: int, place: int, end: int) -> bytes:
    """The bytes of a row, from its leaf and its overflow pages. Pages have no reserved bytes."""
    if length > len(data):
        raise ValueError("longer than the file")
    if length <= size - 35:
        return _cut(data, place, length, end)
    least = (size - 12) * 32 // 255 - 23
    local = least + (length - least) % (size - 4)
    local = local if local <= size - 35 else least
    payload, place = _cut(data, place, local, end), place + local
    following = struct.unpack_from(">I", data, place)[0]
    while len(payload) < length:
        start = (following - 1) * size
        if following == 0 or start + size > len(data):
            raise ValueError("its overflow leads nowhere")
        payload += data[start + 4 : start + min(size, 4 + length - len(payload))]
        following = struct.unpack_from(">I", data, start)[0]
    return payload


def _cut(data: bytes, place: int, length: int, end: int) -> bytes:
    if place + length > end:
        raise ValueError("out of its page")
    return data[place : place + length]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for n in range(9):
        byte = data[at + n]
        if n == 8:
            value = value << 8 | byte
        else:
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, at + n + 1
    return value - (1 << 64) if value >> 63 else value, at + 9


def _value(data: bytes, kind: int, at: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in INTEGERS:
        length = INTEGERS[kind]
        return int.from_bytes(_cut(data, at, length, len(data)), "big", signed=True), at + length
    if kind == 7:
        return float(struct.unpack_from(">d", data, at)[0]), at + 8
    if kind in (8, 9):
        return kind - 8, at
    if kind < 12:
        raise ValueError("reserved")
    length = (kind - 12) // 2
    return _cut(data, at, length, len(data)), at + length
