"""What users of Python take instead, doing the same work as the benches in Rust, when they ask for it.

Usage: peers.py DIRECTORY. Each line of the standard input is `WORK CALLS`; the answer is one line, the seconds that so many
calls took. The directory is for what is stored. `requirements.txt` has the versions.
"""

import gc
import os
import shutil
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache

import blosc2
import diskcache
import joblib
import numpy
import pyarrow
import pyarrow.parquet

STATIONS = 2_000
BLOBS = 16
ENTRIES = 10_000


@dataclass
class Station:
    name: str
    country: str
    heights: list


def station(id):
    return Station(f"station {id}", "Switzerland", [float(id), id / 7.0, 0.5])


def clock():
    """Seconds of this thread, less those in which it could have run and another had the core: as the benches count."""
    now = time.perf_counter()
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as file:
            return now - int(file.read().split()[1]) / 1e9
    except OSError:
        return now


def timed(call, times):
    """Seconds that `call(0)`, `call(1)`, … take."""
    # The collector runs when it likes, and the lists it walks are ours, not the peer's.
    gc.disable()
    start = clock()
    for number in range(times):
        call(number)
    seconds = clock() - start
    gc.enable()
    return seconds


class Numbers:
    """Never the same number twice, from turn to turn."""

    def __init__(self):
        self.next = 1 << 32

    def above(self, times):
        start, self.next = self.next, self.next + times
        return start


