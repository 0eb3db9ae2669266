//! Bencode as NG clients write it: unsorted keys, perhaps without the last `e`.

use std::io::Write;

use super::value::{DecodeError, Dict, MAX_DEPTH, MAX_VALUES, Value, text_of};

/// Decodes a dictionary; the first byte is known to be `d`.
pub(super) fn decode(bytes: &[u8]) -> Result<Dict, DecodeError> {
    let mut reader = Reader {
        bytes,
        at: 1,
        values: 0,
    };
    reader.dict(1)
}

/// Encodes a dictionary in its own order.
pub(super) fn encode(dict: &Dict) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_dict(dict, &mut out);
    out
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Whether a list or dictionary ends here: at its `e`, or with the message.
    fn at_end(&mut self) -> bool {
        match self.peek() {
            None => true,
            Some(b'e') => {
                self.at += 1;
                true
            }
            Some(_) => false,
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Dict, DecodeError> {
        let mut dict = Dict::new();
        while !self.at_end() {
            if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(DecodeError::Key(self.at));
            }
            let key = self.string()?;
            if self.peek().is_none_or(|byte| byte == b'e') {
                return Err(DecodeError::NoValue);
            }
            dict.push(key, self.value(depth)?);
        }
        Ok(dict)
    }

    fn value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(DecodeError::TooMany);
        }
        match self.peek() {
            Some(b'0'..=b'9') => Ok(Value::Text(self.string()?)),
            Some(b'i') => {
                self.at += 1;
                Ok(Value::Integer(self.number(b'e')?))
            }
            Some(b'l' | b'd') if depth >= MAX_DEPTH => Err(DecodeError::TooDeep),
            Some(b'l') => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.at_end() {
                    items.push(self.value(depth + 1)?);
                }
                Ok(Value::List(items))
            }
            Some(b'd') => {
                self.at += 1;
                Ok(Value::Dict(self.dict(depth + 1)?))
            }
            Some(_) | None => Err(DecodeError::Value(self.at)),
        }
    }

    fn string(&mut self) -> Result<String, DecodeError> {
        let at = self.at;
        let length = self.number(b':')?;
        let promised = usize::try_from(length).map_err(|_| DecodeError::Number(at))?;
        let left = self.bytes.len() - self.at;
        if promised > left {
            return Err(DecodeError::CutString { at, promised, left });
        }
        let text = text_of(&self.bytes[self.at..self.at + promised]);
        self.at += promised;
        Ok(text)
    }

    /// A number up to `end`, which is consumed. 20 bytes hold every 64-bit number.
    fn number(&mut self, end: u8) -> Result<i64, DecodeError> {
        let error = DecodeError::Number(self.at);
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .take(21)
            .position(|byte| *byte == end)
            .ok_or(error)?;
        let digits = std::str::from_utf8(&rest[..length]).map_err(|_| error)?;
        let number = digits.parse().map_err(|_| error)?;
        self.at += length + 1;
        Ok(number)
    }
}

fn write_dict(dict: &Dict, out: &mut Vec<u8>) {
    out.push(b'd');
    for (key, value) in dict.iter() {
        write_text(key, out);
        write_value(value, out);
    }
    out.push(b'e');
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => write_text(text, out),
        Value::Integer(number) => {
            // Writing into memory does not fail.
            let _ = write!(out, "i{number}e");
        }
        Value::List(items) => {
            out.push(b'l');
            for item in items {
                write_value(item, out);
            }
            out.push(b'e');
        }
        Value::Dict(dict) => write_dict(dict, out),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let _ = write!(out, "{}:", text.len());
    out.extend_from_slice(text.as_bytes());
}
