"""Listing settings, and naming the nearest ones."""

import json

import pytest

from a2bgan.training.config import Config, load_config, preset_names
from a2bgan.training.settings import list_settings, unknown_setting


@pytest.mark.parametrize("preset", preset_names())
def test_every_setting_listed_can_be_set_to_its_value(preset: str) -> None:

    config = load_config(preset)
    listed = {one.name: one for one in list_settings(config)}

    assert listed["data.channels"].value == config.data.channels
    assert listed["train.batch_size"].allowed.startswith("whole number, >= 1")
    length = "train.steps" if config.train.steps is None else "train.minutes"
    values = (
        f"{name}={json.dumps(one.value)}"
        for name, one in listed.items()
        if name != length  # setting one of the two unsets the other
    )
    assert load_config(preset, settings=list(values)) == config


def test_choices_bounds_and_null_are_told() -> None:
    listed = {one.name: one.allowed for one in list_settings(load_config("fast"))}

    assert listed["data.square"] == "crop, pad, stretch"
    assert listed["train.minutes"] == "number, null, > 0"
    assert listed["method.adam_betas"] == "[number >= 0 < 1; number >= 0 < 1]"
    assert listed["data.equalize"] == "true, false"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (["data", "sise"], "did you mean size"),
        (["trian"], "did you mean train?"),
        (["train", "augment", "flipp"], "did you mean flip?"),
        (["selection", "zzz"], "there are: by, patience, images"),
    ],
)
def test_unknown_settings_name_the_nearest(place: list[str], said: str) -> None:
    assert said in unknown_setting(Config, place)
