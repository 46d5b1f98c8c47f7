import re

from hypothesis import given
from hypothesis import strategies as st

from extproc.guards import identity
from extproc.policy.keys import hash_key, new_key


def test_a_new_key_can_be_presented_and_its_id_written_into_a_policy():
    key, key_id = new_key()
    assert re.fullmatch("hg_[0-9a-f]{48}", key)
    assert re.fullmatch("key-[0-9a-f]{8}", key_id)
    assert identity._key_of(identity.KeyHeader.X_API_KEY, key) == key
    assert identity._key_of(identity.KeyHeader.AUTHORIZATION, f"Bearer {key}") == key


def test_no_two_keys_are_the_same_and_an_id_is_no_part_of_its_key():
    made = [new_key() for _ in range(100)]
    assert len({key for key, _ in made}) == 100
    assert not any(key_id.removeprefix("key-") in key for key, key_id in made)


def test_the_hash_is_hmac_sha_256():
    # Test case 2 of RFC 4231.
    assert hash_key(b"Jefe", "what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@given(st.text(max_size=40), st.binary(min_size=1, max_size=40))
def test_any_text_has_a_hash_that_depends_on_the_pepper(key, pepper):
    assert re.fullmatch("[0-9a-f]{64}", hash_key(pepper, key))
    assert hash_key(pepper, key) != hash_key(b"x" + pepper, key)


def test_any_header_has_a_hash():
    assert len(hash_key(b"pepper", "\ud800")) == 64
