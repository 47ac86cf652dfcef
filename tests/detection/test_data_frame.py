import sys

import pytest

from a2bgan.detection.data_frame import data_frame
from a2bgan.errors import InputError


def test_columns_keep_their_names_and_without_pandas_one_line_says_what_to_install(monkeypatch):
    frame = data_frame({"path": ["a", "b"], "score": [0.1, 0.2]})
    assert frame.to_dict("list") == {"path": ["a", "b"], "score": [0.1, 0.2]}
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="to_frame needs pandas: pip install pandas"):
        data_frame({})
