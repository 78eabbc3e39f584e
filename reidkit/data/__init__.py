"""Data sets: readers, attributes, the rendered default and batches from memory."""

from reidkit.data.attributes import AttributeGroup, Attributes, AttributeSplit, read_attributes
from reidkit.data.errors import DatasetError
from reidkit.data.layouts import Dataset, Split, file_list_checksum, load_dataset

__all__ = [
    "AttributeGroup",
    "AttributeSplit",
    "Attributes",
    "Dataset",
    "DatasetError",
    "Split",
    "file_list_checksum",
    "load_dataset",
    "read_attributes",
]
