//! This is the formats that texts may be asked to have. A format that is not here holds for all.

use crate::pattern;
use crate::uri::is_scheme;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A format by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format(&'static str);

const NAMES: [&str; 18] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "idn-email",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
];

impl std::fmt::Display for Format {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

impl Format {
    /// The format with this name, if it is known.
    pub(crate) fn named(name: &str) -> Option<Format> {
        let known = NAMES.iter().find(|known| **known == name);
        known.map(|known| Format(known))
    }

    /// Whether `text` has it.
    pub(crate) fn has(self, text: &str) -> bool {
        match self.0 {
            "date" => is_date(text),
            "date-time" => text
                .split_once(['T', 't'])
                .is_some_and(|(date, time)| is_date(date) && is_time(time)),
            "duration" => is_duration(text),
            "email" => text.is_ascii() && is_email(text),
            "idn-email" => is_email(text),
            "hostname" => is_hostname(text),
            "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
            "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
            "iri" => is_reference(text, true) && has_scheme(text),
            "iri-reference" => is_reference(text, true),
            "uri" => is_reference(text, false) && has_scheme(text),
            "uri-reference" => is_reference(text, false),
            "json-pointer" => is_pointer(text),
            "relative-json-pointer" => is_relative_pointer(text),
            "regex" => pattern::compile(text).is_ok(),
            "time" => is_time(text),
            "uri-template" => is_template(text),
            "uuid" => is_uuid(text),
            _ => true,
        }
    }
}

/// A number of exactly so many digits.
fn digits(text: &str, count: usize) -> Option<u32> {
    let is_number = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return false;
    };
    let (Some(year), Some(month), Some(day)) = (digits(year, 4), digits(month, 2), digits(day, 2))
    else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

fn is_time(text: &str) -> bool {
    clock(text).is_some_and(|(hour, minute, second, offset)| {
        // A leap second is the last one of a day of UTC.
        let utc = (hour * 60 + minute).rem_euclid(1440) - offset;
        second < 60 || second == 60 && utc.rem_euclid(1440) == 1439
    })
}

/// Hour, minute, second, and by how many minutes it is ahead of UTC.
fn clock(text: &str) -> Option<(i32, i32, i32, i32)> {
    let number = |text: &str, limit: u32| digits(text, 2).filter(|number| *number < limit);
    let (hour, minute, rest) = (text.get(..2)?, text.get(2..5)?, text.get(5..)?);
    let (hour, minute) = (number(hour, 24)?, number(minute.strip_prefix(':')?, 60)?);
    let (second, rest) = rest.strip_prefix(':')?.split_at_checked(2)?;
    let second = number(second, 61)?;
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|char: char| char.is_ascii_digit());
            (zone.len() < fraction.len()).then_some(zone)?
        }
        None => rest,
    };
    let offset = match rest {
        "Z" | "z" => 0,
        zone => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let minutes = number(hours, 24)? * 60 + number(minutes, 60)?;
            let minutes = i32::try_from(minutes).ok()?;
            match zone.as_bytes()[0] {
                b'+' => minutes,
                b'-' => -minutes,
                _ => return None,
            }
        }
    };
    let [hour, minute, second] = [hour, minute, second].map(|part| i32::try_from(part).ok());
    Some((hour?, minute?, second?, offset))
}

fn is_duration(text: &str) -> bool {
    let Some(text) = text.strip_prefix('P') else {
        return false;
    };
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let is_week = time.is_none() && units(date, "W");
    let has_date = date.is_empty() && time.is_some() || units(date, "YMD");
    is_week || has_date && time.is_none_or(|time| units(time, "HMS"))
}

/// Whether `text` is numbers with units that follow each other in `order`.
fn units(text: &str, order: &str) -> bool {
    let (mut rest, mut order) = (text, order);
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|char: char| char.is_ascii_digit());
        let Some(name) = unit.chars().next().filter(|_| unit.len() < rest.len()) else {
            return false;
        };
        let Some(at) = order.find(name) else {
            return false;
        };
        let is_gap = rest.len() < text.len() && at != 0;
        if is_gap {
            return false;
        }
        (rest, order) = (&unit[1..], &order[at + 1..]);
    }
    !text.is_empty()
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let is_atom = |atom: &str| {
        let inner = |char: char| {
            !char.is_ascii() || char.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(char)
        };
        !atom.is_empty() && atom.chars().all(inner)
    };
    let quoted = local
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let is_local = match quoted {
        Some(inner) => is_quotable(inner),
        None => local.split('.').all(is_atom),
    };
    let literal = domain
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_domain = match literal {
        Some(address) => match address.strip_prefix("IPv6:") {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => address.parse::<Ipv4Addr>().is_ok(),
        },
        None => !domain.is_ascii() || is_hostname(domain),
    };
    is_local && is_domain
}

