//! This is a policy's configuration: any JSON, kept as data, with the one spelling (RFC 8785) under
//! which two nodes agree on what it is.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Any JSON value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A whole number below 0.
    Signed(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// `{}`: the configuration of a policy that was given none.
    #[must_use]
    pub fn empty() -> Json {
        Json::Object(BTreeMap::new())
    }

    /// The value as RFC 8785 spells it: no spaces, keys in the order of their UTF-16 units, numbers
    /// as ECMAScript prints them. Whole numbers beyond 2^53 keep all their digits, so that two
    /// different configurations never look alike.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        self.spell(&mut text);
        text
    }

    fn spell(&self, text: &mut String) {
        match self {
            Json::Null => text.push_str("null"),
            Json::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Json::Unsigned(value) => spell_display(value, text),
            Json::Signed(value) => spell_display(value, text),
            Json::Float(value) => spell_float(*value, text),
            Json::Text(value) => spell_text(value, text),
            Json::List(items) => spell_list(items, text),
            Json::Object(fields) => spell_object(fields, text),
        }
    }
}

fn spell_display(value: impl std::fmt::Display, text: &mut String) {
    write!(text, "{value}").expect("a string takes all that is written to it");
}

fn spell_list(items: &[Json], text: &mut String) {
    text.push('[');
    for (at, item) in items.iter().enumerate() {
        if 0 < at {
            text.push(',');
        }
        item.spell(text);
    }
    text.push(']');
}

fn spell_object(fields: &BTreeMap<String, Json>, text: &mut String) {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    text.push('{');
    for (at, (name, value)) in fields.into_iter().enumerate() {
        if 0 < at {
            text.push(',');
        }
        spell_text(name, text);
        text.push(':');
        value.spell(text);
    }
    text.push('}');
}

fn spell_text(value: &str, text: &mut String) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            '\0'..='\u{1f}' => spell_display(format_args!("\\u{:04x}", u32::from(letter)), text),
            _ => text.push(letter),
        }
    }
    text.push('"');
}

/// ECMAScript's `Number::toString`: the shortest digits that read back as the number, with an
/// exponent only below 1e-6 and from 1e21.
fn spell_float(value: f64, text: &mut String) {
    if value == 0.0 {
        return text.push('0');
    }
    let shortest = format!("{:e}", value.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits: String = mantissa.chars().filter(|&digit| digit != '.').collect();
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value < 0.0 {
        text.push('-');
    }
    spell_digits(&digits, exponent, text);
}

/// Writes `digits`, of which the first has the weight 10^`exponent`.
fn spell_digits(digits: &str, exponent: i32, text: &mut String) {
    let whole = usize::try_from(exponent + 1).unwrap_or(0);
    match exponent {
        0..=20 if digits.len() <= whole => {
            text.push_str(digits);
            text.extend(std::iter::repeat_n('0', whole - digits.len()));
        }
        0..=20 => {
            let (before, after) = digits.split_at(whole);
            spell_display(format_args!("{before}.{after}"), text);
        }
        -6..=-1 => {
            let zeros = usize::try_from(-exponent - 1).unwrap_or(0);
            text.push_str("0.");
            text.extend(std::iter::repeat_n('0', zeros));
            text.push_str(digits);
        }
        _ => {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            spell_display(format_args!("{first}{point}{rest}e{exponent:+}"), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, canonical: &str) {
        let value: Json = serde_json::from_str(json).expect("JSON");
        assert_eq!(value.canonical(), canonical);
        let again: Json = serde_json::from_str(canonical).expect("what was spelt is JSON");
        assert_eq!(again.canonical(), canonical);
    }

    #[test]
    fn spells_numbers_as_ecmascript_does() {
        check(
            "[0, -0.0, 2.0, -7, 18446744073709551615]",
            "[0,0,2,-7,18446744073709551615]",
        );
        check(
            "[1e20, 1e21, 1.5e300]",
            "[100000000000000000000,1e+21,1.5e+300]",
        );
        check(
            "[1e-6, 1e-7, 0.00123, -12.5]",
            "[0.000001,1e-7,0.00123,-12.5]",
        );
        check(
            "[333333333.33333329, 4.50, 2e-3]",
            "[333333333.3333333,4.5,0.002]",
        );
    }

    #[test]
    fn spells_text_with_the_fewest_escapes() {
        check(
            r#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/""#,
            "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"",
        );
    }

    #[test]
    fn sorts_keys_by_their_utf_16_units() {
        check(
            "{\"\u{fb33}\": 1, \"\u{1f600}\": 2, \"b\": {}, \"a\": null}",
            "{\"a\":null,\"b\":{},\"\u{1f600}\":2,\"\u{fb33}\":1}",
        );
    }
}
