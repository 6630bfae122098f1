"""Fuzz one reader in this process: python fuzz_reader.py NAME SECONDS FOLDER.

Atheris (libFuzzer) searches, guided by the branches that Nearsight, ASE and PyYAML take; Hypothesis turns its bytes
into files: whole ones that were cut, flipped, spliced or given absurd numbers. What is no NearsightError ends the
process, and so do a hang, more than a gigabyte of memory, a started program and a file opened outside of FOLDER.
FOLDER/counts.json holds the number of files tried, refused and taken.
"""

import json
import os
import random
import resource
import sys
import time
from pathlib import Path

import atheris
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

NAME, SECONDS, FOLDER = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]).resolve()
ROOT = Path(__file__).resolve().parents[2]
set_hypothesis_home_dir(FOLDER)
sys.path[:0] = [str(ROOT / "tests/unit"), str(ROOT / "tests/fuzz")]

with atheris.instrument_imports(include=["nearsight", "ase.io", "yaml"]):
    import readers

from nearsight.errors import NearsightError  # noqa: E402

#: Seconds after which one file counts as a hang, and bytes of memory beside what the process has when it starts.
HANG_SECONDS = 20
MEMORY_BYTES = 1 << 30

#: What a stranger would put into a file.
TOKENS = [
    b"1e999", b"-1e308", b"nan", b"inf", b"999999999999", b"-1", b"0", b"18446744073709551616", b"1" * 5000, b"\0",
    b"../../../../etc/passwd", b"/etc/passwd", b"/dev/zero", b"$(touch pwned)", b"!!python/object/apply:os.system [id]",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"&a [*a]", b"*a", b"<<: *a", b"[" * 500, b"{", b"}", b"\xff\xfe",
    b"cos\nsystem\n(S'touch pwned'\ntR.", b"\"", b"'", b"_JSON {\"a\": 1}", b"__import__('os').system('id')", b"\n",
    b"T", b"F", b"<PP_R ", b"<PP_HEADER ", b"=", b",", b" ",
]  # fmt: skip

counts = {"tried": 0, "refused": 0, "taken": 0}
reader = readers.READERS[NAME]
whole = reader.seeds(FOLDER)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """Name and content of a file: a whole one with up to six kinds of damage, or any bytes."""
    name = draw(st.sampled_from(sorted(whole)))
    if draw(st.integers(0, 15)) == 0:
        return name, draw(st.binary(max_size=300))
    content = bytearray(whole[name])
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(0, 64))
        match draw(st.integers(0, 8)):
            case 0:
                del content[place:]
            case 1:
                content[place : place + 1] = bytes(
                    b ^ (1 << draw(st.integers(0, 7))) for b in content[place : place + 1]
                )
            case 2:
                content[place : place + length] = draw(st.binary(max_size=16))
            case 3:
                content[place:place] = draw(st.sampled_from(TOKENS))
            case 4:
                content[place : place + length] = draw(st.sampled_from(TOKENS))
            case 5:
                content[place:place] = content[place : place + length] * draw(st.integers(1, 30))
            case 6:
                del content[place : place + length]
            case 7:  # a number for another one
                end = place
                while end < len(content) and content[end : end + 1] in b"0123456789.eE+-":
                    end += 1
                content[place:end] = draw(st.sampled_from(TOKENS))
            case 8:  # of binary files
                width = draw(st.sampled_from([1, 2, 4, 8]))
                value = draw(st.integers(0, 2 ** (8 * width) - 1) | st.sampled_from([0, 2 ** (8 * width) - 1]))
                content[place : place + width] = value.to_bytes(width, "little")
    return name, bytes(content)


def on_audit(event: str, arguments: tuple) -> None:
    """End the process where a reader starts a program, runs a pickle, or opens a file that is not its own."""
    if event in ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "pickle.find_class"):
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


@settings(
    database=None,
    deadline=None,
    max_examples=50,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(damaged())
def attack(case: tuple[str, bytes]) -> None:
    name, content = case
    path = FOLDER / "input" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    counts["tried"] += 1
    try:
        reader.read(path)
    except NearsightError as error:
        counts["refused"] += 1
        assert str(error), "an error without a message"
    else:
        counts["taken"] += 1
    if counts["tried"] % 200 == 0:
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
    attack()
    corpus = FOLDER / "corpus"
    corpus.mkdir(exist_ok=True)
    generator = random.Random(NAME)
    for number in range(60):
        (corpus / f"seed-{number}").write_bytes(generator.randbytes(generator.choice([16, 64, 256, 1024])))
    options = [f"-max_total_time={SECONDS}", f"-timeout={HANG_SECONDS}", "-rss_limit_mb=0", "-max_len=4096"]
    options += ["-len_control=0", "-print_final_stats=1", "-verbosity=1", f"-artifact_prefix={FOLDER}/found-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], attack.hypothesis.fuzz_one_input)
    atheris.Fuzz()


started = time.monotonic()
main()
