import errno
import json

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from a2bgan.errors import InputError
from a2bgan.training import checkpoint as module
from a2bgan.training.checkpoint import (
    Position,
    find_checkpoint,
    list_checkpoints,
    list_ready_checkpoints,
    load_optimizers,
    load_weights,
    read_position,
    save_checkpoint,
)
from a2bgan.training.config import load_config
from a2bgan.training.methods.method import Method, Moment, StepMethod

try:
    import resource
except ImportError:  # Windows
    resource = None

SMALL = (
    "data.size=32",
    "method.translator.width=3",
    "method.discriminator.width=3",
    "method.discriminator.features=null",
)


def make(seed: int = 0, steps: int = 2) -> StepMethod:
    config = load_config("fast", None, [*SMALL, f"train.seed={seed}"])
    method = config.build_method()
    assert isinstance(method, StepMethod)
    method.prepare(Fabric(accelerator="cpu", devices=1))
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        b, a = torch.rand(2, 3, 1, 32, 32, generator=generator)
        method.step(b, a, Moment(step, 0.5, torch.Generator()))
    return method


def tensors(method: Method) -> dict[str, torch.Tensor]:
    found = {
        f"{name}/{key}": value
        for name, network in method.networks.items()
        for key, value in network.state_dict().items()
    }
    for name, optimizer in method.optimizers.items():
        for parameter, fields in optimizer.state_dict()["state"].items():
            found |= {f"{name}/{parameter}/{field}": value for field, value in fields.items()}
    return found


def test_weights_and_optimizers_round_trip(tmp_path):
    saved = make()
    path = save_checkpoint(tmp_path, saved, Position(7, 1.5))
    other = make(seed=1, steps=0)
    load_weights(path, other)
    load_optimizers(path, other)
    assert read_position(path) == Position(7, 1.5)
    expected = tensors(saved)
    found = tensors(other)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    for optimizer in other.optimizers.values():  # what fused optimisers rely on
        for parameter, fields in optimizer.state.items():
            assert fields["exp_avg"].stride() == parameter.stride()
    groups = [o.state_dict()["param_groups"] for o in saved.optimizers.values()]
    restored = [o.state_dict()["param_groups"] for o in other.optimizers.values()]
    assert json.dumps(restored) == json.dumps(groups)
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}


def test_a_warm_ups_checkpoints_are_no_candidates_if_there_are_others(tmp_path):
    warming = save_checkpoint(tmp_path, make(steps=0), Position(1, 0.1))
    assert list_ready_checkpoints(tmp_path) == [warming]
    trained = save_checkpoint(tmp_path, make(), Position(2, 0.2))
    assert list_ready_checkpoints(tmp_path) == [trained]
    assert list_checkpoints(tmp_path) == [warming, trained]


def test_checkpoints_are_found_by_name_and_by_step(tmp_path):
    method = make()
    with pytest.raises(InputError, match="no checkpoint yet"):
        find_checkpoint(tmp_path)
    paths = [save_checkpoint(tmp_path, method, Position(step, 0)) for step in (5, 100, 20)]
    assert find_checkpoint(tmp_path).name == "step-00000100"
    assert find_checkpoint(tmp_path, "20") == find_checkpoint(tmp_path, paths[2].name) == paths[2]
    with pytest.raises(InputError, match="no checkpoint '7'; there are: step-00000005"):
        find_checkpoint(tmp_path, "7")


def test_only_the_latest_keep_the_optimizers(tmp_path):
    method = make()
    for step in range(4):
        save_checkpoint(tmp_path, method, Position(step, 0))
    kept = [(path / "optimizers.safetensors").exists() for path in list_checkpoints(tmp_path)]
    assert kept == [False, False, True, True]


