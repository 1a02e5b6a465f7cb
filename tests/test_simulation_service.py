"""How long simulated runs take: scripts/simulation/service.py."""

from pathlib import Path

import pytest

from scripts.simulation.service import Service, built_in, measured, read_service


@pytest.mark.parametrize(
    ("name", "milliseconds", "knee", "rate"),
    [
        ("gpu", {1: 4.1, 64: 10.4, 65: 15.6, 96: 15.6, 97: 20.8, 128: 20.8}, 64, 6154),
        ("pad", {1: 4.1, 3: 4.4, 4: 4.4, 33: 10.4, 64: 10.4}, 64, 6154),
        ("cpu", {1: 14.0, 2: 26.0, 32: 386.0}, 32, 82.9),
    ],
)
def test_built_in_services(
    name: str, milliseconds: dict[int, float], knee: int, rate: float
) -> None:
    """The largest size is the last one here; of sizes with equal rates the knee is the smallest."""
    service = built_in(name)
    assert {rows: service.seconds[rows] * 1e3 for rows in milliseconds} == pytest.approx(
        milliseconds
    )
    assert service.cap == service.sizes[-1] == max(milliseconds)
    assert service.knee == knee
    assert service.best_rate == pytest.approx(rate, rel=1e-3)


def test_times_between_measured_sizes_are_linear() -> None:
    """Below the smallest measured size, the time is that of this size."""
    service = measured("mine", {8: 4.0, 2: 1.0, 4: 3.0})
    assert service == Service("mine", (0.0, 1.0, 1.0, 2.0, 3.0, 3.25, 3.5, 3.75, 4.0), (2, 4, 8))
    assert service.knee == 2


def test_a_file_has_seconds_by_rows(tmp_path: Path) -> None:
    """In any order."""
    path = tmp_path / "mine.json"
    path.write_text('{"1": 0.5, "16": 2, "4": 1}')
    assert read_service(path) == measured("mine.json", {1: 0.5, 4: 1.0, 16: 2.0})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\xff\xfe", "not JSON"),
        ("{}", "expected seconds by rows"),
        ("[]", "expected seconds by rows"),
        ("[1]", "expected seconds by rows"),
        ("3", "expected seconds by rows"),
        ('{"0": 1}', "expected rows from 1 to 65,536, got '0'"),
        ('{"-1": 1}', "expected rows"),
        ('{"1.5": 1}', "expected rows"),
        ('{"65537": 1}', "expected rows"),
        ('{"rows": {"1": 1}}', "expected rows"),
        ('{"1": 1, "1": 2}', "1 rows are given twice"),
        ('{"1": 0}', "expected from a microsecond to an hour for 1 rows"),
        ('{"1": -1}', "expected from a microsecond to an hour"),
        ('{"1": 4.1, "2": 4100}', "expected from a microsecond to an hour for 2 rows"),
        ('{"1": NaN}', "expected from a microsecond to an hour for 1 rows, in seconds; got nan"),
        ('{"1": Infinity}', "expected from a microsecond to an hour"),
        ('{"1": 1e999}', "expected from a microsecond to an hour"),
        ('{"1": true}', "expected from a microsecond to an hour"),
        ('{"1": "1"}', "expected from a microsecond to an hour"),
        ('{"1": null}', "expected from a microsecond to an hour"),
        ('{"1": {"1": 1}}', "expected from a microsecond to an hour"),
        ('{"1": ' + "1" * 400 + "}", "expected from a microsecond to an hour"),
        ('{"1": ' + "1" * 9000 + "}", "not JSON"),
        (" " * 4_000_001, "expected at most 4,000,000 bytes"),
    ],
    ids=range(26),
)
def test_anything_else_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    """The error states what was expected."""
    path = tmp_path / "wrong.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=problem) as raised:
        read_service(path)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 200
