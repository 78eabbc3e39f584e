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


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(2, 5), st.integers(1, 4), st.integers(0, 1000))
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


@pytest.mark.parametrize("identities", [1, 0])
def test_one_identity_in_a_batch_is_refused_before_training(identities: int) -> None:
    message = f"a batch of {identities} identities × 4 images: batch-hard mining needs two identities"
    with pytest.raises(ValueError, match=message) as caught:
        IdentitySampler(torch.arange(40) // 5, identities, 4)
    assert "raise batch_size or lower images_per_identity" in str(caught.value)


def test_no_image_of_an_identity_is_refused() -> None:
    with pytest.raises(ValueError, match="0 images of each identity; expected at least 1"):
        IdentitySampler(torch.arange(40) // 5, 4, 0)


def test_an_epoch_is_fixed_by_its_generator() -> None:
    sampler = IdentitySampler(torch.arange(40) // 5, 4, 2)
    assert torch.equal(sampler.epoch(generator(3)), sampler.epoch(generator(3)))
    assert not torch.equal(sampler.epoch(generator(3)), sampler.epoch(generator(4)))
