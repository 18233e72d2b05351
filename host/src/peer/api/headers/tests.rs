//! These are the tests of what headers say: each line of a request and what it is taken for.

use super::*;
use proptest::prelude::{any, proptest};

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().expect("a name");
        (
            name,
            HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        )
    };
    fields.iter().map(field).collect()
}

fn put(fields: &[(&str, &str)]) -> Result<WriteHeaders, HeaderError> {
    WriteHeaders::of(&headers(fields), Operation::Put)
}

fn read(fields: &[(&str, &str)]) -> Result<ReadHeaders, HeaderError> {
    ReadHeaders::of(&headers(fields))
}

#[track_caller]
fn check_put(fields: &[(&str, &str)], error: HeaderError) {
    assert_eq!(put(fields), Err(error), "{fields:?}");
}

#[test]
fn takes_a_plain_write_as_it_is() {
    let plain = put(&[("host", "h"), ("x-anything", "1"), ("accept", "%%")]).expect("a write");
    assert_eq!(plain.options, Options::default());
    assert_eq!(plain.options.consistency, Consistency::Quorum);
    assert!(!plain.blind);
    assert_eq!(plain.description, Description::default());
    assert_eq!(plain.description.media_type(), "application/octet-stream");
}

#[test]
fn takes_what_a_write_says_of_its_value() {
    let said = put(&[
        ("content-type", "text/plain; charset=utf-8"),
        ("content-encoding", "gzip"),
        ("Soros-Meta-Origin", "København"),
        ("soros-meta-empty", ""),
    ]);
    let description = said.expect("a write").description;
    assert_eq!(description.media_type(), "text/plain; charset=utf-8");
    assert_eq!(description.content_encoding.as_deref(), Some("gzip"));
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        description.meta,
        [field("origin", "København"), field("empty", "")]
    );
}

#[test]
fn takes_identity_for_no_encoding_and_keeps_the_order_of_others() {
    let encoding = |values: &[&str]| {
        let fields: Vec<_> = values
            .iter()
            .map(|value| ("content-encoding", *value))
            .collect();
        put(&fields).expect("a write").description.content_encoding
    };
    assert_eq!(encoding(&["identity"]), None);
    assert_eq!(encoding(&["Identity, "]), None);
    assert_eq!(encoding(&["br, gzip"]).as_deref(), Some("br, gzip"));
    assert_eq!(
        encoding(&["br", "identity,gzip"]).as_deref(),
        Some("br, gzip")
    );
}

#[test]
fn takes_how_a_request_is_meant() {
    for (text, consistency) in [
        ("one", Consistency::One),
        ("quorum", Consistency::Quorum),
        ("all", Consistency::All),
    ] {
        let fields = [("soros-consistency", text)];
        assert_eq!(put(&fields).expect(text).options.consistency, consistency);
        assert_eq!(read(&fields).expect(text).options.consistency, consistency);
    }
    assert!(
        read(&[("soros-route", "redirect")])
            .expect("a read")
            .options
            .redirect
    );
    assert!(put(&[("soros-write", "blind")]).expect("a write").blind);
    let token = put(&[("soros-context", "AAEC_-8")])
        .expect("a write")
        .options
        .token;
    assert_eq!(token, Some(vec![0, 1, 2, 0xff, 0xef]));
    let delete = WriteHeaders::of(&headers(&[("content-type", "a/b")]), Operation::Delete);
    assert_eq!(
        delete.expect("a delete").description,
        Description::default()
    );
}

#[test]
fn refuses_values_that_a_header_cannot_have() {
    for (name, value) in [
        ("soros-consistency", "linearizable"),
        ("soros-consistency", "Quorum"),
        ("soros-consistency", ""),
        ("soros-write", "Blind"),
        ("soros-write", "merge"),
        ("soros-route", "forward"),
        ("soros-ttl", "0"),
        ("soros-ttl", "+5"),
        ("soros-ttl", "1.5"),
        ("soros-ttl", "99999999999"),
        ("idempotency-key", ""),
        ("idempotency-key", "a b"),
    ] {
        let error = put(&[(name, value)]).expect_err(value);
        let refused = matches!(&error, HeaderError::Value { name: at, .. } if at == name);
        assert!(refused, "{name}: {value}: {error:?}");
    }
    let long = "k".repeat(65);
    assert!(matches!(
        put(&[("idempotency-key", &long)]),
        Err(HeaderError::Value { .. })
    ));
}

#[test]
fn refuses_tokens_that_are_not_base64url() {
    for value in ["=", "AA==", "AA+A", "A A", "AB", "ä"] {
        check_put(&[("soros-context", value)], HeaderError::Token);
        let error = read(&[("soros-context", value)]).expect_err(value);
        assert_eq!(error, HeaderError::Token);
    }
    let huge = "A".repeat(TOKEN_BYTES_MAX * 2);
    check_put(&[("soros-context", &huge)], HeaderError::Token);
}

