"""A table of results as a pandas data frame; pandas comes with no part of this package."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from a2bgan.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def data_frame(columns: Mapping[str, Any]) -> "pd.DataFrame":
    """The columns, by name, each with a value for each row. Raises InputError without pandas."""
    try:
        import pandas as pd
    except ImportError:
        raise InputError("to_frame needs pandas: pip install pandas") from None
    return pd.DataFrame(columns)