class Peers:
    def __init__(self, directory):
        self.directory = directory
        self.numbers = Numbers()

    def path(self, name):
        return os.path.join(self.directory, name)

    # diskcache

    @cache
    def stations(self):
        cached = diskcache.Cache(self.path("stations"))
        for id in range(STATIONS):
            cached.set(id, station(id), expire=3600)
        return cached

    @cache
    def memoized(self):
        remembered = diskcache.Cache(self.path("memoized")).memoize(expire=3600)(station)
        for id in range(STATIONS):
            remembered(id)
        return remembered

    def diskcache_get(self, times):
        cached = self.stations()
        return timed(lambda call: cached[call * 7 % STATIONS], times)

    def diskcache_memoize_hit(self, times):
        remembered = self.memoized()
        return timed(lambda call: remembered(call * 7 % STATIONS), times)

    def diskcache_set(self, times):
        cached, above = self.stations(), self.numbers.above(times)
        return timed(lambda call: cached.set(above + call, station(above + call), expire=3600), times)

    def diskcache_memoize_miss(self, times):
        remembered, above = self.memoized(), self.numbers.above(times)
        return timed(lambda call: remembered(above + call), times)

    @cache
    def blobs(self):
        cached = diskcache.Cache(self.path("blobs"))
        for id in range(BLOBS):
            cached[id] = os.urandom(1 << 20)
        return cached

    def diskcache_get_bytes(self, times):
        cached = self.blobs()
        return timed(lambda call: cached[call % BLOBS], times)

    @cache
    def large(self):
        return diskcache.Cache(self.path("large"), size_limit=1 << 36)

    def diskcache_put(self, times, kind, count):
        numbers, large = array(kind, count), self.large()
        os.sync()
        return timed(lambda _: large.set(kind, numbers), times)

    def diskcache_get_numbers(self, times, kind, count):
        large = self.large()
        if kind not in large:
            large.set(kind, array(kind, count))
        return timed(lambda _: large[kind], times)

    def diskcache_threads(self, times, threads):
        """All threads together do `times` calls each, on keys of their own."""
        cached = self.stations()
        barrier = threading.Barrier(int(threads))
        seconds = []

        def work(first):
            # A connection belongs to a thread: it is opened before the clock starts.
            cached[first]
            barrier.wait()
            start = clock()
            for call in range(times):
                cached[(first + call) % STATIONS]
            seconds.append(clock() - start)

        workers = [threading.Thread(target=work, args=(one * STATIONS // int(threads),)) for one in range(int(threads))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return max(seconds)

    # diskcache with many entries

    @cache
    def many(self):
        cached = diskcache.Cache(self.path("many"), statistics=1)
        with cached.transact():
            for id in range(ENTRIES):
                cached.set(id, station(id), expire=3600)
        return cached

    def diskcache_list(self, times):
        many = self.many()
        return timed(lambda _: list(many), times)

    def diskcache_statistics(self, times):
        many = self.many()
        return timed(lambda _: (len(many), many.volume(), many.stats()), times)

    def diskcache_cleanup(self, times):
        many = self.many()
        return timed(lambda _: many.expire(), times)

    def diskcache_open(self, times):
        self.many()
        return timed(lambda _: len(diskcache.Cache(self.path("many"))), times)

    # joblib

    @cache
    def memory(self):
        return joblib.Memory(self.path("joblib"), verbose=0)

    @cache
    def joblib_station(self):
        remembered = self.memory().cache(station)
        for id in range(STATIONS):
            remembered(id)
        return remembered

    def joblib_hit(self, times):
        remembered = self.joblib_station()
        return timed(lambda call: remembered(call * 7 % STATIONS), times)

    def joblib_miss(self, times):
        remembered, above = self.joblib_station(), self.numbers.above(times)
        return timed(lambda call: remembered(above + call), times)

    @cache
    def joblib_blob(self):
        remembered = self.memory().cache(blob)
        for id in range(BLOBS):
            remembered(id)
        return remembered

    def joblib_get_bytes(self, times):
        remembered = self.joblib_blob()
        return timed(lambda call: remembered(call % BLOBS), times)

    def joblib_put(self, times, kind, count):
        numbers, path = array(kind, count), self.path(f"joblib.{kind}.{count}")
        os.sync()
        return timed(lambda _: joblib.dump(numbers, path), times)

    def joblib_hash(self, times, count):
        numbers = array("random", count)
        return timed(lambda _: joblib.hash(numbers), times)

    def joblib_get(self, times, kind, count):
        path = self.path(f"joblib.{kind}.{count}")
        if not os.path.exists(path):
            self.joblib_put(1, kind, count)
        return timed(lambda _: joblib.load(path), times)

    # blosc2, as the reference stores arrays: lz4 of shuffled bytes, in a file

    def blosc2_path(self, kind):
        return self.path(f"blosc2.{kind}")

    def blosc2_put(self, times, kind, count):
        numbers, path = array(kind, count), self.blosc2_path(kind)
        parameters = {"codec": blosc2.Codec.LZ4, "clevel": 5}

        def put(_):
            blosc2.save_array(numbers, path, mode="w", cparams=parameters)

        os.sync()
        return timed(put, times)

    def blosc2_get(self, times, kind, count):
        path = self.blosc2_path(kind)
        if not os.path.exists(path):
            self.blosc2_put(1, kind, count)
        return timed(lambda _: blosc2.load_array(path), times)

    def blosc2_share(self, _times, kind, count):
        """No time: the part of the array's size that the file takes."""
        return os.path.getsize(self.blosc2_path(kind)) / (8 * int(count))


    # Tables: as Parquet by pyarrow in diskcache, and by joblib

    def parquet_put(self, times, count):
        table, large = frame(count), self.large()

        def put(_):
            sink = pyarrow.BufferOutputStream()
            pyarrow.parquet.write_table(table, sink, compression="lz4")
            large.set("table", sink.getvalue().to_pybytes())

        os.sync()
        return timed(put, times)

    def parquet_get(self, times, count):
        large = self.large()
        if "table" not in large:
            self.parquet_put(1, count)
        return timed(lambda _: pyarrow.parquet.read_table(pyarrow.BufferReader(large["table"])), times)

    def joblib_put_table(self, times, count):
        table, path = frame(count).to_pandas(), self.path("joblib.table")
        os.sync()
        return timed(lambda _: joblib.dump(table, path), times)

    def joblib_get_table(self, times, count):
        path = self.path("joblib.table")
        if not os.path.exists(path):
            self.joblib_put_table(1, count)
        return timed(lambda _: joblib.load(path), times)


def blob(id):
    return os.urandom(1 << 20)


@cache
def frame(count):
    count = int(count)
    rows = numpy.arange(count)
    return pyarrow.table(
        {
            "id": rows,
            "value": numpy.random.default_rng(7).random(count),
            "station": [f"station {row % 5000}" for row in range(count)],
            "note": [f"row {row} of many" for row in range(count)],
        }
    )


@cache
def array(kind, count):
    count = int(count)
    if kind == "random":
        return numpy.random.default_rng(7).random(count)
    if kind == "steps":
        return (numpy.arange(count) // 1000) * 0.37
    if kind == "ramp":
        return numpy.arange(count, dtype=float)
    if kind == "walk":
        return numpy.cumsum(numpy.random.default_rng(13).integers(0, 50, count) == 0) / 8.0
    raise ValueError(f"unknown numbers: {kind}")


def main():
    directory = sys.argv[1]
    os.makedirs(directory, exist_ok=True)
    peers = Peers(directory)
    for order in sys.stdin:
        work, calls = order.split()
        if work == "quit":
            break
        peer, doing, *details = work.split(".")
        print(getattr(peers, f"{peer}_{doing}")(int(calls), *details), flush=True)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
