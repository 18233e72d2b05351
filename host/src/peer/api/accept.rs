//! This is in which forms a client welcomes an answer: its `Accept`, and the choice among the forms
//! there are.
//!
//! `Accept` is a wish. What is asked for by name is given, and what is refused with `q=0` is not;
//! but a value of a type that the client did not think of is worth more to it than a 406.

use http::HeaderValue;
use http::header::GetAll;

/// The media type of siblings as parts.
pub const MULTIPART_MIXED: &str = "multipart/mixed";
/// The media type of siblings as JSON.
pub const SIBLINGS_JSON: &str = "application/vnd.soros.siblings+json";

/// `q=1`, in thousandths.
const QUALITY_MAX: u16 = 1000;

/// A form in which a key can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The one value, as it was written.
    Value,
    /// All versions, as the parts of one message.
    Multipart,
    /// All versions, as JSON.
    Json,
}

/// The media ranges that a client accepts; none means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accept(Vec<Range>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    /// In lower case, such as `text/plain`, `text/*` or `*/*`.
    essence: String,
    /// From 0 to [`QUALITY_MAX`].
    quality: u16,
}

/// How well a range fits a type: the better of two decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Anything,
    Kind,
    Exact,
}

impl Accept {
    /// The media ranges of `Accept` headers. What is not a media range is skipped: real clients
    /// send much that is none.
    pub fn of(values: &GetAll<'_, HeaderValue>) -> Accept {
        let texts = values.iter().filter_map(|value| value.to_str().ok());
        Accept(
            texts
                .flat_map(|text| text.split(','))
                .filter_map(Range::of)
                .collect(),
        )
    }

    /// The form of a key that has one value, or several of which a resolver may make one. `None`
    /// when the client refuses what there is.
    ///
    /// The forms that show all versions are given to who names them, at least as gladly as the
    /// value.
    #[must_use]
    pub fn of_value(&self, content_type: &str) -> Option<Form> {
        let value = self.quality(&essence(content_type));
        let named = self.named();
        if let Some((quality, form)) = named
            && value.unwrap_or(0) <= quality
        {
            return Some(form);
        }
        if value == Some(0) {
            None
        } else {
            Some(Form::Value)
        }
    }

    /// The form of a key whose versions are the answer. `None` when the client refuses all.
    #[must_use]
    pub fn of_siblings(&self) -> Option<Form> {
        let multipart = self.quality(MULTIPART_MIXED);
        let json = self.quality(SIBLINGS_JSON);
        match (self.named(), multipart, json) {
            (Some((_, form)), _, _) => Some(form),
            (None, Some(0), Some(1..)) => Some(Form::Json),
            (None, Some(0), _) => None,
            (None, _, _) => Some(Form::Multipart),
        }
    }

    /// Whether a form that shows all versions is asked for by name, and nothing more gladly.
    #[must_use]
    pub fn wants_all(&self) -> bool {
        self.named()
            .is_some_and(|(quality, _)| quality == QUALITY_MAX)
    }

    /// The form that shows all versions and is asked for by its own name, with how gladly.
    #[must_use]
    pub fn named(&self) -> Option<(u16, Form)> {
        let forms = [
            (MULTIPART_MIXED, Form::Multipart),
            (SIBLINGS_JSON, Form::Json),
        ];
        let quality = |(essence, form)| {
            let named = |range: &&Range| range.essence == essence && 0 < range.quality;
            self.0
                .iter()
                .filter(named)
                .map(|range| range.quality)
                .max()
                .map(|most| (most, form))
        };
        let [multipart, json] = forms.map(quality);
        match (multipart, json) {
            (Some(parts), Some(json)) if parts.0 < json.0 => Some(json),
            (Some(parts), _) => Some(parts),
            (None, json) => json,
        }
    }

    /// How gladly a type is taken, by the ranges that fit it best; `None` when it is not mentioned.
    fn quality(&self, essence: &str) -> Option<u16> {
        let fitting = |range: &Range| Some((range.fit(essence)?, range.quality));
        self.0
            .iter()
            .filter_map(fitting)
            .max()
            .map(|(_, quality)| quality)
    }
}

impl Range {
    fn of(text: &str) -> Option<Range> {
        let mut parts = text.split(';').map(str::trim);
        let essence = match parts.next()? {
            // Java's clients send it.
            "*" => "*/*".to_owned(),
            essence if essence.contains('/') => essence.to_ascii_lowercase(),
            _ => return None,
        };
        let mut quality = QUALITY_MAX;
        for parameter in parts {
            if let Some(("q" | "Q", value)) = parameter.split_once('=') {
                quality = thousandths(value.trim())?;
            }
        }
        Some(Range { essence, quality })
    }

