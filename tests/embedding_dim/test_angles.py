"""`jaxlab.embedding_dim.angles`: entropy of angles: reference values, closed forms, quadrature."""

import math

import numpy as np
import pytest

from jaxlab import embedding_dim as ed

PHI = (1 + math.sqrt(5)) / 2


# Computed with Bessel functions of 40 digits; quadrature agrees.
H = {
    2: -0.571555774445,
    3: -0.809150768538,
    4: -1.0470986509,
    8: -2.00437818270,
    16: -3.92641302540,
    32: -7.77470513067,
    48: -11.6239362892,
    64: -15.4734001602,
    96: -23.1725593524,
    128: -30.8718338323,
    256: -61.6692189226,
    512: -123.264246844,
    1024: -246.454431259,
    4096: -985.59576247,
}


SU = {32: "-7.77471", 64: "-15.4734", 96: "-23.1726", 128: "-30.8718", 256: "-61.6692",
      512: "-123.264"}  # fmt: skip


@pytest.mark.parametrize("n", H)
def test_angle_entropy_has_its_reference_value(n):
    found = ed.angle_entropy(n)
    assert type(found) is float
    assert found == pytest.approx(H[n], abs=1e-8 if n == 4096 else 1e-9)
    if n in SU:
        assert f"{found:.{len(SU[n].split('.')[1])}f}" == SU[n]


@pytest.mark.parametrize("kappa", [0.01, 0.5, 1.0, 3.0, 50.0])
def test_closed_forms_in_one_and_three_dimensions(kappa):
    one = math.log(math.cosh(kappa)) - kappa * math.tanh(kappa)
    assert ed.angle_entropy(1, kappa=kappa) == pytest.approx(one, rel=1e-10)
    k = 3 * kappa
    three = math.log(math.sinh(k) / k) - k * (1 / math.tanh(k) - 1 / k)
    assert ed.angle_entropy(3, kappa=kappa) == pytest.approx(three, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize(("n", "kappa"), [(4, 1.0), (33.5, 0.3), (50, 2.0), (777, 0.7)])
def test_series_agrees_with_quadrature(n, kappa):
    theta = np.linspace(0, np.pi, 100_001)[1:-1]
    log_q = (n - 2) * np.log(np.sin(theta))
    log_q -= np.logaddexp.reduce(log_q)
    log_p = log_q + kappa * n * np.cos(theta)
    log_p -= np.logaddexp.reduce(log_p)
    expected = -np.sum(np.exp(log_p) * (log_p - log_q))
    assert ed.angle_entropy(n, kappa=kappa) == pytest.approx(expected, rel=1e-9)


def test_entropy_falls_with_dimension_and_with_norm():
    values = [ed.angle_entropy(n) for n in np.arange(1, 301, 0.5)]
    assert np.all(np.diff(values) < 0)
    assert np.all(np.diff([ed.angle_entropy(64, kappa=k) for k in (0.1, 0.5, 1, 2, 9)]) < 0)
    assert (ed.angle_entropy(97) - ed.angle_entropy(95)) / 2 == pytest.approx(-0.24060, abs=1e-5)


def test_golden_ratio():
    slope, constant = ed.asymptotic_coefficients()
    assert slope == pytest.approx(math.log(PHI) / 2, rel=1e-15)
    assert constant == pytest.approx(math.log(PHI) - math.log(5) / 4 - 2 / (5 * PHI**2), rel=1e-12)
    assert 2 / slope == pytest.approx(4 / math.log(PHI), rel=1e-15)
    assert 2 / slope == pytest.approx(8.3123477, abs=1e-7)
    assert 2 * constant / math.log(PHI) == pytest.approx(-0.30728, abs=1e-5)
    angle = math.atan(math.sqrt(PHI))  # the post's saddle point
    assert math.cos(angle) == pytest.approx(1 / PHI)
    assert -(math.log(math.sin(angle)) + math.cos(angle) - 1 / PHI) == pytest.approx(slope)


@pytest.mark.parametrize("kappa", [1e-4, 0.25, 0.5, 1.0, 1.5, 2.0, 10.0])
def test_asymptotic_form_for_any_norm(kappa):
    slope, constant = ed.asymptotic_coefficients(kappa=kappa)
    for n in (32, 100, 1000):
        error = ed.angle_entropy(n, kappa=kappa) + slope * n - constant
        assert abs(error) < (0.0014 if kappa == 1 else 0.11 / n)
    stated = {0.25: 69.8, 0.5: 21.3, 1.0: 8.31, 1.5: 5.46, 2.0: 4.25}
    if kappa in stated:
        assert 2 / slope == pytest.approx(stated[kappa], abs=0.06)


@pytest.mark.parametrize(
    ("n", "variance"),
    [(3, 0.467401), (10, 0.110661), (20, 0.0525832), (50, 0.0204053), (100, 0.0101007)],
)
def test_angle_density(n, variance):
    theta = np.linspace(0, np.pi, 20_001)
    p = ed.angle_density(theta, n)
    assert np.trapezoid(p, theta) == pytest.approx(1, abs=1e-7)
    assert np.trapezoid(p * (theta - np.pi / 2) ** 2, theta) == pytest.approx(variance, abs=1e-6)
