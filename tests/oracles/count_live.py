"""Counts events in the files of a local store while it compacts and merges: no count ever misses an acknowledged event.

Arguments: the folder of the files, the program `strandline` and the node's address, a file with the number of durable
events in its last line, a file whose existence ends the run. Two ways, in turn:

- a glob over *.parquet, where two listings in a row agree (a listing is no snapshot): every event, during a commit some twice
- the paths of `strandline files`: every event exactly once

A file may get another name while it is read: `x.parquet.tmp` before, `x.parquet.old` after.
"""
import glob
import os
import subprocess
import sys

import pyarrow.parquet as pq

folder, program, url, durable, stop = sys.argv[1:6]


def ids(path):
    stem = path.removesuffix(".old").removesuffix(".tmp")
    for name in (path, stem, stem + ".old", stem, stem + ".old"):
        try:
            return pq.read_table(name, columns=["stream_id", "seq"], partitioning=None).to_pylist()
        except FileNotFoundError:
            pass
    raise SystemExit(f"{path} is gone under every name")


def events(paths):
    return [(row["stream_id"], row["seq"]) for path in paths for row in ids(path)]


def at_least():
    with open(durable, encoding="utf-8") as file:
        return int(file.read().split("\n")[-2])


def listing():
    return sorted(glob.glob(folder + "/**/*.parquet", recursive=True))


def settled():
    before = listing()
    while (now := listing()) != before:
        before = now
    return now


globs = exact = doubled = 0
while not os.path.exists(stop):
    wanted = at_least()
    found = events(settled())
    if len(set(found)) < wanted:
        sys.exit(f"a glob finds {len(set(found))} events, {wanted} are durable")
    doubled += len(found) != len(set(found))
    globs += 1
    wanted = at_least()
    listed = subprocess.run([program, "files", "--format", "paths", "--url", url], capture_output=True, text=True, check=True)
    found = events(listed.stdout.split("\n")[:-1])
    if len(found) != len(set(found)) or len(found) < wanted:
        sys.exit(f"the listed files hold {len(found)} events, {len(set(found))} different ones, {wanted} are durable")
    exact += 1
print(f"{globs} globs ({doubled} met a commit) and {exact} listings missed nothing")
sys.exit(0 if globs and exact else "nothing was counted")
