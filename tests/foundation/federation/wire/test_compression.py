"""Codecs of updates: error bounds, error feedback, layout, and what hostile bytes do."""

from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from foundation.command import instantiate
from foundation.errors import UserError
from foundation.federation.server.bounds import check_buffer
from foundation.federation.site.error_feedback import ErrorFeedback
from foundation.federation.wire.compression import Compressor
from foundation.federation.wire.quantization import pack_bf16, pack_int8, unpack_bf16, unpack_int8

NAME = "encoder.modalities.report.weight"
floats = st.floats(-(2.0**100), 2.0**100, width=32)
shapes = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)
values = arrays_of.arrays(np.float32, shapes, elements=floats)


def update(seed: int = 0, shape: tuple[int, ...] = (40, 50)) -> dict[str, np.ndarray]:
    return {NAME: (1e-3 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)}


@settings(deadline=None, max_examples=50)
@given(values)
def test_bf16_rounds_as_torch_does(value):
    expected = torch.from_numpy(np.array(value)).to(torch.bfloat16).float().numpy()
    found = unpack_bf16(pack_bf16(value))
    assert found.shape == value.shape and found.dtype == np.float32
    assert np.array_equal(found, expected)


def test_bf16_never_makes_infinity():
    largest = np.array([np.finfo(np.float32).max, -np.finfo(np.float32).max], dtype=np.float32)
    assert np.isfinite(unpack_bf16(pack_bf16(largest))).all()


@settings(deadline=None, max_examples=50)
@given(values, st.integers(1, 300), st.booleans())
def test_int8_is_off_by_half_a_scale_at_most_and_by_one_at_random(value, block, stochastic):
    generator = np.random.default_rng(0) if stochastic else None
    found = unpack_int8(pack_int8(value, block, generator))
    assert found.shape == value.shape and found.dtype == np.float32
    error = np.abs(found.astype(np.float64) - value).ravel()
    flat = np.abs(value.ravel()).astype(np.float64)
    for start in range(0, flat.size, block):
        scale = flat[start : start + block].max() / 127
        allowed = (1.0 if stochastic else 0.5) * scale * (1 + 1e-4) + 1e-43  # of scales that are subnormal
        assert error[start : start + block].max() <= allowed


@settings(deadline=None, max_examples=50)
@given(values, st.integers(1, 300))
def test_zeros_stay_zeros_and_bytes_are_counted(value, block):
    value = np.where(np.arange(value.size).reshape(value.shape) % 2, value, np.float32(0)).astype(np.float32)
    packed = pack_int8(value, block, None)
    assert (unpack_int8(packed)[value == 0] == 0).all()
    assert packed.nbytes == 4 * (2 + value.ndim) + 4 * -(-value.size // block) + value.size


def test_one_scale_for_a_whole_array_takes_no_room_of_the_block():
    packed = pack_int8(np.ones(100, dtype=np.float32), 1 << 60, None)
    assert packed.nbytes == 4 * 3 + 4 + 100
    assert unpack_int8(packed).tolist() == [1.0] * 100


def test_stochastic_rounding_has_no_bias():
    value = np.full(64, 0.3, dtype=np.float32)
    value[0] = 127  # a scale of 1
    generator = np.random.default_rng(0)
    found = np.mean([unpack_int8(pack_int8(value, 64, generator))[1:] for _ in range(2000)])
    assert found == pytest.approx(0.3, abs=0.005)


def test_stochastic_rounding_follows_its_salt():
    compression = Compressor("int8", stochastic=True)
    same, again, other = (compression.encode(update(), salt=salt).arrays for salt in ("a/1", "a/1", "a/2"))
    assert np.array_equal(same[f"{NAME}:int8"], again[f"{NAME}:int8"])
    assert not np.array_equal(same[f"{NAME}:int8"], other[f"{NAME}:int8"])


@settings(deadline=None, max_examples=50)
@given(values)
def test_fp32_is_exact(value):
    found = Compressor("fp32").encode({NAME: value})
    assert not found.residual
    assert Compressor.decode(found.arrays)[NAME] is value


@pytest.mark.parametrize("kind", ["fp32", "bf16", "int8"])
def test_counters_and_small_arrays_travel_whole(kind):
    given = {
        "encoder.modalities.pathology.bn.num_batches_tracked": np.array(7, dtype=np.int64),
        "encoder.modalities.pathology.table": np.arange(100),
        "encoder.fusion.scale": np.array(0.123456789, dtype=np.float32),
    }
    found = Compressor(kind).encode(given)
    decoded = Compressor.decode(found.arrays)
    assert {name: value.tolist() for name, value in decoded.items()} == {k: v.tolist() for k, v in given.items()}
    assert all(decoded[name].dtype == value.dtype for name, value in given.items())
    assert not found.residual


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(["bf16", "int8"]), st.booleans(), st.integers(0, 2**31), st.integers(1, 12))
def test_error_feedback_loses_only_what_the_last_round_lost(kind, stochastic, seed, rounds):
    compression = Compressor(kind, stochastic=stochastic)
    residual: dict[str, np.ndarray] = {}
    true = np.zeros((40, 50))
    decoded = np.zeros((40, 50))
    for number in range(rounds):
        given = update(seed + number)
        found = compression.encode(given, residual, salt=f"site/{number}")
        residual = found.residual
        true += given[NAME]
        decoded += Compressor.decode(found.arrays)[NAME]
    assert decoded + residual[NAME] == pytest.approx(true, abs=1e-8 * rounds)
    assert np.abs(residual[NAME]).max() <= 2e-3 * 5 / 127 if kind == "int8" else 2e-3 * 5 / 256


