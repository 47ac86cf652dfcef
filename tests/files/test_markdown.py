from a2bgan.files.markdown import table_head, table_row


def test_bars_inside_cells_do_not_end_them():
    assert table_head(["name", "value"]) == ["| name | value |", "| --- | --- |"]
    assert table_row(["a|b", 3]) == r"| a\|b | 3 |"
