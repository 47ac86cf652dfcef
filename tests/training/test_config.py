import pytest
import yaml

from a2bgan.errors import InputError
from a2bgan.training.config import load_config, preset_names, read_config, write_config


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_loads_and_survives_its_file(preset, tmp_path):
    config = load_config(preset)
    write_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


REMOVED = [
    ("translator.mask", "learned", "none"),
    ("discriminator.initialisation", "default", "he"),
    ("discriminator.features.places", 0.05, 0.25),
    ("loss.focus_size_power", 2, 1),
]


@pytest.mark.parametrize(("setting", "built_in", "other"), REMOVED)
def test_a_removed_setting_of_an_old_run_is_dropped_or_refused(setting, built_in, other, tmp_path):
    config = load_config("fast")
    file = tmp_path / "config.yaml"
    *path, name = setting.split(".")
    for value in (built_in, other):
        values = config.model_dump(mode="json")
        section = values["method"]
        for part in path:
            section = section[part]
        section[name] = value
        file.write_text(yaml.safe_dump(values))
        if value == built_in:
            assert read_config(file) == config
        else:
            with pytest.raises(InputError, match=rf"{name} is no longer a setting") as error:
                read_config(file)
            assert "\n" not in str(error.value)


def test_the_preset_paper_is_the_paper():
    config = load_config("paper")
    g, d, loss = config.method.translator, config.method.discriminator, config.method.loss
    assert (config.data.size, config.data.crop_top, config.data.square) == (256, 0.08, "crop")
    assert (g.width, g.blocks, g.upsampling, g.intermediate) == (64, 6, "transposed", "tanh")
    assert (g.mask_start, g.ema) == (None, 0)
    assert (d.width, d.depth, d.steps, d.warmup_steps, d.replay) == (64, 6, 2, 0, False)
    assert g.learning_rate == d.learning_rate == 1e-4
    assert config.method.adam_betas == (0.5, 0.999)
    assert config.method.decay_from == (400_000 - 100_000) / 400_000
    assert (loss.adversarial, loss.gradient_penalty) == ("wgan-gp", 10)
    assert (loss.identity, loss.reconstruction, loss.focus) == (1, 1, 0.1)
    assert (loss.focus_size, loss.focus_squared, loss.focus_indecision) == (1, "none", 1)
    assert (loss.change, d.features) == (0, None)
    assert (config.train.steps, config.train.batch_size) == (400_000, 16)
    assert config.train.checkpoint_every == 10_000
    augment = config.train.augment
    assert augment.flip
    assert (augment.shift, augment.brightness, augment.contrast) == (0, 0, 0)


def test_the_simulated_set_differs_in_size_crop_and_mask():
    paper, simulated = (load_config(p).model_dump() for p in ("paper", "paper-simulated"))
    assert simulated["data"].pop("size") == 128
    assert simulated["data"].pop("crop_top") == 0
    assert simulated["method"]["loss"].pop("focus_size") == 0.001
    del paper["data"]["size"], paper["data"]["crop_top"], paper["method"]["loss"]["focus_size"]
    assert simulated == paper


def test_the_released_code_differs_in_channels_mask_and_decay():
    paper, released = (load_config(p).model_dump() for p in ("paper", "healthygan"))
    assert (paper["data"].pop("channels"), released["data"].pop("channels")) == (1, 3)
    assert released["method"]["loss"].pop("focus_squared") == "batch"
    assert released["method"].pop("decay_from") == 1
    del paper["method"]["loss"]["focus_squared"], paper["method"]["decay_from"]
    assert released == paper


def test_runs_from_before_a_setting_square_each_images_mask(tmp_path):
    config = load_config("paper")
    values = config.model_dump(mode="json")
    del values["method"]["loss"]["focus_squared"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    assert read_config(tmp_path / "config.yaml").method.loss.focus_squared == "image"


def test_settings_change_a_file_which_changes_the_preset(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("data: {size: 96, equalize: true}\n")
    config = load_config("fast", file, ["data.size=128"])
    assert (config.data.size, config.data.equalize) == (128, True)
    assert config.method == load_config("fast").method


@pytest.mark.parametrize(
    ("setting", "steps", "minutes"),
    [("train.steps=7", 7, None), ("train.minutes=0.5", None, 0.5)],
)
def test_one_length_replaces_the_other(setting, steps, minutes):
    for preset in ("fast", "paper"):
        train = load_config(preset, None, [setting]).train
        assert (train.steps, train.minutes) == (steps, minutes)


def test_the_last_of_two_settings_counts_and_values_are_yaml():
    config = load_config(
        "fast",
        None,
        [
            "train.steps=7",
            "train.minutes=2",
            "method.translator.mask_start=null",
            "train.augment.flip=false",
            "method.adam_betas=[0, 0.9]",
            "data.size=96",
            "data.size=128",
        ],
    )
    assert (config.train.steps, config.train.minutes) == (None, 2)
    assert config.method.translator.mask_start is None
    assert config.train.augment.flip is False
    assert config.method.adam_betas == (0, 0.9)
    assert config.data.size == 128


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.sise=64"], "data.sise: unknown setting"),
        (["train.stepz=4"], "train.stepz: unknown setting"),
        (["method.loss.idd=4"], "configuration: method.loss.idd: unknown setting"),
        (["method.adam_betas=[0.5,1]"], r"method.adam_betas.1: .*less than 1"),
        (["data.size=70"], "data.size: size must be a multiple of 4"),
        (["data.size=big"], "data.size: .*'big'"),
        (["method.name=magic"], "unknown method 'magic'; there are: a2bgan"),
        ([f"train.seed={2**63}"], "train.seed: .*less than or equal to 9223372036854775807"),
        (["train.steps=0"], "train.steps: .*greater than or equal to 1"),
        (["size"], "setting 'size': expected key=value"),
        (["=5"], "setting '=5': expected key=value"),
        (["data.size=[1"], "setting 'data.size=\\[1': the value is not readable"),
        (["data=5"], "data: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(settings, message):
    with pytest.raises(InputError, match=message) as caught:
        load_config("fast", None, settings)
    assert "\n" not in str(caught.value)


def test_unknown_presets_and_broken_files(tmp_path):
    assert {"demo", "fast", "paper", "paper-simulated", "xray"} < set(preset_names())
    with pytest.raises(InputError) as caught:
        load_config("best")
    listed = ", ".join(preset_names())
    assert str(caught.value) == f"unknown preset 'best'; there are: {listed}, or give a .yaml file"
    with pytest.raises(InputError, match=r"none.yaml: no such file"):
        load_config("fast", tmp_path / "none.yaml")
    for text in ("data: [", "- 5", "\x00", "train: {steps: 5, minutes: 5}"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(InputError, match=r"bad.yaml: |either train.steps") as caught:
            load_config("fast", tmp_path / "bad.yaml")
        assert "\n" not in str(caught.value)
