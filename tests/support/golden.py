"""Golden messages: one of each record for each released version, as JSON to read and as bytes that must stay readable.

To add one: write `schemas/examples/<Record>/v<version>.json`, then `python -m tests.support.golden` writes the missing
.avro beside it. Bytes that are committed are never rewritten: they are what some producer still sends.
"""

from __future__ import annotations

from pathlib import Path

from hocket.contracts.codec import Codec, record_types

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"


def golden() -> list[Path]:
    """The JSON files of all golden messages."""
    return sorted(EXAMPLES.glob("*/v*.json"))


def main() -> None:
    """Writes the bytes of every golden message that has none yet, with the current schemas."""
    for path in golden():
        target = path.with_suffix(".avro")
        if not target.exists():
            record = record_types()[path.parent.name].model_validate_json(path.read_text("utf-8"))
            target.write_bytes(Codec().encode(record, "golden"))
            print(f"wrote {target.relative_to(EXAMPLES.parents[1])}")


if __name__ == "__main__":
    main()
