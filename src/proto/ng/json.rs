//! JSON, read and written by `serde_json`.

use super::value::{DecodeError, Dict, MAX_DEPTH, MAX_VALUES, Value, text_of};

/// Decodes an object; the first byte is known to be `{`.
pub(super) fn decode(bytes: &[u8]) -> Result<Dict, DecodeError> {
    let text = text_of(bytes);
    let mut values = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
    let object = match values.next() {
        Some(Ok(serde_json::Value::Object(object))) => object,
        Some(Err(error)) => {
            return Err(DecodeError::Json {
                line: error.line(),
                column: error.column(),
            });
        }
        Some(Ok(_)) | None => return Err(DecodeError::Encoding),
    };
    let mut count = 0;
    dict(object, 1, &mut count)
}

/// Encodes an object in the dictionary's order.
pub(super) fn encode(dict: &Dict) -> Vec<u8> {
    // Strings, integers, lists and maps with string keys: none of it can fail to serialise.
    serde_json::to_vec(dict).unwrap_or_else(|_| b"{}".to_vec())
}

fn dict(
    object: serde_json::Map<String, serde_json::Value>,
    depth: usize,
    count: &mut usize,
) -> Result<Dict, DecodeError> {
    let mut out = Dict::new();
    for (key, item) in object {
        if let Some(item) = value(item, depth, count)? {
            out.push(key, item);
        }
    }
    Ok(out)
}

fn value(
    found: serde_json::Value,
    depth: usize,
    count: &mut usize,
) -> Result<Option<Value>, DecodeError> {
    *count += 1;
    if *count > MAX_VALUES {
        return Err(DecodeError::TooMany);
    }
    Ok(Some(match found {
        serde_json::Value::Null => return Ok(None),
        serde_json::Value::Bool(yes) => Value::Integer(i64::from(yes)),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Integer(number),
            None => Value::Text(number.to_string()),
        },
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(_) | serde_json::Value::Object(_) if depth >= MAX_DEPTH => {
            return Err(DecodeError::TooDeep);
        }
        serde_json::Value::Array(items) => {
            let mut list = Vec::with_capacity(items.len().min(MAX_VALUES));
            for item in items {
                list.extend(value(item, depth + 1, count)?);
            }
            Value::List(list)
        }
        serde_json::Value::Object(object) => Value::Dict(dict(object, depth + 1, count)?),
    }))
}
