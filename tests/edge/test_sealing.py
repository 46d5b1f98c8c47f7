import pytest

from extproc.edge.sealing import SealError, can_seal_to, new_keys, public_key, seal, unseal


def test_what_is_sealed_opens_with_its_key_alone():
    private, public = new_keys()
    other, _ = new_keys()
    sealed = seal(b"text", public, b"about")
    assert unseal(sealed, private, b"about") == b"text"
    for wrong in (
        (sealed, other, b"about"),
        (sealed, private, b"another"),
        (sealed[:-1], private, b"about"),
    ):
        with pytest.raises(SealError):
            unseal(*wrong)


def test_sealing_the_same_twice_shows_nothing_of_it():
    _, public = new_keys()
    assert seal(b"text", public, b"") != seal(b"text", public, b"")


def test_a_private_key_tells_its_public_one():
    private, public = new_keys()
    assert public_key(private) == public


@pytest.mark.parametrize("swapped", [True, False])
def test_a_key_in_the_others_place_is_none(swapped):
    private, public = new_keys()
    with pytest.raises(SealError):
        seal(b"", private, b"") if swapped else unseal(b"", public, b"")


def test_a_point_that_gives_no_secret_is_no_key():
    assert can_seal_to(new_keys()[1])
    assert not can_seal_to("hgpub_" + "0" * 64)
    assert not can_seal_to("")
