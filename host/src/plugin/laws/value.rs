//! This is the values that questions are about: few enough that equal ones are common, of forms
//! that policies know, and now and then of one that none does.

use super::random::Random;
use serde_json::{Map, Number, Value, json};

/// What the values of one question look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    Counter,
    Set,
}

impl Form {
    pub(super) fn any(random: &mut Random) -> Form {
        random.pick(&[Form::Text, Form::Json, Form::Json, Form::Counter, Form::Set])
    }

    /// The type that goes with it.
    pub(super) fn content_type(self, random: &mut Random) -> &'static str {
        match self {
            _ if random.once_in(16) => "application/octet-stream",
            Form::Text => random.pick(&["text/plain", "text/plain; charset=utf-8"]),
            Form::Json | Form::Counter | Form::Set => "application/json",
        }
    }

    /// A value of this form; one in sixteen is of none.
    pub(super) fn value(self, random: &mut Random) -> Vec<u8> {
        if random.once_in(16) {
            return odd(random);
        }
        match self {
            Form::Text => random.pick(&["", "a", "b", "aa", "ab", "ä", "a\n"]).into(),
            Form::Json => json(random, 3).to_string().into_bytes(),
            Form::Counter => counter(random).to_string().into_bytes(),
            Form::Set => set(random).to_string().into_bytes(),
        }
    }
}

/// No text, too much text, JSON that is none or deep.
fn odd(random: &mut Random) -> Vec<u8> {
    match random.below(5) {
        0 => vec![0xff, 0x00, 0xfe],
        1 => b"{\"a\":".to_vec(),
        2 => [b'['; 100].to_vec(),
        3 => vec![b'a'; 16 << 10],
        _ => b"{\"a\":1,\"a\":2}".to_vec(),
    }
}

fn number(random: &mut Random) -> Number {
    let extremes = [0, 1, 2, 3, u64::MAX / 2, u64::MAX];
    match random.below(8) {
        0 => Number::from(-1),
        1 => Number::from_f64(0.5).unwrap_or_else(|| Number::from(0)),
        _ => Number::from(random.pick(&extremes)),
    }
}

fn object(random: &mut Random, mut field: impl FnMut(&mut Random) -> Value) -> Value {
    let count = random.below(4);
    let fields = (0..count).map(|_| {
        let name = random.pick(&["a", "b", "c", "ä", ""]);
        (name.to_owned(), field(random))
    });
    Value::Object(fields.collect::<Map<_, _>>())
}

fn json(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 4 } else { 8 }) {
        0 => Value::Null,
        1 => Value::Bool(random.once_in(2)),
        2 => Value::Number(number(random)),
        3 => Value::from(random.pick(&["", "a", "b", "\u{0}"])),
        4 => {
            let count = random.below(3);
            (0..count).map(|_| json(random, depth - 1)).collect()
        }
        _ => object(random, |random| json(random, depth - 1)),
    }
}

/// A counter, as the policy `counter` reads it.
fn counter(random: &mut Random) -> Value {
    let side = |random: &mut Random| {
        object(random, |random| {
            Value::from(random.pick(&[0, 1, 2, 3, u64::MAX]))
        })
    };
    let (p, n) = (side(random), side(random));
    match random.below(4) {
        0 => json!({"p": p}),
        _ => json!({"p": p, "n": n}),
    }
}

/// A set, as the policy `set` reads it.
fn set(random: &mut Random) -> Value {
    let side = |random: &mut Random| {
        object(random, |random| {
            let count = random.below(3);
            (0..count).map(|_| random.pick(&["1", "2", "3"])).collect()
        })
    };
    let (add, del) = (side(random), side(random));
    match random.below(4) {
        0 => json!({"add": add}),
        _ => json!({"add": add, "del": del}),
    }
}

/// Values that are a little smaller: half as long, or JSON with one part less.
pub(super) fn smaller(value: &[u8]) -> Vec<Vec<u8>> {
    let mut smaller = Vec::new();
    if !value.is_empty() {
        smaller.push(Vec::new());
    }
    if let Ok(json) = serde_json::from_slice::<Value>(value) {
        let parts = with_less(&json).into_iter();
        smaller.extend(parts.map(|json| json.to_string().into_bytes()));
    } else if 1 < value.len() {
        smaller.push(value[..value.len() / 2].to_vec());
        smaller.push(value[..value.len() - 1].to_vec());
    }
    smaller.retain(|less| less.len() < value.len());
    smaller
}

fn with_less(json: &Value) -> Vec<Value> {
    match json {
        Value::Object(fields) => {
            let mut less = Vec::new();
            for (name, field) in fields {
                let mut without = fields.clone();
                without.remove(name);
                less.push(Value::Object(without));
                less.extend(with_less(field).into_iter().map(|field| {
                    let mut changed = fields.clone();
                    changed.insert(name.clone(), field);
                    Value::Object(changed)
                }));
            }
            less
        }
        Value::Array(items) => (0..items.len())
            .map(|at| {
                let mut without = items.clone();
                without.remove(at);
                Value::Array(without)
            })
            .collect(),
        Value::Number(number) if *number != Number::from(0) => vec![json!(0), json!(1)],
        _ => Vec::new(),
    }
}
