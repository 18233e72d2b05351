//! These are the tests of how siblings are shown: whole answers, byte for byte.

use super::*;

fn value(bytes: &[u8], content_type: &str, meta: &[(&str, &str)]) -> Value {
    let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    Value {
        bytes: bytes.into(),
        content_type: content_type.to_owned(),
        content_encoding: None,
        meta: meta.iter().map(own).collect(),
    }
}

fn siblings(versions: &[Version]) -> Siblings<'_> {
    let sibling = |version| Sibling {
        version,
        writer: "n1".to_owned(),
    };
    Siblings(versions.iter().map(sibling).collect())
}

fn version(micros: u64, value: Option<Value>) -> Version {
    Version {
        time: Time::at_micros(micros),
        value,
    }
}

fn three() -> [Version; 3] {
    let mut packed = value(b"\x1f\x8b", "a/b", &[("k", "v"), ("l", "ä")]);
    packed.content_encoding = Some("gzip".to_owned());
    [
        version(
            1_777_864_921_123_456,
            Some(value(b"hello", "text/plain", &[])),
        ),
        version(1_777_864_921_123_457, None),
        version(1_777_864_921_500_000, Some(packed)),
    ]
}

#[test]
fn shows_each_version_as_a_part() {
    let versions = three();
    let Parts { boundary, bytes } = siblings(&versions).multipart();
    assert_eq!(boundary.len(), "soros-".len() + 32);
    let expected = "\
--B\r
Content-Type: text/plain\r
Soros-Time: 2026-05-04T03:22:01.123456Z\r
Soros-Writer: n1\r
\r
hello\r
--B\r
Soros-Deleted: true\r
Soros-Time: 2026-05-04T03:22:01.123457Z\r
Soros-Writer: n1\r
\r
\r
--B\r
Content-Type: a/b\r
Content-Encoding: gzip\r
Soros-Meta-K: v\r
Soros-Meta-L: ä\r
Soros-Time: 2026-05-04T03:22:01.500000Z\r
Soros-Writer: n1\r
\r
\x1fX\r
--B--\r
";
    let bytes: Vec<u8> = bytes
        .iter()
        .map(|&byte| if byte == 0x8b { b'X' } else { byte })
        .collect();
    let shown = String::from_utf8(bytes).expect("text");
    assert_eq!(shown.replace(&boundary, "B"), expected);
}

#[test]
fn shows_all_versions_as_json() {
    let versions = three();
    let json = String::from_utf8(siblings(&versions).json()).expect("text");
    let expected = [
        r#"{"siblings":[{"value":"aGVsbG8=","content_type":"text/plain","#,
        r#""time":"2026-05-04T03:22:01.123456Z","writer":"n1","deleted":false,"meta":{}},"#,
        r#"{"value":null,"content_type":null,"#,
        r#""time":"2026-05-04T03:22:01.123457Z","writer":"n1","deleted":true,"meta":{}},"#,
        r#"{"value":"H4s=","content_type":"a/b","content_encoding":"gzip","#,
        r#""time":"2026-05-04T03:22:01.500000Z","writer":"n1","deleted":false,"#,
        r#""meta":{"k":"v","l":"ä"}}]}"#,
    ];
    assert_eq!(json, expected.concat());
}

#[test]
fn parts_versions_by_a_line_that_is_in_none() {
    let line = |contents: &[&[u8]]| line_in_none(contents, blake3::Hasher::new());
    let first = line(&[]);
    let second = line(&[b"x", format!("--{first}").as_bytes()]);
    assert_ne!(second, first);
    let third = line(&[first.as_bytes(), second.as_bytes()]);
    assert!(third != first && third != second);
    assert!(has(b"a--b", b"--b") && has(b"--b", b"--b") && has(b"---b", b"--b"));
    assert!(!has(b"--a-b", b"--b") && !has(b"-", b"--b") && !has(b"", b"--b"));
}

#[test]
fn keeps_a_plugins_text_from_becoming_headers() {
    let evil = value(
        b"x",
        "a/b\r\nSoros-Deleted: true",
        &[("a\r\nb", "c"), ("d", "e\nf")],
    );
    let versions = [version(1, Some(evil.clone()))];
    let shown = String::from_utf8(siblings(&versions).multipart().bytes).expect("text");
    assert!(
        !shown.contains("Deleted") && !shown.contains("Meta"),
        "{shown}"
    );
    assert_eq!(fields_of(&evil).count(), 0);
}

#[test]
fn spells_times_to_the_microsecond() {
    assert_eq!(rfc3339(Time::default()), "1970-01-01T00:00:00.000000Z");
    assert_eq!(rfc3339(Time(u64::MAX)), "2112-09-17T23:53:47.370495Z");
}
