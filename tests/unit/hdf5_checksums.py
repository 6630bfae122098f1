"""Put right the checksums of an HDF5 file, as a stranger can: else no damage to its structure gets past them."""

from itertools import pairwise

#: Begin of the blocks that carry a checksum at their end (HDF5 File Format Specification, version 3.0, III and IV).
SIGNATURES = (b"\x89HDF\r\n\x1a\n", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTLF", b"BTIN")
SIGNATURES += (b"FAHD", b"FADB", b"EAHD", b"EAIB", b"EASB", b"EADB", b"FSHD", b"FSSE", b"SMTB", b"SMLI")

#: Bytes of the largest block that is looked for.
LARGEST_BLOCK = 4096


def find_blocks(content: bytes) -> list[tuple[int, int]]:
    """Start and end of the blocks of a whole file whose next four bytes are their checksum."""
    starts = sorted(
        place for signature in SIGNATURES for place in range(len(content)) if content.startswith(signature, place)
    )
    blocks = []
    for start, following in pairwise([*starts, len(content)]):
        for end in range(start + 8, min(following, start + LARGEST_BLOCK) - 3):
            if checksum(content[start:end]) == content[end : end + 4]:
                blocks.append((start, end))
                break
    return blocks


def put_right(content: bytes, blocks: list[tuple[int, int]]) -> bytes:
    """The content with the checksums of these blocks, as far as it reaches."""
    mended = bytearray(content)
    for start, end in blocks:
        if end + 4 <= len(mended):
            mended[end : end + 4] = checksum(bytes(mended[start:end]))
    return bytes(mended)


def checksum(block: bytes) -> bytes:
    """Bob Jenkins' hashlittle (lookup3.c, 2006, public domain), little-endian, as HDF5 stores it."""
    a = b = c = (0xDEADBEEF + len(block)) & 0xFFFFFFFF
    words = [int.from_bytes(block[i : i + 4], "little") for i in range(0, len(block), 4)]
    words += [0] * (-len(words) % 3)
    for i in range(0, len(words) - 3, 3):
        a, b, c = _mix((a + words[i]) & 0xFFFFFFFF, (b + words[i + 1]) & 0xFFFFFFFF, (c + words[i + 2]) & 0xFFFFFFFF)
    a, b, c = ((x + y) & 0xFFFFFFFF for x, y in zip((a, b, c), words[-3:], strict=True))
    for shift, (x, y) in zip((14, 11, 25, 16, 4, 14, 24), ("cb", "ac", "ba", "cb", "ac", "ba", "cb"), strict=True):
        values = {"a": a, "b": b, "c": c}
        values[x] = ((values[x] ^ values[y]) - _rotated(values[y], shift)) & 0xFFFFFFFF
        a, b, c = values["a"], values["b"], values["c"]
    return c.to_bytes(4, "little")


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for shift in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & 0xFFFFFFFF) ^ _rotated(c, shift)
        c = (c + b) & 0xFFFFFFFF
        a, b, c = b, c, a
    return a, b, c


def _rotated(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & 0xFFFFFFFF
