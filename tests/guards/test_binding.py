import pytest
from exchanges import guard_env

from extproc.guards import admission, schema


def test_settings_of_another_guard_are_refused():
    with pytest.raises(TypeError, match="settings of type Settings expected"):
        admission.GUARD.build(schema.Settings(), guard_env())


def test_settings_of_the_guard_are_bound():
    settings = admission.Settings(prompt_chars_max=7)
    assert admission.GUARD.build(settings, guard_env()) == admission.Admission(settings=settings)
