//! What must stand in no log, in every spelling in which it could.

use std::collections::BTreeMap;

/// Bytes of a secret that are looked for at least: shorter runs happen by chance.
const LEAST: usize = 16;

/// Spellings of secrets, each with what it is.
#[derive(Clone, Default)]
pub(crate) struct Needles(BTreeMap<String, &'static str>);

impl Needles {
    /// Secret text, and its bytes in other spellings.
    pub(crate) fn text(&mut self, what: &'static str, text: &str) {
        self.0.insert(text.to_owned(), what);
        self.bytes(what, text.as_bytes());
    }

    /// Secret bytes: hexadecimal, base64 of both alphabets, and as lists of numbers.
    pub(crate) fn bytes(&mut self, what: &'static str, bytes: &[u8]) {
        assert!(bytes.len() >= LEAST, "{what} is too short to be looked for");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let url = conclave_shared::id::encode_base64(bytes);
        let list = |separator: &str| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(separator);
        let spellings = [hex.to_uppercase(), hex, url.replace('-', "+").replace('_', "/"), url, list(", "), list(",")];
        self.0.extend(spellings.map(|spelling| (spelling, what)));
    }

    /// Every secret inside a stored device: long texts and lists of bytes.
    pub(crate) fn pickle(&mut self, json: &serde_json::Value) {
        match json {
            serde_json::Value::String(text) if text.len() >= LEAST => self.text("a stored device", text),
            serde_json::Value::Array(list) => {
                let bytes: Option<Vec<u8>> =
                    list.iter().map(|number| number.as_u64().and_then(|number| number.try_into().ok())).collect();
                match bytes {
                    Some(bytes) if bytes.len() >= LEAST => self.bytes("a stored device", &bytes),
                    _ => list.iter().for_each(|inner| self.pickle(inner)),
                }
            }
            serde_json::Value::Object(fields) => fields.values().for_each(|inner| self.pickle(inner)),
            _ => {}
        }
    }

    /// What of all this stands in a text.
    pub(crate) fn found_in(&self, text: &str) -> Vec<&'static str> {
        self.0.iter().filter(|(needle, _)| text.contains(needle.as_str())).map(|(_, what)| *what).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// One spelling of something, for planting it.
    pub(crate) fn one(&self, what: &str) -> &str {
        self.0.iter().find(|(_, kind)| **kind == what).map(|(needle, _)| needle.as_str()).expect("there is one")
    }

    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        let mut kinds: Vec<_> = self.0.values().copied().collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}
