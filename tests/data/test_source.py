from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Subset

from dots.common.errors import UserError
from dots.data.sources.records import JoinedRecords, TensorRecords, as_tensor
from dots.data.sources.source import Part, join_parts, make_source, shortlist, unique_names


def part(labels: list[int], names: str, first: int = 0) -> Part:
    """Images of one pixel whose value is their class's letter, for a check of the labels."""
    letters = torch.tensor([ord(names[label]) if label >= 0 else 0 for label in labels])
    pixels = letters.to(torch.uint8).view(-1, 1, 1, 1)
    return Part(TensorRecords(pixels, "array"), torch.tensor(labels), tuple(names))


def letters(found: Part | None) -> tuple[str, str]:
    """What the labels say, and what the images are."""
    assert found is not None
    pixels = as_tensor(found.records)
    assert pixels is not None
    said = "".join(found.names[label] for label in found.labels.tolist())
    return said, "".join(map(chr, pixels.flatten().tolist()))


names = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True).map("".join)


@settings(deadline=None)
@given(st.data())
def test_labels_follow_the_names_whatever_the_parts_hold(data: st.DataObject) -> None:
    parts = {}
    for key in ("train", "val", "test"):
        order = data.draw(names)
        labels = st.integers(-1, len(order) - 1)
        parts[key] = part(data.draw(st.lists(labels, max_size=12)), order)
    try:
        source = make_source("x", parts, flip=False)
    except UserError:
        return
    for found in (source.train, source.test):
        if found is not None:
            said, shown = letters(found)
            assert said == shown
            assert found.names == source.classes
    occurring = {parts["train"].names[k] for k in parts["train"].labels.tolist() if k >= 0}
    assert source.classes == tuple(n for n in parts["train"].names if n in occurring)


def test_shards_with_other_orders_of_names_are_joined_by_name() -> None:
    joined = join_parts([part([0, 1, -1], "ab"), part([0, 1, 2], "cba")])
    assert joined.names == ("a", "b", "c")
    assert joined.labels.tolist() == [0, 1, -1, 2, 1, 0]


def test_unlabelled_images_and_unused_names_are_left_out_with_notices() -> None:
    source = make_source(
        "x", {"train": part([2, 0, -1], "abc"), "test": part([-1], "abc")}, flip=True
    )
    assert source.classes == ("a", "c")
    assert letters(source.train) == ("ca", "ca")
    assert source.test is None
    assert source.notices == (
        "x: train: 1 images without a label are left out",
        "x: test: 1 images without a label are left out",
        "x: classes without training images are left out: 'b'",
    )


def test_too_few_classes() -> None:
    with pytest.raises(UserError, match="x: there are no training images"):
        make_source("x", {"train": part([-1], "a")}, flip=True)
    with pytest.raises(UserError, match="of one class"):
        make_source("x", {"train": part([1, 1], "ab")}, flip=True)


def test_unique_names() -> None:
    assert unique_names(["crane", "cat"]) == ("crane", "cat")
    assert unique_names(["crane", "cat", "crane"]) == ("crane (0)", "cat", "crane (2)")


def test_shortlist_is_one_line() -> None:
    assert shortlist(["a\nb", "c"]) == "'a\\nb', 'c'"
    assert shortlist(list("abcdefg")) == "'a', 'b', 'c', 'd', 'e' and 2 more"


def test_selected_and_joined_records_keep_what_they_stand_for() -> None:
    first = TensorRecords(torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1), "first")
    second = TensorRecords(torch.arange(10, 12, dtype=torch.uint8).view(2, 1, 1, 1), "second")
    records = Subset(JoinedRecords([first, second]), [4, 0, 2])  # type: ignore[list-item]
    pixels = as_tensor(records)
    assert pixels is not None
    assert pixels.flatten().tolist() == [11, 0, 2]
    for row in range(len(records)):
        opened = records[row].open()
        assert isinstance(opened, torch.Tensor)
        assert torch.equal(opened, pixels[row])
    assert [records[row].where for row in range(3)] == ["1 of second", "0 of first", "2 of first"]
    assert [records[row].key for row in range(3)] == [4, 0, 2]
    assert records[0].path is None
