"""Read TensorBoard's event files without TensorBoard: a record is its length, a checksum, the event, a checksum."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def events(folder: Path) -> Iterator[Any]:
    """All events of all files, in the order of their names."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """Tag, step and value of every scalar."""
    return [
        (value.tag, event.step, value.simple_value)
        for event in events(folder)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


def texts(folder: Path) -> dict[str, str]:
    """Text by tag, of texts and tables."""
    return {
        value.tag: value.tensor.string_val[0].decode()
        for event in events(folder)
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "text"
    }
