"""DARTS+: when the search stops, and with which α."""

from __future__ import annotations

import pytest
import torch

from dots.common.errors import UserError
from dots.nas.strategies.darts_plus import DartsPlus
from dots.space.search_space import darts_space, named_space
from helpers import searches, small

OPERATIONS = ("none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
SPACE = darts_space(nodes=2, operations=OPERATIONS)


def prefer(search: DartsPlus, skips: int, strength: float) -> None:
    """Make the derived normal cell one of so many skips; edges 0, 1, 3 and 4 are the best."""
    for alpha in search.alpha.values():
        alpha.data.zero_()
        for place, edge in enumerate((0, 1, 3, 4)):
            alpha.data[edge, 1 if place < skips else 2] = strength


def run(search: DartsPlus, skips: list[int]) -> list[bool]:
    stops = []
    for epoch, count in enumerate(skips):
        prefer(search, count, strength=1.0 + epoch)
        assert search.end_epoch(epoch) == {"skips": count}
        stops.append(search.finished(epoch))
    return stops


def test_it_stops_at_two_skips_with_the_last_cell_that_had_fewer() -> None:
    search = searches.search(DartsPlus, SPACE, method={"min_epochs": 0})
    assert run(search, [0, 1, 1, 2]) == [False, False, False, True]
    assert search.derive().skips() == 1
    assert float(search.alpha["reduce"].detach().max()) == 3.0  # as at the end of the third epoch


def test_the_first_epochs_cannot_stop_it() -> None:
    search = searches.search(DartsPlus, SPACE, method={"min_epochs": 3})
    assert run(search, [2, 1, 3, 2]) == [False, False, False, True]
    assert search.derive().skips() == 1
    never = searches.search(DartsPlus, SPACE, method={"min_epochs": 0, "max_skips": 4})
    assert not any(run(never, [4, 4]))


def test_without_an_earlier_cell_it_stops_with_the_present_one() -> None:
    search = searches.search(DartsPlus, SPACE, method={"min_epochs": 2})
    assert run(search, [3, 3, 4]) == [False, False, True]
    assert search.derive().skips() == 4


def test_epochs_that_train_weights_alone_do_not_count() -> None:
    search = searches.search(DartsPlus, SPACE, method={"min_epochs": 0}, weight_epochs=2)
    prefer(search, 4, 1.0)
    assert search.end_epoch(1) == {}
    assert not search.finished(1)


def test_a_stable_ranking_of_the_convolutions_stops_it() -> None:
    search = searches.search(DartsPlus, SPACE, method={"stop": "ranking", "stable_epochs": 2})
    normal = search.alpha["normal"].data
    stable = []
    for epoch, (sep, dil, skip) in enumerate(
        [(1.0, 2.0, 0.0), (2.0, 1.0, 0.0), (3.0, 1.0, 9.0), (3.0, 2.5, -9.0)]
    ):
        normal[:, 1], normal[:, 2], normal[:, 3] = skip, sep, dil  # skips are not ranked
        stable.append(search.end_epoch(epoch)["stable_epochs"])
        assert search.finished(epoch) == (epoch == 3)
    assert stable == [0, 0, 1, 2]


def test_one_edge_that_changes_is_a_change() -> None:
    search = searches.search(DartsPlus, SPACE, method={"stop": "ranking", "stable_epochs": 1})
    search.end_epoch(0)
    normal = search.alpha["normal"].data
    normal[3, 2], normal[3, 3] = normal[3, 3].item(), normal[3, 2].item()
    assert search.end_epoch(1) == {"stable_epochs": 0}


@pytest.mark.parametrize(("epochs", "expected"), [(50, 10), (100, 20), (15, 3), (2, 1)])
def test_the_published_epochs_scale_with_the_length(epochs: int, expected: int) -> None:
    method = {"stop": "ranking"}
    search = searches.search(DartsPlus, SPACE, method=method, epochs=epochs)
    stops = []
    for epoch in range(expected + 1):
        search.end_epoch(epoch)
        stops.append(search.finished(epoch))
    assert stops == [False] * expected + [True]


def test_a_search_resumed_after_the_stop_has_stopped() -> None:
    search = searches.search(DartsPlus, SPACE, method={"min_epochs": 0})
    search.step(0, small.batch(), small.batch(seed=1))
    run(search, [1, 1])
    resumed = searches.search(DartsPlus, SPACE, method={"min_epochs": 0}, seed=7)
    resumed.load_state(search.state())
    for each in (search, resumed):
        prefer(each, 3, 9.0)
        each.end_epoch(2)
        assert each.finished(2)
    assert resumed.scores() == search.scores()
    assert torch.equal(resumed.alpha["normal"], search.alpha["normal"])


def test_spaces_that_a_rule_does_not_fit_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"'darts-plus' has no skips.*'s4': choose another"):
        searches.search(DartsPlus, named_space("s4", 2))
    with pytest.raises(UserError, match=r"no two operations with weights.*'s2': set method.stop="):
        searches.search(DartsPlus, named_space("s2", 2), method={"stop": "ranking"})
    convolutions = darts_space(2, ("sep_conv_3x3", "dil_conv_3x3"))
    with pytest.raises(UserError, match=r"no skips.*: set method.stop=ranking"):
        searches.search(DartsPlus, convolutions)
