//! Documents as they are compared: two sinks keep them, and each server writes members and numbers in its own way.

use serde_json::Value as Json;

/// The bytes of a document: its members in the order of their names, its numbers as doubles. What is none is compared as it is.
pub(crate) fn compared(text: &[u8]) -> Vec<u8> {
    serde_json::from_slice(text).map_or_else(|_| text.to_vec(), |json| bytes(&json))
}

/// The same of a document that was read already.
pub(crate) fn bytes(json: &Json) -> Vec<u8> {
    fn write(json: &Json, out: &mut Vec<u8>) {
        match json {
            Json::Null => out.push(b'0'),
            Json::Bool(b) => out.extend_from_slice(&[b'b', u8::from(*b)]),
            Json::Number(n) => {
                out.push(b'n');
                out.extend_from_slice(&float(n.as_f64().unwrap_or(f64::NAN)));
            }
            Json::String(text) => {
                out.push(b's');
                out.extend_from_slice(&(text.len() as u64).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Json::Array(items) => {
                out.push(b'[');
                out.extend_from_slice(&(items.len() as u64).to_be_bytes());
                for item in items {
                    write(item, out);
                }
            }
            Json::Object(members) => {
                let mut names: Vec<&String> = members.keys().collect();
                names.sort();
                out.push(b'{');
                out.extend_from_slice(&(names.len() as u64).to_be_bytes());
                for name in names {
                    write(&Json::String(name.clone()), out);
                    write(&members[name], out);
                }
            }
        }
    }
    let mut out = Vec::new();
    write(json, &mut out);
    out
}

/// The bytes of a float; there are many that are no number, and one word for all of them.
pub(crate) fn float(f: f64) -> Vec<u8> {
    let f = if f.is_nan() { f64::NAN } else { f };
    f.to_be_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_compared_by_what_they_say() {
        let of = |text: &str| compared(text.as_bytes());
        assert_eq!(of(r#"{"a": 1, "b": [true, null]}"#), of(r#"{"b":[true,null],"a":1.0}"#));
        for (one, other) in [(r#"{"a":null}"#, r#"{"a":""}"#), ("[1,2]", "[2,1]"), (r#"["a","b"]"#, r#"["ab",""]"#)] {
            assert_ne!(of(one), of(other), "{one} {other}");
        }
    }
}
