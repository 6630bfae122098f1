"""Fuzz one reader in this process: python fuzz_reader.py NAME AMOUNT SEED FOLDER.

Whole files are cut, flipped, spliced and given absurd numbers: for a quarter of AMOUNT ("600 seconds" or "4000 files")
as Hypothesis chooses, which shows the smallest failing file, then as Atheris (libFuzzer) does, guided by the branches
that Nearsight and ASE take. What is no NearsightError ends the process, and so do a hang, more than a gigabyte of
memory, a started program and a file opened outside of FOLDER. FOLDER/counts.json holds the number of files tried,
refused and taken. The same SEED tries the same files in the same order.
"""

import itertools
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import atheris
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

NAME, SEED, FOLDER = sys.argv[1], int(sys.argv[3]), Path(sys.argv[4]).resolve()
AMOUNT, UNIT = int(sys.argv[2].split()[0]), sys.argv[2].split()[1]
ROOT = Path(__file__).resolve().parents[2]
set_hypothesis_home_dir(FOLDER)
# plain source files alone: Atheris says that it instruments what the finder of an editable install loads, and does not
sys.meta_path[:] = [finder for finder in sys.meta_path if "ScikitBuild" not in type(finder).__name__]
sys.path[:0] = [str(ROOT / folder) for folder in ("workflow", "tests/unit", "tests/fuzz")]

with atheris.instrument_imports(include=["nearsight", "ase"]):
    import readers

from nearsight.errors import NearsightError  # noqa: E402

#: Seconds after which one file counts as a hang (where files are counted, the machine may be busy), and bytes of memory
#: beside what the process has when it starts.
HANG_SECONDS = 20 if UNIT == "seconds" else 300
MEMORY_BYTES = 1 << 30

#: What a stranger would put into a file.
TOKENS = [
    b"1e999", b"-1e308", b"nan", b"inf", b"999999999999", b"-1", b"0", b"18446744073709551616", b"1" * 5000, b"\0",
    b"../../../../etc/passwd", b"/etc/passwd", b"/dev/zero", b"$(touch pwned)", b"!!python/object/apply:os.system [id]",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"&a [*a]", b"*a", b"<<: *a", b"[" * 150, b"{", b"}", b"\xff\xfe",
    b"cos\nsystem\n(S'touch pwned'\ntR.", b"\"", b"'", b"_JSON {\"a\": 1}", b"__import__('os').system('id')", b"\n",
    b"T", b"F", b"<PP_R ", b"<PP_HEADER ", b"=", b",", b" ",
]  # fmt: skip

counts = {"tried": 0, "refused": 0, "taken": 0}
reader = readers.READERS[NAME]
whole = reader.seeds(FOLDER)


def damage(content: bytearray, number: Callable[[int], int], some: Callable[[int], bytes]) -> None:
    """One kind of damage. number(n): a whole number from 0 to n; some(n): up to n bytes; of either library."""
    place, kind, length = number(max(len(content) - 1, 0)), number(9), number(64)
    token = TOKENS[number(len(TOKENS) - 1)]
    if kind == 0:
        del content[place:]
    elif kind <= 2:
        content[place : place + 1] = bytes(byte ^ (1 << number(7)) for byte in content[place : place + 1])
    elif kind == 3:
        content[place : place + length] = some(16)
    elif kind == 4:
        content[place:place] = token
    elif kind == 5:
        content[place : place + length] = token
    elif kind == 6:
        content[place:place] = content[place : place + length] * number(30)
    elif kind == 7:
        del content[place : place + length]
    elif kind == 8:  # a number of a text
        end = place
        while content[end : end + 1] and content[end : end + 1] in b"0123456789.eE+-":
            end += 1
        content[place:end] = token
    else:  # a number of a binary file
        width = 1 << number(3)
        value = number(2 ** (8 * width) - 1) if number(1) else 2 ** (8 * width) - 1 - number(1)
        content[place : place + width] = value.to_bytes(width, "little")


