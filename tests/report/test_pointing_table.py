from a2bgan.report.pointing_table import pointing_table


def test_measures_of_the_map_stand_beside_those_of_position_alone() -> None:
    metrics = {
        "auroc": 0.9,
        "pixel_auroc": 0.8,
        "pixel_auroc_sd": 0.01,
        "hit_rate": 0.25,
        "position_matched_auroc": 0.75,
        "position_matched_auroc_ci": [0.7, 0.8],
        "position_alone": {"pixel_auroc": 0.84, "hit_rate": None},
    }
    assert pointing_table(metrics) == [
        ("AUROC of pixels", "0.80 (sd 0.01)", "0.84"),
        ("hit rate: highest pixel in a lesion", "0.25", "not defined here"),
        ("AUROC between images at the same place", "0.75 (0.70 to 0.80)", "0.50"),
    ]


def test_without_masks_there_is_no_line() -> None:
    assert pointing_table({"auroc": 0.9}) == []
