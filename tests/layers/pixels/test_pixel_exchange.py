"""Exchange at the same place is what an obvious loop does; channels are those of the others."""

import torch

from sparsefuse.layers.pixels.exchange import SIDE, Places, exchange, exchange_channels, parts_of_channels


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def streams(count, *, rows=5, columns=7):
    values = [noise(2, rows, columns, 3, seed=i) for i in range(count)]
    masks = [noise(2, rows, columns, seed=10 + i) > -1 for i in range(count)]
    gone = [noise(2, rows, columns, seed=20 + i) > 0 for i in range(count)]
    return values, masks, gone


def test_two_streams_swap_tokens_as_a_loop_does():
    values, masks, gone = streams(2)
    found = exchange(values, gone, Places(2, 0).takes(masks))
    expected = [value.clone() for value in values]
    for i, donor in ((0, 1), (1, 0)):
        for b, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(7)).tolist():
            if gone[i][b, row, column] and masks[i][b, row, column] and masks[donor][b, row, column]:
                expected[i][b, row, column] = values[donor][b, row, column]
    assert all(a.equal(b) for a, b in zip(found, expected, strict=True))
    assert not found[0].equal(values[0])


def test_three_streams_take_from_the_donor_of_the_place_as_a_loop_does():
    values, masks, gone = streams(3, rows=2 * SIDE + 3, columns=SIDE + 1)
    places = Places(3, 5)
    found = exchange(values, gone, places.takes(masks))
    taken = set()
    for i, own in enumerate(values):
        others = [j for j in range(3) if j != i]
        for row, column in [(0, 0), (3, 9), (SIDE, SIDE), (2 * SIDE + 1, 4), *((40, i) for i in range(30))]:
            donor = others[int(places.slots[i, row % SIDE, column % SIDE])]
            for b in range(2):
                replaced = gone[i][b, row, column] and masks[i][b, row, column] and masks[donor][b, row, column]
                source = values[donor] if replaced else own
                assert found[i][b, row, column].equal(source[b, row, column])
                taken |= {(i, donor)} if replaced else set()
    assert len(taken) == 6


def test_a_streams_places_are_divided_equally():
    assert [int((slots == donor).sum()) for slots in Places(3, 0).slots for donor in (0, 1)] == [SIDE**2 // 2] * 6
    assert not Places(3, 0).slots.equal(Places(3, 1).slots)


def test_scores_are_exchanged_like_their_tokens():
    values, masks, gone = streams(2)
    takes = Places(2, 0).takes(masks)
    scores = [value[..., 0] for value in values]
    found = exchange(scores, gone, takes)
    for score, value in zip(found, exchange(values, gone, takes), strict=True):
        assert score.equal(value[..., 0])


def test_weak_channels_are_the_mean_of_the_others_that_are_there():
    values, masks, _ = streams(3)
    weak = [torch.tensor(channels) for channels in ([True, False, False], [False, True, False], [False] * 3)]
    found = exchange_channels(values, masks, weak)
    for i, own in enumerate(values):
        for b, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(7)).tolist():
            others = [values[j][b, row, column] for j in range(3) if j != i and masks[j][b, row, column]]
            mean = sum(others) / len(others) if others else own[b, row, column]
            expected = torch.where(weak[i], mean, own[b, row, column])
            torch.testing.assert_close(found[i][b, row, column], expected)


def test_every_channel_is_one_streams_to_give_up():
    assert parts_of_channels(4, 2) == [
        [True, True, False, False],
        [False, False, True, True],
    ]
    for count in (2, 3, 4):
        parts = torch.tensor(parts_of_channels(20, count))
        assert parts.sum(0).equal(torch.ones(20, dtype=torch.long))
        assert parts.sum(1).max() - parts.sum(1).min() <= 1
