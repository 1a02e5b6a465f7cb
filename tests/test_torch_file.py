"""Legacy torch.save files: what is read, and what is refused."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from model.backends.tensorflow.default_model.torch_file import (
    ForbiddenGlobalError,
    TorchFileError,
    read_torch_file,
)
from tests.torch_files import Call, Global, Persistent, pickled, torch_file, torch_tensor

TWELVE = np.arange(12, dtype="<f4")
GOOD = torch_file(
    {
        "weight": torch_tensor("1", 12, (3, 4), (4, 1)),
        "tracked": torch_tensor("2", 1, (), (), kind="LongStorage"),
    },
    {"1": TWELVE, "2": np.array([7], "<i8")},
)


def read_view(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0
) -> npt.NDArray[np.generic]:
    """Return the view of the twelve numbers as the reader returns it."""
    view = torch_tensor("1", 12, shape, strides, offset=offset)
    return read_torch_file(torch_file({"x": view}, {"1": TWELVE}))["x"]


def test_a_file_gives_its_arrays_by_name() -> None:
    """Names in order, dtypes and shapes as saved, a scalar among them."""
    arrays = read_torch_file(GOOD)
    assert list(arrays) == ["weight", "tracked"]
    np.testing.assert_array_equal(arrays["weight"], TWELVE.reshape(3, 4))
    assert arrays["weight"].dtype == np.float32
    assert arrays["tracked"].dtype == np.int64
    assert arrays["tracked"].tolist() == 7


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "expected"),
    [
        ((4, 3), (1, 4), 0, TWELVE.reshape(3, 4).T),
        ((2, 2), (6, 2), 1, [[1, 3], [7, 9]]),
        ((3,), (1,), 9, [9, 10, 11]),
        ((1, 12), (10**30, 1), 0, TWELVE.reshape(1, 12)),
        ((0, 4), (4, 1), 0, np.empty((0, 4))),
    ],
    ids=["transposed", "spaced", "at the end", "a step never taken", "empty"],
)
def test_offsets_and_strides_count_elements_of_the_storage(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int, expected: object
) -> None:
    """A view need not be contiguous, nor begin at the start of its storage."""
    np.testing.assert_array_equal(read_view(shape, strides, offset), np.array(expected))


def test_each_array_is_a_contiguous_copy_of_its_own() -> None:
    """Two tensors of one storage do not share memory, and both may be written to."""
    views = {name: torch_tensor("1", 12, (4, 3), (1, 4)) for name in ("a", "b")}
    arrays = read_torch_file(torch_file(views, {"1": TWELVE}))
    assert not np.shares_memory(arrays["a"], arrays["b"])
    for array in arrays.values():
        assert array.flags.c_contiguous
        assert array.flags.writeable


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("DoubleStorage", "<f8"),
        ("FloatStorage", "<f4"),
        ("HalfStorage", "<f2"),
        ("LongStorage", "<i8"),
        ("IntStorage", "<i4"),
        ("ShortStorage", "<i2"),
        ("CharStorage", "<i1"),
        ("ByteStorage", "<u1"),
        ("BoolStorage", "?"),
    ],
)
def test_every_storage_type_has_its_dtype(kind: str, dtype: str) -> None:
    """The numbers read equal the numbers saved."""
    numbers = np.array([0, 1, 100], dtype)
    data = torch_file({"x": torch_tensor("k", 3, (3,), (1,), kind=kind)}, {"k": numbers})
    array = read_torch_file(data)["x"]
    assert array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(array, numbers)


def test_an_ordered_dict_of_parameters_is_read_as_its_tensors() -> None:
    """The form in which a module's own weights are saved."""
    hooks = Call(Global("collections", "OrderedDict"), ())
    parameter = Call(
        Global("torch._utils", "_rebuild_parameter"),
        (torch_tensor("1", 12, (12,), (1,)), True, hooks),
    )
    value = Call(Global("collections", "OrderedDict"), ([["x", parameter]],))
    np.testing.assert_array_equal(read_torch_file(torch_file(value, {"1": TWELVE}))["x"], TWELVE)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("posix", "system"),
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("collections", "OrderedDict.update"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("numpy", "fromfile"),
    ],
)
def test_a_name_that_is_not_on_the_list_is_refused_by_name(module: str, name: str) -> None:
    """Anything but an OrderedDict, a tensor, a parameter or a storage."""
    data = torch_file({"x": Call(Global(module, name), ("argument",))}, {})
    with pytest.raises(ForbiddenGlobalError, match=f"{module}.{name}, which is not") as caught:
        read_torch_file(data)
    assert (caught.value.module, caught.value.name) == (module, name)


