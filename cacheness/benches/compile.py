#!/usr/bin/env python3
"""What an attribute costs the compiler beside `cached` 4.1, and a cold build of either with its usual features.

Usage: cacheness/benches/compile.py

In turns, in a temporary directory: CPU time of `cargo check` of a crate of 200 functions with the attribute, less that of
the same crate without it, the median of nine rounds; and the time of two cold debug builds. Some five minutes. Needs the
network for what is not downloaded yet.
"""

import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FUNCTIONS = 200
ROUNDS = 9
COLD_ROUNDS = 2
OURS = f'cacheness = {{ path = "{HERE.parent}" }}'
THEIRS = 'cached = "4.1"'
THEIRS_IN_FULL = """cached = { version = "4.1", features = ["redb_store", "async"] }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }"""


def main():
    with tempfile.TemporaryDirectory() as scratch:
        check(Path(scratch))
        cold(Path(scratch))


def crate(root, name, dependencies, source):
    """Writes a crate and returns its directory."""
    (root / name / "src").mkdir(parents=True)
    package = f'[package]\nname = "{name}"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n[dependencies]\n'
    (root / name / "Cargo.toml").write_text(package + dependencies + "\n")
    (root / name / "src/lib.rs").write_text(source)
    subprocess.run(["cargo", "fetch", "--quiet"], cwd=root / name, check=True)
    return root / name


def functions(attribute):
    """The source of functions with an attribute, or without one."""
    one = '{}\npub fn f{}(a: u64, b: String) -> String {{ format!("{{a}}{{b}}") }}\n'
    return "".join(one.format(attribute, number) for number in range(FUNCTIONS))


def cargo(command, directory, target):
    """Runs cargo and returns the seconds and the CPU seconds that it took."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target), "CARGO_INCREMENTAL": "0"}
    subprocess.run(["cargo", command, "--quiet"], cwd=directory, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - start, cpu


def check(root):
    """Prints what `cargo check` takes for one function."""
    kinds = {
        "ours": crate(root, "ours", OURS, functions("#[cacheness::cached(ttl = 60)]")),
        "theirs": crate(root, "theirs", THEIRS, functions("#[cached::macros::cached(ttl_secs = 60)]")),
        "ours_plain": crate(root, "ours_plain", OURS, functions("")),
        "theirs_plain": crate(root, "theirs_plain", THEIRS, functions("")),
    }
    times = {name: [] for name in kinds}
    for round_number in range(ROUNDS + 1):
        for name, directory in kinds.items():
            with open(directory / "src/lib.rs", "a") as source:
                source.write("\n")
            _, cpu = cargo("check", directory, root / f"target-{name}")
            # The first round compiles the dependencies.
            if round_number > 0:
                times[name].append(cpu)
    median = {name: statistics.median(taken) for name, taken in times.items()}
    ours = (median["ours"] - median["ours_plain"]) / FUNCTIONS
    theirs = (median["theirs"] - median["theirs_plain"]) / FUNCTIONS
    print(f"cargo check, one function: {ours * 1e3:.2f} ms, cached 4.1 {theirs * 1e3:.2f} ms, ratio {ours / theirs:.2f}")


def cold(root):
    """Prints what cold builds take."""
    kinds = {"cacheness": crate(root, "cold", OURS, ""), "cached": crate(root, "cold_cached", THEIRS_IN_FULL, "")}
    times = {name: [] for name in kinds}
    for _ in range(COLD_ROUNDS):
        for name, directory in kinds.items():
            target = root / "target-cold"
            shutil.rmtree(target, ignore_errors=True)
            times[name].append(cargo("build", directory, target)[0])
    told = "; ".join(f"{name} " + ", ".join(f"{seconds:.1f} s" for seconds in taken) for name, taken in times.items())
    ratio = statistics.median(times["cacheness"]) / statistics.median(times["cached"])
    print(f"cold build: {told}; ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