    fn fit(&self, essence: &str) -> Option<Fit> {
        if self.essence == "*/*" {
            return Some(Fit::Anything);
        }
        if self.essence == essence {
            return Some(Fit::Exact);
        }
        let kind = self.essence.strip_suffix('*')?;
        (kind.ends_with('/') && essence.starts_with(kind)).then_some(Fit::Kind)
    }
}

/// A type without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// A number from 0 to 1, such as `0.5`, in thousandths.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = !text.is_empty()
        && part
            .bytes()
            .chain(whole.bytes())
            .all(|b| b.is_ascii_digit());
    if !is_number {
        return None;
    }
    let whole: u16 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let digits = part.chars().chain("000".chars()).take(3);
    let part = digits
        .filter_map(|digit| digit.to_digit(10))
        .fold(0, |sum, digit| sum * 10 + digit);
    Some(
        whole
            .saturating_mul(QUALITY_MAX)
            .saturating_add(u16::try_from(part).ok()?)
            .min(QUALITY_MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use http::header::ACCEPT;
    use proptest::prelude::proptest;

    fn accept(values: &[&str]) -> Accept {
        let field = |value: &&str| (ACCEPT, value.parse::<HeaderValue>().expect("a value"));
        let headers: HeaderMap = values.iter().map(field).collect();
        Accept::of(&headers.get_all(ACCEPT))
    }

    /// What a client gets of a `text/plain` value, and of siblings without a resolver.
    #[track_caller]
    fn check(text: &str, value: Option<Form>, siblings: Option<Form>) {
        let accept = accept(&[text]);
        assert_eq!(
            accept.of_value("text/plain; charset=utf-8"),
            value,
            "{text}"
        );
        assert_eq!(accept.of_siblings(), siblings, "{text}");
    }

    const VALUE: Option<Form> = Some(Form::Value);
    const PARTS: Option<Form> = Some(Form::Multipart);
    const JSON: Option<Form> = Some(Form::Json);

    #[test]
    fn gives_the_value_or_all_parts_to_who_does_not_care() {
        for text in [
            "",
            "*/*",
            "text/plain",
            "text/*;q=0.1",
            "text/html",
            "application/json",
            "*",
        ] {
            check(text, VALUE, PARTS);
        }
        let java = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2";
        check(java, VALUE, PARTS);
        assert_eq!(Accept::default().of_siblings(), PARTS);
    }

    #[test]
    fn gives_all_versions_to_who_asks_for_them_by_name() {
        check("multipart/mixed", PARTS, PARTS);
        check("Multipart/Mixed; boundary=x", PARTS, PARTS);
        check("application/vnd.soros.siblings+json", JSON, JSON);
        check("*/*, multipart/mixed", PARTS, PARTS);
        check(
            "text/plain, application/vnd.soros.siblings+json",
            JSON,
            JSON,
        );
        check(
            "multipart/mixed;q=0.4, application/vnd.soros.siblings+json;q=0.5",
            JSON,
            JSON,
        );
        check(
            "application/vnd.soros.siblings+json, multipart/mixed",
            PARTS,
            PARTS,
        );
        check("multipart/mixed;q=0.9, text/plain;q=0", PARTS, PARTS);
        let two = accept(&["text/html", "multipart/mixed"]);
        assert_eq!(two.of_value("text/plain"), PARTS);
    }

    #[test]
    fn gives_the_value_to_who_likes_it_better() {
        check("text/plain, multipart/mixed;q=0.5", VALUE, PARTS);
        check(
            "*/*;q=0.9, application/vnd.soros.siblings+json;q=0.8",
            VALUE,
            JSON,
        );
    }

    #[test]
    fn gives_nothing_that_is_refused() {
        check("*/*;q=0", None, None);
        check("text/plain;q=0", None, PARTS);
        check("text/plain;q=0, */*", None, PARTS);
        check("multipart/*;q=0, */*;q=0.1", VALUE, JSON);
        check("multipart/mixed;q=0.000", VALUE, None);
        check(
            "multipart/mixed;q=0, application/vnd.soros.siblings+json;q=0, */*",
            VALUE,
            None,
        );
    }

    #[test]
    fn reads_qualities_in_thousandths() {
        for (text, quality) in [
            ("1", 1000),
            ("0.5", 500),
            (".25", 250),
            ("1.000", 1000),
            ("0", 0),
        ] {
            assert_eq!(thousandths(text), Some(quality), "{text}");
        }
        assert_eq!(thousandths("0.12345"), Some(123));
        assert_eq!(thousandths("7"), Some(1000));
        for text in ["", "x", "-1", "0.x", "1e3", "99999999"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ -~]{0,60}", content_type in ".{0,20}") {
            let accept = accept(&[&text]);
            let _ = (accept.of_value(&content_type), accept.of_siblings());
        }
    }
}
