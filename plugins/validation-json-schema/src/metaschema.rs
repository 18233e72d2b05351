//! This is the schema of schemas, for those that refer to it.

use serde_json::Value;

/// The address of the schema of schemas.
pub(crate) const ADDRESS: &str = "https://json-schema.org/draft/2020-12/schema";
/// How the addresses of vocabularies begin.
pub(crate) const VOCABULARIES: &str = "https://json-schema.org/draft/2020-12/vocab/";

const DOCUMENTS: &str = include_str!("metaschema/draft2020-12.json");
const PREFIX: &str = "https://json-schema.org/draft/2020-12/";

/// The documents of the schema of schemas, if any of these refers to one: to read them takes time.
pub(crate) fn referred_to<'a>(documents: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut waiting: Vec<&Value> = documents.collect();
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(list) => waiting.extend(list),
            Value::Object(object) => {
                let refers = |keyword: &str| {
                    let reference = object.get(keyword).and_then(Value::as_str);
                    reference.is_some_and(|reference| reference.starts_with(PREFIX))
                };
                if ["$ref", "$dynamicRef", "$id"].into_iter().any(refers) {
                    return serde_json::from_str(DOCUMENTS).unwrap_or_default();
                }
                waiting.extend(object.values());
            }
            _ => {}
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_where_it_is_referred_to() {
        let other = serde_json::json!({"items": [{"$ref": "#/a"}, {"$schema": ADDRESS}]});
        assert!(referred_to([&other].into_iter()).is_empty());
        let one = serde_json::json!({"items": [{"$ref": ADDRESS}]});
        assert_eq!(referred_to([&one].into_iter()).len(), 9);
    }
}
