//! This is a table for people: columns as wide as they need to be, one row a line.

use serde_json::Value;

/// The lines of a table with these titles.
pub(super) fn lines(titles: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let titles: Vec<String> = titles.iter().map(|&title| title.to_owned()).collect();
    let all = || std::iter::once(&titles).chain(rows);
    let width = |column: usize| {
        all()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    all().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// A JSON value as a cell: a text without its quotes, nothing as `-`, a list with commas.
pub(super) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) && !items.is_empty() => {
            items
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(",")
        }
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// A number of bytes as a cell: in the largest unit of 1024 that leaves one before the point.
pub(super) fn bytes(value: Option<&Value>) -> String {
    let Some(bytes) = value.and_then(Value::as_u64) else {
        return cell(value);
    };
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let at = (0..units.len())
        .rev()
        .find(|&at| bytes >> (10 * at) != 0)
        .unwrap_or(0);
    let tenths = match at {
        0 => return format!("{bytes} B"),
        at => (bytes >> (10 * (at - 1))) * 10 / 1024,
    };
    format!("{}.{} {}", tenths / 10, tenths % 10, units[at])
}

/// The fields of a JSON object, one a line.
pub(super) fn fields(object: &Value) -> Vec<String> {
    let fields = object.as_object().into_iter().flatten();
    let rows: Vec<Vec<String>> = fields
        .map(|(name, value)| vec![name.clone(), cell(Some(value))])
        .collect();
    lines(&["FIELD", "VALUE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn aligns_columns_by_characters() {
        let rows = vec![
            vec!["ä".to_owned(), "1".to_owned()],
            vec!["long".to_owned(), String::new()],
        ];
        assert_eq!(
            lines(&["N", "COUNT"], &rows),
            ["N     COUNT", "ä     1", "long"]
        );
    }

    #[test]
    fn shows_json_without_its_marks() {
        assert_eq!(cell(Some(&json!("a"))), "a");
        assert_eq!(cell(Some(&json!(["a", "b"]))), "a,b");
        assert_eq!(cell(Some(&json!([]))), "-");
        assert_eq!(cell(Some(&json!({"plugin": "lww"}))), r#"{"plugin":"lww"}"#);
        assert_eq!(cell(None), "-");
    }

    #[test]
    fn shows_bytes_in_units_that_people_read() {
        let cases = [
            (json!(0), "0 B"),
            (json!(1023), "1023 B"),
            (json!(1536), "1.5 KiB"),
            (json!(4_194_304), "4.0 MiB"),
            (json!(270_553_174_016_u64), "251.9 GiB"),
            (json!(u64::MAX), "15.9 EiB"),
            (Value::Null, "-"),
        ];
        for (value, expected) in cases {
            assert_eq!(bytes(Some(&value)), expected);
        }
    }
}