def damaged(number: Callable[[int], int], some: Callable[[int], bytes]) -> tuple[str, bytes]:
    """Name and content of a file: a whole one with some kinds of damage, or any bytes."""
    name = sorted(whole)[number(len(whole) - 1)]
    if number(15) == 15:
        return name, some(300)
    content = bytearray(whole[name])
    for _ in range(1 + number(4)):
        damage(content, number, some)
    if reader.put_right and number(1):
        content = reader.put_right(whole[name], bytes(content))
    return name, bytes(content)


@st.composite
def drawn(draw: st.DrawFn) -> tuple[str, bytes]:
    """The same by Hypothesis."""
    return damaged(lambda most: draw(st.integers(0, most)), lambda most: draw(st.binary(max_size=most)))


def from_bytes(data: bytes) -> tuple[str, bytes]:
    """The same by the bytes of Atheris."""
    provider = atheris.FuzzedDataProvider(data)
    return damaged(
        lambda most: provider.ConsumeIntInRange(0, most),
        lambda most: provider.ConsumeBytes(provider.ConsumeIntInRange(0, most)),
    )


def on_audit(event: str, arguments: tuple) -> None:
    """End the process where a reader starts a program, runs a pickle, or opens a file that is not its own."""
    ours = event == "os.fork" and sys._getframe(1).f_code is readers.look_in_a_fork.__code__
    programs = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "pickle.find_class")
    if event in programs and not ours:
        leave(f"{event} {arguments}")
    if event == "socket.connect" or (event == "open" and isinstance(arguments[0], str) and not mine(arguments)):
        leave(f"{event} {arguments}")


def mine(arguments: tuple) -> bool:
    path, flags = os.path.abspath(arguments[0]), arguments[2]
    writing = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if path.startswith(str(FOLDER)):
        return True
    # Python's own lazily imported modules and the like
    return not writing and path.startswith((sys.prefix, sys.base_prefix, str(ROOT), "/usr/", "/proc/", "/sys/"))


def leave(reason: str) -> None:
    print(f"FORBIDDEN: {reason}", file=sys.stderr, flush=True)
    os._exit(86)


def write_counts() -> None:
    temporary = FOLDER / "counts.part"
    temporary.write_text(json.dumps({**counts, "seconds": round(time.monotonic() - started, 1)}))
    temporary.replace(FOLDER / "counts.json")


@atheris.instrument_func
def attack(case: tuple[str, bytes]) -> None:
    """Let the reader have one file."""
    name, content = case
    path = FOLDER / "input" / name
    path.write_bytes(content)
    counts["tried"] += 1
    try:
        reader.read(path)
    except NearsightError as error:
        counts["refused"] += 1
        assert str(error), "an error without a message"
    else:
        counts["taken"] += 1
    if counts["tried"] % 100 == 0:
        write_counts()


def main() -> None:
    """Check that whole files are taken; then Hypothesis alone, then with libFuzzer until the time is over."""
    (FOLDER / "input").mkdir(exist_ok=True)
    for name, content in whole.items():
        path = FOLDER / "input" / name
        path.write_bytes(content)
        try:
            reader.read(path)
        except NearsightError as error:
            # pw.x's text says at its end that it did not converge
            assert "did not converge" in str(error), error
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    sys.addaudithook(on_audit)
    search = settings(database=None, deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
    for number in itertools.count(SEED):
        if (time.monotonic() - started if UNIT == "seconds" else counts["tried"]) > AMOUNT / 4:
            break
        seed(number)(search(given(drawn())(attack)))()
    write_counts()
    corpus = FOLDER / "corpus"
    corpus.mkdir(exist_ok=True)
    generator = random.Random(f"{NAME} {SEED}")
    for number in range(60):
        (corpus / f"seed-{number}").write_bytes(generator.randbytes(generator.choice([16, 64, 256, 1024])))
    options = [
        f"-{'max_total_time' if UNIT == 'seconds' else 'runs'}={AMOUNT - AMOUNT // 4}",
        f"-timeout={HANG_SECONDS}",
        f"-seed={SEED}",
        "-rss_limit_mb=0",
        "-max_len=4096",
    ]
    options += ["-len_control=0", "-print_final_stats=1", "-verbosity=1", f"-artifact_prefix={FOLDER}/found-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: attack(from_bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    started = time.monotonic()
    main()
