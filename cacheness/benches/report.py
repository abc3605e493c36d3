"""Writes the generated parts of docs/benchmarks.md, and its plots, from the results of the benches.

Usage: report.py RESULTS DOCS, both directories. A part whose bench has no results stays as it is.
"""

import datetime
import json
import os
import re
import subprocess
import sys

import plot

BENCHES = {
    "memory": "Hits in memory",
    "disk": "Hits from the disk, the tier in memory off, and misses",
    "threads": "Two threads",
    "large": "Large values",
    "formats": "Arrays and tables in their own formats",
    "upkeep": "Upkeep of 10,000 entries",
    "files": "Values in files, and files as arguments",
    "heartbeat": "Async: the longest pause of another task",
}

SHARED = {
    "neighbours": "Several processes on one directory",
    "redis": "Rows on a Redis server, on loopback",
    "postgresql": "Rows on a PostgreSQL server, on loopback",
    "local": "A local tier before Redis",
    "objects": "A bucket of an S3 server, on loopback",
}


def read(results, bench):
    path = os.path.join(results, f"{bench}.jsonl")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def measured_when(results, benches):
    """The sentence about machine and time, from the files themselves."""
    written = [os.path.getmtime(os.path.join(results, f"{bench}.jsonl")) for bench in benches]
    day = datetime.date.fromtimestamp(max(written)).isoformat()
    loads = [float(line["load"]) for bench in benches for line in read(results, bench) if "load" in line]
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    machine = f"{os.cpu_count()}-core {os.uname().sysname} machine"
    return (
        f"Measured on {day} on a {machine}, rustc {rustc}, load {min(loads):.1f} to {max(loads):.1f}, "
        "of which the benches are 1 to 2."
    )


def ratio(line):
    if line["ratio"] is None:
        return "-"
    return f"{line['ratio']:.2f}" if line["ratio"] >= 0.095 else f"{line['ratio']:.3f}"


def verdict(line):
    return {True: "met", False: "**missed**", None: ""}[line["met"]]


def table(lines):
    rows = ["| work | cacheness | beside it | | ratio | bar | |", "|---|--:|---|--:|--:|---|---|"]
    before = None
    for line in lines:
        # What was said in the line above need not be said again.
        what, ours = ("", "") if line["work"] == before else (line["work"], line["ours_shown"])
        before = line["work"]
        theirs = line["theirs_shown"] or "not measured"
        bar = (line["bar"] or "").replace("<=", "≤").replace(">=", "≥")
        what = what.replace("#[cached]", "`#[cached]`")
        rows.append(f"| {what} | {ours} | {line['peer']} | {theirs} | {ratio(line)} | {bar} | {verdict(line)} |")
    return rows


def peers(results, benches, before):
    """A section for each bench: made anew where there are results, else as it was."""
    if not any(section(results, bench) for bench in benches):
        return None
    kept = sections(before)
    text = []
    for bench, title in benches.items():
        made = section(results, bench) or kept.get(title)
        text += ["", f"### {title}", "", *made] if made else []
    met, missed = (sum(line.rstrip().endswith(f"| {word} |") for line in text) for word in ["met", "**missed**"])
    return [f"{met} of {met + missed} bars are met.", *text]


def section(results, bench):
    lines = read(results, bench)
    found = [line for line in lines if "work" in line]
    return [measured_when(results, [bench]), "", *table(found), *verdicts(lines)] if found else None


def sections(page):
    """The sections of a part of the page, by their titles."""
    found = {}
    for piece in page.split("\n### ")[1:]:
        title, _, text = piece.partition("\n")
        found[title] = text.strip("\n").split("\n")
    return found


def verdicts(lines):
    """A table of what is not measured beside a peer, but against a bar of its own."""
    found = [line for line in lines if "verdict" in line]
    if not found:
        return []
    rows = [f"| {line['verdict']} | {line['says']} | {line['bar']} | {verdict(line)} |" for line in found]
    return ["", "| bar | | | |", "|---|---|---|---|", *rows]


def scale(results):
    lines = read(results, "scale")
    cells = [line for line in lines if "row" in line]
    if not cells:
        return None
    sizes = sorted({line["entries"] for line in cells})
    rows = list(dict.fromkeys(line["row"] for line in cells))
    shown = {(line["row"], line["entries"]): line["shown"] for line in cells}
    text = [measured_when(results, ["scale"]), ""]
    text.append("| entries | " + " | ".join(f"{size:,}" for size in sizes) + " |")
    text.append("|---|" + "--:|" * len(sizes))
    text += [f"| {row} | " + " | ".join(shown.get((row, size), "") for size in sizes) + " |" for row in rows]
    return text + verdicts(lines)


def power(units):
    """Names powers of ten by units that are a thousand apart, the first of them being one of 10^0."""

    def show(exponent):
        unit = min(max(exponent // 3, 0), len(units) - 1)
        return f"{10 ** (exponent - 3 * unit)} {units[unit]}".rstrip()

    return show


def plots(results, docs):
    lines = [line for line in read(results, "curves") if "plot" in line]
    if not lines:
        return None
    series = {"latency": {}, "throughput": {}}
    for line in lines:
        points = series[line["plot"]].setdefault(line["series"], [])
        # In nanoseconds, so that every unit is a whole power of a thousand.
        points.append((line["x"], line["y"] * 1e9 if line["plot"] == "latency" else line["y"]))
    count, time = power(["", "k", "M"]), power(["ns", "us", "ms", "s"])
    size, rate = power(["B", "kB", "MB", "GB"]), power(["B/s", "kB/s", "MB/s", "GB/s"])
    drawings = {
        "latency": ("Time of one call, small struct", "entries in the cache", count, time),
        "throughput": ("Bytes each second, random f64", "size of the value", size, rate),
    }
    text = [measured_when(results, ["curves"])]
    for name, (title, x_title, show_x, show_y) in drawings.items():
        drawing = plot.draw(title, x_title, series[name], show_x, show_y)
        with open(os.path.join(docs, f"benchmarks-{name}.svg"), "w", encoding="utf-8") as file:
            file.write(drawing)
        text += ["", f"![{title}, against the {x_title}](benchmarks-{name}.svg)"]
    return text


def marks(part):
    return f"<!-- generated: {part} -->", f"<!-- end of {part} -->"


def between_marks(page, part):
    begin, end = marks(part)
    found = re.search(re.escape(begin) + "(.*?)" + re.escape(end), page, re.DOTALL)
    if not found:
        sys.exit(f"docs/benchmarks.md has no part `{part}` between `{begin}` and `{end}`")
    return found.group(1)


def put_between_marks(page, part, text):
    begin, end = marks(part)
    return page.replace(begin + between_marks(page, part) + end, "\n".join([begin, "", *text, "", end]))


def main():
    results, docs = sys.argv[1:]
    path = os.path.join(docs, "benchmarks.md")
    with open(path, encoding="utf-8") as file:
        page = file.read()
    parts = [
        ("peers", peers(results, BENCHES, between_marks(page, "peers"))),
        ("shared", peers(results, SHARED, between_marks(page, "shared"))),
        ("plots", plots(results, docs)),
        ("scale", scale(results)),
    ]
    for part, text in parts:
        if text is not None:
            page = put_between_marks(page, part, text)
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
