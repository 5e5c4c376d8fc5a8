#!/usr/bin/env python3
"""Takes whole streams out of NDJSON on stdin: those whose CRC-32 of the stream id leaves 7 modulo 100.

zstd -dc flights-2013.ndjson.zst | samples/extract.py | zstd -19 -o samples/flights-sample.ndjson.zst
"""
import json
import sys
import zlib

for line in sys.stdin.buffer:
    if zlib.crc32(json.loads(line)["stream_id"].encode()) % 100 == 7:
        sys.stdout.buffer.write(line)
