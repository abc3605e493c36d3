"""Fails if a crate that users compile needs a newer Rust than the published crates promise.

Usage: rust_version.py METADATA, the output of `cargo metadata --format-version 1`.
"""

import json
import sys


def release(text):
    """`1.89` and `1.89.0` as one comparable value."""
    numbers = [int(part) for part in text.split("-")[0].split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def dependencies_of(metadata, roots):
    """Ids of everything that the roots are built from, themselves included; what only their tests use is left out."""
    edges = {
        node["id"]: [
            dependency["pkg"]
            for dependency in node["deps"]
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])
        ]
        for node in metadata["resolve"]["nodes"]
    }
    found, open_ends = set(), list(roots)
    while open_ends:
        package = open_ends.pop()
        if package not in found:
            found.add(package)
            open_ends.extend(edges[package])
    return found


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        metadata = json.load(file)
    packages = {package["id"]: package for package in metadata["packages"]}
    published = [id for id in metadata["workspace_members"] if packages[id]["publish"] != []]
    undeclared = [packages[id]["name"] for id in published if not packages[id]["rust_version"]]
    if undeclared:
        sys.exit(f"no rust-version in {', '.join(undeclared)}")
    promised = min(release(packages[id]["rust_version"]) for id in published)
    dependencies = [packages[id] for id in dependencies_of(metadata, published)]
    newer = [
        f"{package['name']} {package['version']} needs Rust {package['rust_version']}"
        for package in dependencies
        if package["rust_version"] and release(package["rust_version"]) > promised
    ]
    if newer:
        sys.exit("newer than the promised rust-version:\n  " + "\n  ".join(sorted(newer)))
    print(f"{len(dependencies)} crates need no more than Rust {'.'.join(map(str, promised))}")


if __name__ == "__main__":
    main()
