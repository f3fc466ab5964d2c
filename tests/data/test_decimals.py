"""Numbers read many at a time are those that ``float`` gives."""

from __future__ import annotations

import random

import numpy as np
import pytest

from evcap_cli.data.decimals import parse_rows

FORMS = (
    *("0.1", "-0.1", "0.12345678", "-9.99999999", "0.0", "-0.0", "5.", "1.00000001", "3.4028234", "0.00000001"),
    *("1", "-1", "12.5", "-123.456", ".5", "-.5", "1e-05", "-5.6E+02", "0.123456789", "0.04655999690294266", "+0.5"),
)


@pytest.mark.parametrize("text", FORMS)
def test_every_form_of_a_number_is_read_as_float_reads_it(text: str) -> None:
    found = parse_rows([text.encode()], 1)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[np.float32(float(text))]])
    assert np.signbit(found[0, 0]) == text.startswith("-")


def test_many_random_numbers_are_read_to_the_bit() -> None:
    draw = random.Random(7)
    texts = [
        f"{draw.gauss(0, 1) * 10 ** draw.randint(-4, 2):.{draw.randint(0, 17)}{draw.choice('fg')}}"
        for _ in range(30000)
    ]
    rows = [" ".join(texts[n : n + 300]).encode() for n in range(0, len(texts), 300)]
    expected = np.array([float(text) for text in texts]).astype(np.float32).reshape(-1, 300)
    assert parse_rows(rows, 300).tobytes() == expected.tobytes()


@pytest.mark.parametrize("text", ["a", "0.1a", "0.:", "1.2.3", "--1", "0x1", "nan", "inf", "1.2e", "-", "\xff"])
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rows([b"0.5 0.25", b"0.5 " + text.encode("latin-1")], 2)


@pytest.mark.parametrize("row", [b"0.5", b"0.5 0.5 0.5", b"0.5  0.5", b""])
def test_another_count_of_numbers_is_refused(row: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rows([b"0.5 0.25", row], 2)


def test_no_row_is_a_table_without_rows() -> None:
    assert parse_rows([], 5).shape == (0, 5)
