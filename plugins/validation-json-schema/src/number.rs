//! This is numbers as JSON Schema means them: by their value, so that `1` and `1.0` are one,
//! and `0.0075` is a multiple of `0.0001`.

use serde_json::Number;
use std::cmp::Ordering;

/// Which is greater.
pub(crate) fn compare(one: &Number, other: &Number) -> Ordering {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => float(one).total_cmp(&float(other)),
    }
}

/// Whether there is nothing behind the point.
pub(crate) fn is_whole(number: &Number) -> bool {
    !number.is_f64() || float(number).fract() == 0.0
}

/// A size: a whole number that is not negative.
pub(crate) fn size(number: &Number) -> Option<u64> {
    whole(number).and_then(|whole| u64::try_from(whole).ok())
}

/// The number as an integer, if it is one of less than 30 digits.
fn whole(number: &Number) -> Option<i128> {
    if let Some(whole) = number.as_i64() {
        return Some(whole.into());
    }
    if let Some(whole) = number.as_u64() {
        return Some(whole.into());
    }
    let float = float(number);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole, and small enough"
    )]
    (float.fract() == 0.0 && float.abs() < 1e30).then_some(float as i128)
}

fn float(number: &Number) -> f64 {
    number.as_f64().unwrap_or(0.0)
}

/// A number without its sign, as it is written: `digits` times ten to the power of `exponent`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    digits: u128,
    exponent: i32,
}

impl Decimal {
    pub(crate) fn new(number: &Number) -> Decimal {
        if !number.is_f64() {
            let digits = whole(number).unwrap_or(0).unsigned_abs();
            let exponent = 0;
            return Decimal { digits, exponent };
        }
        // The shortest digits that are read as this number again, such as `7.5e-3`.
        let text = format!("{:e}", float(number).abs());
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{before}{behind}").parse().unwrap_or(0);
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let places = i32::try_from(behind.len()).unwrap_or(0);
        Decimal {
            digits,
            exponent: exponent - places,
        }
    }

    pub(crate) fn is_multiple_of(self, divisor: Decimal) -> bool {
        if self.digits == 0 || divisor.digits == 0 {
            return self.digits == 0;
        }
        let exponent = self.exponent - divisor.exponent;
        let shift = exponent.unsigned_abs();
        if 0 <= exponent {
            let power = (0..shift).fold(1, |power, _| power * 10 % divisor.digits);
            let rest = self.digits % divisor.digits;
            return (rest * power).is_multiple_of(divisor.digits);
        }
        let scaled = 10_u128
            .checked_pow(shift)
            .and_then(|power| power.checked_mul(divisor.digits));
        scaled.is_some_and(|scaled| self.digits.is_multiple_of(scaled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        serde_json::from_str(text).expect("a number")
    }

    #[track_caller]
    fn check_order(one: &str, other: &str, expected: Ordering) {
        assert_eq!(compare(&number(one), &number(other)), expected);
    }

    #[test]
    fn orders_by_value() {
        check_order("1", "1.0", Ordering::Equal);
        check_order("-0.0", "0", Ordering::Equal);
        check_order("9007199254740993", "9007199254740992.0", Ordering::Greater);
        check_order("18446744073709551615", "1e20", Ordering::Less);
        check_order("-9223372036854775808", "-1e300", Ordering::Greater);
        check_order("1", "1.5", Ordering::Less);
    }

    #[track_caller]
    fn check_multiple(one: &str, divisor: &str, expected: bool) {
        let [one, divisor] = [one, divisor].map(|text| Decimal::new(&number(text)));
        assert_eq!(one.is_multiple_of(divisor), expected);
    }

    #[test]
    fn divides_as_on_paper() {
        check_multiple("0.0075", "0.0001", true);
        check_multiple("0.00751", "0.0001", false);
        check_multiple("-4.5", "1.5", true);
        check_multiple("1e308", "0.5", true);
        check_multiple("1e308", "0.123456789", false);
        check_multiple("5e-324", "1e300", false);
        check_multiple("18446744073709551615", "5", true);
        check_multiple("0", "3", true);
    }
}
