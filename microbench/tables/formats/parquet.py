"""Apache Parquet; times in seconds, unknown values null."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

IS_BINARY = True


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Encode flat rows; a column whose values have several types becomes text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def _column(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if each is None else str(each) for each in values])