def test_a_pickle_that_runs_a_command_runs_nothing(tmp_path: Path) -> None:
    """In each of the five pickles; a plain unpickler would have made the file."""
    victim = tmp_path / "made by the pickle"
    evil = Call(Global("posix", "system"), (f"touch '{victim}'",))
    good: tuple[object, ...] = (0x1950A86A20F9469CFC6C, 1001, {}, {}, [])
    for place in range(len(good)):
        pickles = (*good[:place], evil, *good[place + 1 :])
        with pytest.raises(ForbiddenGlobalError, match=r"posix\.system"):
            read_torch_file(b"".join(map(pickled, pickles)))
        assert not victim.exists()


def test_a_file_cut_short_anywhere_is_refused() -> None:
    """After any byte except the last."""
    read_torch_file(GOOD)
    for length in range(len(GOOD)):
        with pytest.raises(TorchFileError):
            read_torch_file(GOOD[:length])


VIEW = torch_tensor("1", 12, (12,), (1,))
STORED = {"1": TWELVE}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "magic number cannot be read"),
        (b"PK\x03\x04 and more", "newer zip format"),
        (torch_file({}, {}, magic_number=5), "not a torch.save file: magic number 5"),
        (torch_file({}, {}, protocol=1002), "protocol 1002, not 1001"),
        (GOOD + b"!", "1 bytes follow the last storage"),
        (
            GOOD[:-1],
            f"cut short: storage 2 needs {len(GOOD)} bytes, the file has {len(GOOD) - 1}",
        ),
        (torch_file([VIEW], STORED), "holds a list, not tensors by name"),
        (torch_file({1: VIEW}, STORED), "named 1, not by a string"),
        (torch_file({"epoch": 3}, {}), "epoch is a int, not a tensor"),
        (torch_file({"x": VIEW}, {}), "are not those listed"),
        (torch_file({}, STORED), "are not those listed"),
        (torch_file({"x": VIEW}, {"1": TWELVE[:11]}), "cut short"),
        (
            torch_file({"x": torch_tensor("1", 11, (11,), (1,))}, STORED),
            "storage 1 has 12 numbers, not 11",
        ),
        (
            torch_file({"x": VIEW, "y": torch_tensor("1", 6, (6,), (1,))}, STORED),
            "storage 1 is described in two ways",
        ),
        (
            torch_file({"x": torch_tensor("1", -1, (12,), (1,))}, STORED),
            "has -1 where a count is expected",
        ),
        (
            torch_file({"x": torch_tensor("1", 12, (1,) * 33, (1,) * 33)}, STORED),
            "a tensor has shape",
        ),
        (
            torch_file({"x": torch_tensor("1", 12, (12,), ())}, STORED),
            r"shape \(12,\) and strides \(\)",
        ),
        (torch_file({"x": Persistent(("module", "a"))}, {}), "a storage is described as"),
        (
            torch_file(
                {"x": Persistent(("storage", Global("torch", "FloatStorage"), "1", "cpu", 4, "v"))},
                {},
            ),
            "a storage is described as",
        ),
        (
            torch_file(
                {"x": Call(Global("torch._utils", "_rebuild_tensor_v2"), ("no", 0, (), ()))}, {}
            ),
            "'no', which is not a storage",
        ),
    ],
)
def test_what_is_inconsistent_is_refused_and_named(data: bytes, message: str) -> None:
    """Each error holds the numbers that do not agree."""
    with pytest.raises(TorchFileError, match=message):
        read_torch_file(data)


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((12,), (1,), 1),
        ((3, 4), (5, 1), 0),
        ((2**40,), (0,), 0),
        ((-12,), (1,), 0),
        ((12,), (-1,), 11),
        ((12,), (1,), -1),
    ],
    ids=["too far", "too wide", "a bomb", "negative size", "backwards", "before"],
)
def test_a_view_must_lie_within_its_storage(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    """No byte outside the storage is read, and a stride of 0 cannot fill the memory."""
    with pytest.raises(
        TorchFileError, match=r"does not fit its storage of 12|where a count is expected"
    ):
        read_view(shape, strides, offset)
