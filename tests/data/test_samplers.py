import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidkit.data.samplers import IdentitySampler, ShuffledSampler


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 1000))
def test_shuffled_epoch_holds_no_image_twice(count: int, batch_size: int, seed: int) -> None:
    if count < batch_size:
        with pytest.raises(ValueError, match="batch_size"):
            ShuffledSampler(count, batch_size)
        return
    epoch = ShuffledSampler(count, batch_size).epoch(generator(seed))
    assert epoch.shape == (count // batch_size, batch_size)
    assert len(epoch.unique()) == epoch.numel()
    assert epoch.max() < count


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_identity_batches_hold_p_identities_of_k_images(labels: list[int], p: int, k: int, seed: int) -> None:
    of = torch.tensor(labels)
    if len(of.unique()) < p:
        with pytest.raises(ValueError, match="identities"):
            IdentitySampler(of, p, k)
        return
    epoch = IdentitySampler(of, p, k).epoch(generator(seed))
    assert epoch.shape[1] == p * k
    assert len(epoch) >= 1
    for batch in of[epoch].view(-1, p, k):
        assert (batch == batch[:, :1]).all()
        assert len(batch[:, 0].unique()) == p
    plentiful = torch.stack([(of == label).sum() >= k for label in of.unique()]).all()
    if plentiful:  # with enough images of everyone, none is seen twice in an epoch
        assert len(epoch.unique()) == epoch.numel()


def test_an_epoch_is_fixed_by_its_generator() -> None:
    sampler = IdentitySampler(torch.arange(40) // 5, 4, 2)
    assert torch.equal(sampler.epoch(generator(3)), sampler.epoch(generator(3)))
    assert not torch.equal(sampler.epoch(generator(3)), sampler.epoch(generator(4)))
