import warnings
from types import ModuleType

import pytest

from a2bgan.errors import warn_caller


def test_a_warning_points_to_the_line_outside_of_the_package():
    inside = ModuleType("a2bgan.somewhere")
    inside.warn_caller = warn_caller
    code = compile("def outer():\n    inner()\ndef inner():\n    warn_caller('so')\n", "x", "exec")
    exec(code, vars(inside))
    with pytest.warns(UserWarning, match="so") as told:
        inside.outer()
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            warn_caller("and from the first line outside")