def test_a_disk_that_fills_up_leaves_the_previous_checkpoint_whole(tmp_path, monkeypatch):
    method = make()
    first = save_checkpoint(tmp_path, method, Position(1, 0))
    before = {file.name: file.read_bytes() for file in first.iterdir()}
    calls = []

    def full_at_the_second_file(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args, **kwargs)

    original = module.save_file
    monkeypatch.setattr(module, "save_file", full_at_the_second_file)
    with pytest.raises(InputError, match=r"not written \(No space left on device\)") as caught:
        save_checkpoint(tmp_path, method, Position(2, 0))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    assert {file.name: file.read_bytes() for file in first.iterdir()} == before


@pytest.mark.skipif(resource is None, reason="no limit of file sizes on this system")
def test_a_write_that_the_system_refuses(tmp_path):
    method = make()
    save_checkpoint(tmp_path, method, Position(1, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(InputError, match="not written") as caught:
            save_checkpoint(tmp_path, method, Position(2, 0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    load_weights(tmp_path / "step-00000001", make(seed=1, steps=0))


def test_damaged_or_foreign_weights_are_named(tmp_path):
    path = save_checkpoint(tmp_path, make(), Position(1, 0))
    larger = load_config("fast", None, [*SMALL, "method.translator.width=4"]).build_method()
    with pytest.raises(InputError, match=r"translator.safetensors: weights cannot be loaded"):
        load_weights(path, larger)
    (path / "discriminator.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"discriminator.safetensors: weights cannot be loaded"):
        load_weights(path, make(steps=0))
    translator = path / "translator.safetensors"
    translator.write_bytes(translator.read_bytes()[:-100])  # half a copy
    with pytest.raises(InputError, match=r"translator.safetensors: weights cannot be loaded"):
        load_weights(path, make(steps=0))
    (path / "optimizers.safetensors").unlink()
    with pytest.raises(InputError, match="optimiser state cannot be loaded"):
        load_optimizers(path, make(steps=0))


def half_precision(seed: int = 0) -> Method:
    """ALAD as on a GPU in precision 16-mixed; Fabric itself refuses that on a CPU."""
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))
    settings = ("data.size=32", "method.width=4", "method.latent=4", f"train.seed={seed}")
    method = load_config("alad", None, settings).build_method()
    method.prepare(Fabric(accelerator="cpu", devices=1, plugins=plugin))
    return method


def test_the_scale_of_losses_is_kept_and_old_checkpoints_are_without(tmp_path):
    method, other = half_precision(), half_precision(1)
    assert make().scaler is None
    method.scaler.load_state_dict(
        method.scaler.state_dict() | {"scale": 256.0, "_growth_tracker": 9}
    )
    path = save_checkpoint(tmp_path, method, Position(1, 0))
    load_optimizers(path, other)
    assert other.scaler.state_dict() == method.scaler.state_dict()
    assert other.scaler.get_scale() == 256
    file = path / "optimizers.safetensors"
    with safe_open(file, "pt") as opened:
        metadata = {"groups": opened.metadata()["groups"]}
    save_file(load_file(file), file, metadata)
    old = half_precision()
    load_optimizers(path, old)
    assert old.scaler.get_scale() == 1024


def test_optimizers_of_one_backward_pass_step_by_one_scale():
    """One whose gradients overflow makes the next scale smaller, not the others' steps larger."""
    method = half_precision()
    weights = [next(method.networks[name].parameters()) for name in ("generator", "encoder")]
    before = [weight.detach().clone() for weight in weights]
    loss = weights[0].sum() * torch.tensor(1e38) + weights[1].square().sum()
    method._descend(loss, "generator", "encoder")
    assert torch.equal(weights[0], before[0])
    # Adam's own state says which gradients it was given.
    momentum = method.optimizers["encoder"].state[weights[1]]["exp_avg"]
    beta = method.optimizers["encoder"].param_groups[0]["betas"][0]
    torch.testing.assert_close(momentum, (1 - beta) * 2 * before[1])
    assert method.scaler.get_scale() == 512