def test_without_feedback_errors_add_up_and_with_it_they_do_not():
    steady = {NAME: np.full((8, 8), 1e-3, dtype=np.float32)}
    steady[NAME][0, 0] = 1.0  # sets the scale, under which all others round to nothing
    sums = {}
    for feedback in (False, True):
        compression, residual, total = Compressor("int8", feedback), {}, np.zeros((8, 8))
        for _ in range(100):
            found = compression.encode(steady, residual)
            residual = found.residual
            total += Compressor.decode(found.arrays)[NAME]
        sums[feedback] = total[1, 1]
    assert sums[False] == 0
    assert sums[True] == pytest.approx(0.1, abs=1 / 127)


def test_a_group_that_does_not_travel_keeps_its_residual():
    compression = Compressor("int8")
    first = compression.encode(update())
    second = compression.encode({"encoder.fusion.weight": update()[NAME]}, first.residual)
    assert np.array_equal(second.residual[NAME], first.residual[NAME])
    assert set(second.residual) == {NAME, "encoder.fusion.weight"}


def test_int8_takes_at_most_027_of_the_bytes():
    given = update(shape=(384, 384))
    packed = sum(value.nbytes for value in Compressor("int8").encode(given).arrays.values())
    assert packed <= 0.27 * given[NAME].nbytes


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_what_is_not_finite_is_refused_by_name(kind):
    bad = update()
    bad[NAME][0, 0] = np.nan
    with pytest.raises(UserError, match=f"{NAME}: the update is not finite"):
        Compressor(kind).encode(bad)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=80))
def test_no_bytes_break_decoding(content):
    packed = {f"{NAME}:int8": np.frombuffer(content, dtype=np.uint8)}
    try:
        found = Compressor.decode(packed)[NAME]
    except UserError:
        return
    assert found.nbytes <= 4 * len(content)


@pytest.mark.parametrize(
    "arrays",
    [
        {f"{NAME}:int4": np.zeros(9, dtype=np.uint8)},
        {NAME: np.zeros(2, dtype=np.float32), f"{NAME}:bf16": np.zeros(2, dtype=np.uint16)},
    ],
)
def test_names_that_no_compression_gives_are_refused(arrays):
    with pytest.raises(UserError, match="no name that compression gives"):
        Compressor.decode(arrays)


def test_an_array_of_another_type_is_refused_on_reading():
    with pytest.raises(UserError, match="not uint16"):
        Compressor.decode({f"{NAME}:bf16": np.zeros(4)})[NAME]


def test_a_repeated_round_starts_from_the_residual_of_the_round_before(tmp_path: Path):
    kept = ErrorFeedback(tmp_path, "run")
    assert kept.before(1) == {}
    for number in (1, 2, 3):
        kept.save(number, {NAME: np.full(3, number, dtype=np.float32)})
    assert kept.before(3)[NAME].tolist() == [2, 2, 2]
    assert kept.before(4)[NAME].tolist() == [3, 3, 3]
    assert sorted(path.name for path in kept.folder.iterdir()) == ["round_0002.safetensors", "round_0003.safetensors"]
    kept.save(3, {NAME: np.full(3, 9, dtype=np.float32)})
    assert kept.before(3)[NAME].tolist() == [2, 2, 2]
    assert kept.before(4)[NAME].tolist() == [9, 9, 9]
    assert ErrorFeedback(tmp_path, "another").before(4) == {}


@pytest.mark.parametrize("name", ["none", "bf16", "int8"])
def test_shipped_configs_build(name):
    with hydra.initialize_config_module("configs", version_base="1.3"):
        compression = instantiate(hydra.compose(f"compression/{name}").compression)
    given = update()
    assert Compressor.decode(compression.encode(given).arrays)[NAME] == pytest.approx(given[NAME], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "named"), [({"kind": "int4"}, "compression.kind"), ({"block": 0}, "compression.block")]
)
def test_settings_that_cannot_be_are_refused(arguments, named):
    with pytest.raises(UserError, match=named):
        Compressor(**arguments)


@pytest.mark.parametrize("kind", ["bf16", "int8"])
@pytest.mark.parametrize("name", ["encoder.modalities.pathology.norm.running_var", "genomics.expression_variance"])
def test_a_variance_that_falls_to_near_zero_is_not_rounded_to_below_it(kind, name):
    before = np.linspace(0.1, 3, 64, dtype=np.float32)
    after = np.geomspace(1e-9, 1e-3, 64).astype(np.float32)
    compressor = Compressor(kind)
    decoded = compressor.decode(compressor.encode({name: after - before, "head.weight": before}).arrays)
    np.testing.assert_array_equal(decoded[name], after - before)
    assert not np.array_equal(decoded["head.weight"], before)  # weights are narrowed as before
    check_buffer("alpha", name, before, np.asarray(decoded[name]), 32)
