#!/usr/bin/env bash
# Starts PostgreSQL and a server that speaks the protocol of S3 in a directory of their own, and two processes of the example
# `shared_cache` that share a cache by them. Needs the programs of PostgreSQL and `moto_server`
# (pip install 'moto[s3]' flask flask-cors); says SKIPPED where one is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=$(compgen -G '/usr/lib/postgresql/*/bin' | tail -n 1 || true)
PATH=$PATH:$bin
for program in initdb postgres moto_server; do
    if ! command -v "$program" >/dev/null; then
        echo "SKIPPED: $program is not installed"
        exit 0
    fi
done

# With the features of the whole workspace, so that what its tests have compiled is used.
cargo build --quiet --workspace --features cacheness-examples/shared --example shared_cache
example=$(realpath "${CARGO_TARGET_DIR:-target}")/debug/examples/shared_cache

scratch=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$scratch"' EXIT
# PostgreSQL refuses to run as root.
as=()
if [ "$(id -u)" = 0 ]; then
    chown nobody "$scratch"
    as=(setpriv --reuid=nobody --clear-groups)
fi
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "it does not answer: $*" >&2; exit 1; }

"${as[@]}" "$(command -v initdb)" -D "$scratch/data" -A trust -U cacheness -E UTF8 --locale=C --no-sync >/dev/null
"${as[@]}" "$(command -v postgres)" -D "$scratch/data" -k "$scratch" -c listen_addresses='' -F 2>"$scratch/log" &
port=$(free_port)
moto_server -H 127.0.0.1 -p "$port" 2>/dev/null >&2 &
wait_for test -S "$scratch/.s.PGSQL.5432"
wait_for python3 -c "import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:$port/results', method='PUT'))"

cat >"$scratch/cache.toml" <<TOML
[metadata]
backend = "postgresql"
connection_url = "host=$scratch user=cacheness dbname=postgres"
options = { deadline_ms = 2000 }

[blob]
backend = "s3"
options = { bucket = "results", endpoint = "http://127.0.0.1:$port", allow_http = true, region = "us-east-1", access_key_id = "example", secret_access_key = "example" }
TOML

for machine in one two; do
    echo "machine $machine:"
    CACHENESS_CONFIG=$scratch/cache.toml CACHENESS_DIR=$scratch/$machine "$example"
done