fn is_quotable(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let is_fine = match char {
            '"' => false,
            '\\' => chars.next().is_some(),
            other => !other.is_control(),
        };
        if !is_fine {
            return false;
        }
    }
    true
}

fn is_hostname(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
            && (label.get(2..4) != Some("--") || label.starts_with("xn--"))
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(is_scheme)
}

fn is_reference(text: &str, is_iri: bool) -> bool {
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let is_allowed = |char: char| {
        char.is_ascii_alphanumeric()
            || "-._~:/?[]@!$&'()*+,;=%".contains(char)
            || is_iri && !char.is_ascii() && !char.is_control() && !char.is_whitespace()
    };
    let has_brackets = |text: &str| text.contains(['[', ']']);
    if !text.chars().all(|char| char == '#' || is_allowed(char))
        || !has_whole_escapes(text)
        || fragment.contains('#')
        || has_brackets(fragment)
    {
        return false;
    }
    let rest = match before.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => rest,
        // The first segment of a relative path has no colon.
        Some((first, _)) if !first.contains(['/', '?']) => return false,
        _ => before,
    };
    let Some(rest) = rest.strip_prefix("//") else {
        return !has_brackets(rest);
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    is_authority(&rest[..end]) && !has_brackets(&rest[end..])
}

fn has_whole_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let hex = rest.as_bytes().get(..2);
        hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

fn is_authority(text: &str) -> bool {
    let (user, host) = text.rsplit_once('@').unwrap_or(("", text));
    let (host, port) = match host.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, port)) => {
                let is_address = address.parse::<Ipv6Addr>().is_ok() || address.starts_with('v');
                (
                    if is_address { "" } else { "[" },
                    port.strip_prefix(':')
                        .or_else(|| port.is_empty().then_some("")),
                )
            }
            None => return false,
        },
        None => match host.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host, Some("")),
        },
    };
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    !user.contains(['[', ']', '@'])
        && !host.contains(['[', ']', ':'])
        && port.is_some_and(is_number)
}

fn is_pointer(text: &str) -> bool {
    let has_whole_tildes = text
        .split('~')
        .skip(1)
        .all(|rest| rest.starts_with(['0', '1']));
    (text.is_empty() || text.starts_with('/')) && has_whole_tildes
}

fn is_relative_pointer(text: &str) -> bool {
    let rest = text.trim_start_matches(|char: char| char.is_ascii_digit());
    let up = &text[..text.len() - rest.len()];
    let is_number = !up.is_empty() && (up == "0" || !up.starts_with('0'));
    is_number && (rest == "#" || is_pointer(rest))
}

fn is_template(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}', ' ', '"', '\'', '<', '>', '\\', '^', '`', '|']) {
        let Some(inner) = rest[at..].strip_prefix('{') else {
            return false;
        };
        let Some((expression, behind)) = inner.split_once('}') else {
            return false;
        };
        if !is_expression(expression) {
            return false;
        }
        rest = behind;
    }
    has_whole_escapes(text)
}

fn is_expression(text: &str) -> bool {
    let names = text
        .strip_prefix(['+', '#', '.', '/', ';', '?', '&'])
        .unwrap_or(text);
    names.split(',').all(|name| {
        let name = name.strip_suffix('*').unwrap_or(name);
        let (name, length) = name.split_once(':').unwrap_or((name, "1"));
        let inner = |char: char| char.is_ascii_alphanumeric() || "_.%".contains(char);
        let is_length = length.len() <= 4 && length.parse::<u16>().is_ok_and(|length| 0 < length);
        !name.is_empty() && name.chars().all(inner) && is_length
    })
}

fn is_uuid(text: &str) -> bool {
    let is_part = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.split('-').all(is_part)
}