#[test]
fn refuses_headers_there_are_not() {
    for name in [
        "soros-",
        "soros-contexts",
        "soros-epoch",
        "soros-siblings",
        "soros-meta",
    ] {
        check_put(
            &[(name, "1")],
            HeaderError::Unknown(name.parse().expect("a name")),
        );
    }
    let prefix = HeaderName::from_static("soros-meta-");
    check_put(&[("soros-meta-", "1")], HeaderError::Unknown(prefix));
}

#[test]
fn refuses_headers_that_come_twice() {
    for (name, value) in [
        ("soros-context", "AAEC"),
        ("soros-write", "blind"),
        ("soros-consistency", "one"),
        ("soros-route", "redirect"),
        ("soros-meta-a", "1"),
        ("content-type", "text/plain"),
        ("soros-ttl", "5"),
        ("soros-session", "s"),
        ("idempotency-key", "k"),
    ] {
        let name = name.parse::<HeaderName>().expect("a name");
        let twice = [(name.as_str(), value), (name.as_str(), value)];
        check_put(&twice, HeaderError::Repeated(name.clone()));
    }
}

#[test]
fn refuses_headers_of_another_operation() {
    for name in ["soros-write", "soros-ttl", "soros-meta-a"] {
        let error = HeaderError::Misplaced(name.parse().expect("a name"));
        assert_eq!(read(&[(name, "1")]), Err(error.clone()));
        let delete = WriteHeaders::of(&headers(&[(name, "1")]), Operation::Delete);
        assert_eq!(
            delete.is_err_and(|found| found == error),
            name == "soros-meta-a"
        );
    }
}

#[test]
fn refuses_blind_together_with_a_token() {
    let both = [("soros-write", "blind"), ("soros-context", "AAEC")];
    check_put(&both, HeaderError::BlindWithContext);
}

#[test]
fn refuses_what_is_not_built_rather_than_ignore_it() {
    for (name, value) in [
        ("soros-ttl", "1"),
        ("soros-ttl", "315360000"),
        ("idempotency-key", "!~"),
        ("soros-session", "anything"),
    ] {
        let error = HeaderError::NotBuilt(name.parse().expect("a name"));
        check_put(&[(name, value)], error.clone());
        if name != "soros-ttl" {
            assert_eq!(read(&[(name, value)]), Err(error));
        }
    }
}

#[test]
fn refuses_conditions_on_writes() {
    for name in ["if-match", "if-none-match", "if-unmodified-since"] {
        let error = HeaderError::Conditional(name.parse().expect("a name"));
        check_put(&[(name, "*")], error.clone());
        let delete = WriteHeaders::of(&headers(&[(name, "*")]), Operation::Delete);
        assert_eq!(delete, Err(error));
    }
    assert!(read(&[("if-match", "*"), ("if-unmodified-since", "x")]).is_ok());
}

#[test]
fn refuses_parts_of_a_value() {
    check_put(&[("content-range", "bytes 0-1/2")], HeaderError::Partial);
}

#[test]
fn takes_four_kibibytes_of_own_fields_and_no_more() {
    let value = "v".repeat(META_BYTES_MAX - "soros-meta-a".len());
    assert!(put(&[("soros-meta-a", &value)]).is_ok());
    let error = HeaderError::MetaTooLarge(META_BYTES_MAX + "soros-meta-b".len());
    check_put(&[("soros-meta-a", &value), ("soros-meta-b", "")], error);
}

#[test]
fn refuses_types_that_are_not_text_or_too_long() {
    let long = "t/".repeat(CONTENT_TYPE_BYTES_MAX);
    check_put(
        &[("content-type", &long)],
        HeaderError::TooLong(CONTENT_TYPE),
    );
    check_put(
        &[("content-encoding", &long)],
        HeaderError::TooLong(CONTENT_ENCODING),
    );
    check_put(
        &[("content-type", "tëxt/plain")],
        HeaderError::NotText(CONTENT_TYPE),
    );
    let mut fields = HeaderMap::new();
    let name = HeaderName::from_static("soros-meta-a");
    fields.insert(
        name.clone(),
        HeaderValue::from_bytes(&[0xff]).expect("a value"),
    );
    assert_eq!(
        WriteHeaders::of(&fields, Operation::Put),
        Err(HeaderError::NotText(name))
    );
}

proptest! {
    #[test]
    fn never_panics(
        name in "(soros-(context|write|consistency|route|ttl|session|meta-a|x)|if-match|accept)",
        value in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let name: HeaderName = name.parse().expect("a name");
            let headers: HeaderMap = [(name, value)].into_iter().collect();
            for operation in [Operation::Put, Operation::Delete] {
                let _ = WriteHeaders::of(&headers, operation);
            }
            let _ = ReadHeaders::of(&headers);
        }
    }
}
