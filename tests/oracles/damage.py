"""Data files for planted damage. `regions FILE`: where its bloom filters stand. `rewrite FILE OUT KIND [OTHER]`: the file once more with
one row wrong, whole in itself: no checksum is wrong once the caller has put the blocks' checksums into the zeros that stand for them."""
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq

BLOCK = 65536
BLOCKS_KEY = "strandline.blocks.crc32c"
MICROS = {"occurred_at", "ingested_at"}


def regions(path):
    metadata = pq.ParquetFile(path).metadata
    found = []
    for group in range(metadata.num_row_groups):
        for n in range(metadata.num_columns):
            column = metadata.row_group(group).column(n)
            if column.bloom_filter_offset is not None:
                name = column.path_in_schema
                found.append({"group": group, "column": name, "start": column.bloom_filter_offset, "bytes": column.bloom_filter_length})
    return found


def key(row):
    return (row["stream_id"].encode(), row["seq"])


def planted(kind, rows, other):
    rows = [dict(row) for row in rows]
    middle = len(rows) // 2
    if kind == "missing":
        del rows[middle]
    elif kind == "doubled":
        rows.insert(middle, dict(rows[middle]))
    elif kind == "unsorted":
        rows[0], rows[-1] = rows[-1], rows[0]
    elif kind == "other-content":
        rows.append({**other[0], "occurred_at": rows[0]["occurred_at"], "data": '{"other":1}'})
        rows.sort(key=key)
    elif kind == "same-id":
        rows[0]["event_id"] = rows[-1]["event_id"]
    elif kind == "moved":
        rows[0]["occurred_at"] = rows[0]["occurred_at"] + 5 * 3_600_000_000
    return rows


def write(table, out, sorting, blocks):
    with pq.ParquetWriter(out, table.schema, compression="zstd", store_schema=False, sorting_columns=sorting) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"strandline.format": "1", BLOCKS_KEY: "0" * 8 * blocks})
    bytes_ = open(out, "rb").read()
    return len(bytes_) - 8 - int.from_bytes(bytes_[-8:-4], "little"), len(bytes_)


def load(path):
    table = pq.ParquetFile(path).read()
    plain = table.set_column(0, pa.field("event_id", pa.binary(16)), table.column(0).combine_chunks().storage)
    for name in MICROS:
        i = plain.schema.get_field_index(name)
        plain = plain.set_column(i, pa.field(name, pa.int64()), plain.column(i).cast(pa.int64()))
    return table.schema, plain.to_pylist()


def rewrite(path, out, kind, other=None):
    schema, rows = load(path)
    rows = planted(kind, rows, load(other)[1] if other else None)
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if isinstance(field.type, pa.BaseExtensionType):
            columns.append(pa.ExtensionArray.from_storage(field.type, pa.array(values, field.type.storage_type)))
        elif field.name in MICROS:
            columns.append(pa.array(values, pa.int64()).cast(field.type))
        else:
            columns.append(pa.array(values, field.type))
    # without our keys of the footer: what pyarrow writes is a file of version 1
    table = pa.Table.from_arrays(columns, schema=schema.remove_metadata())
    sorting = pq.ParquetFile(path).metadata.row_group(0).sorting_columns
    data, _ = write(table, out, sorting, 0)
    tail_start, length = write(table, out, sorting, -(-data // BLOCK))
    assert tail_start == data

    def bounds(name, form=lambda v: v):
        values = [row[name] for row in rows if row[name] is not None]
        order = (lambda v: v.encode()) if values and isinstance(values[0], str) else None
        return [form(min(values, key=order)), form(max(values, key=order))] if values else None

    names = ["stream_id", "seq", "event_type", "tenant_id", "occurred_at", "ingested_at"]
    return {
        "rows": len(rows),
        "row_groups": 1,
        "tail_bytes": length - tail_start,
        "bounds": {name: bounds(name) for name in names} | {"event_id": bounds("event_id", bytes.hex)},
    }


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    print(json.dumps({"regions": regions, "rewrite": rewrite}[command](*arguments)))
