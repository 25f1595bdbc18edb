//! Special functions that the standard library lacks.

/// The error function, to about 1e-15 relative: the series `2/sqrt(pi) e^(-x^2) sum 2^n x^(2n+1) / (2n+1)!!`,
/// whose terms all have one sign (Abramowitz and Stegun 7.1.6).
pub fn erf(x: f64) -> f64 {
    // 1 - erf(6) is 2e-17, below half a unit in the last place of 1.
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn erf_agrees_with_tables() {
        // Abramowitz and Stegun, table 7.1; erf(3) to 15 digits.
        let table =
            [(0.1, 0.112_462_916_018), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (3.0, 0.999_977_909_503)];
        for (x, wanted) in table {
            assert!((erf(x) - wanted).abs() < 1e-10, "{x}");
            assert_eq!(erf(-x), -erf(x));
        }
        assert_eq!((erf(0.0), erf(7.0), erf(f64::NEG_INFINITY)), (0.0, 1.0, -1.0));
        assert!(erf(f64::NAN).is_nan());
    }
}
