import torch

from a2bgan.models.memory_bank import MemoryBank


def test_nearest_are_exact_even_where_squares_cancel():
    bank = MemoryBank()
    patches = torch.rand(300, 16, generator=torch.Generator().manual_seed(0)) + 100
    bank.fill(patches)
    queries = patches[:40] + 1e-3
    distances, numbers = bank.nearest(queries, 5)
    gaps = torch.cdist(queries.double(), patches.double())
    expected = gaps.topk(5, largest=False).values
    torch.testing.assert_close(distances.double().sort().values, expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(numbers[:, 0], torch.arange(40))


def test_no_more_are_found_than_there_are():
    bank = MemoryBank()
    bank.fill(torch.rand(3, 4))
    assert bank.nearest(torch.rand(2, 4), 9)[0].shape == (2, 3)


def test_another_takes_what_was_saved_whatever_its_size():
    bank, other = MemoryBank(), MemoryBank()
    bank.fill(torch.rand(30, 4))
    other.fill(torch.rand(3, 4))
    queries = torch.rand(2, 4)
    other.nearest(queries)
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.nearest(queries)[1], bank.nearest(queries)[1])
