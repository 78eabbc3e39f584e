"""Parameter files, and the names that they give to runs."""

from pathlib import Path

from reidkit.places import record_roots
from reidkit.records import read_records
from reidkit.runs import configuration_of


def test_published_records_keep_their_names() -> None:
    """Whatever becomes of the code: a record is found by the name that its configuration has."""
    published = read_records(record_roots()[1])
    assert len(published) >= 19
    for record in published:
        assert configuration_of(record, data_root=Path("/anywhere")).name == record.name
