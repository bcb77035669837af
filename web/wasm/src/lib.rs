//! Conclave in a browser's worker: one [`Core`] per call holds the session and its frame keys.
//!
//! The surface is thin: texts and bytes in, texts and bytes out, time as milliseconds. What it does stands in
//! [`driver`], which knows nothing of JavaScript and is tested natively. A panic would leave the instance dead, so
//! nothing here panics; whatever a relay or a page passes in is answered by a value.

pub mod driver;

use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;

use conclave_shared::{
    frame::opener::{OpenError, Opened},
    id::Seat,
    time::Timestamp,
};
use driver::Driver;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    fn error(text: &str);
}

/// Runs once when the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    // What a panic says could name values of a call, so only that it happened is said.
    std::panic::set_hook(Box::new(|_| error("Conclave: the encryption core stopped by a fault of its own.")));
}

/// One device in one call, from its first join to its end.
#[wasm_bindgen]
pub struct Core {
    driver: Driver,
}

#[wasm_bindgen]
impl Core {
    /// Makes a new device that is going to join.
    ///
    /// `profile_json` is `{"call", "user", "name", "token"}`, all of them text, and `"renewable": true` when the page can be
    /// asked for another token.
    ///
    /// # Errors
    /// Throws an `Error` whose message says which of them breaks its rule.
    #[wasm_bindgen(constructor)]
    pub fn new(profile_json: &str) -> Result<Self, JsError> {
        Ok(Self { driver: Driver::new(profile_json)? })
    }

    /// Takes in one text message of the relay; returns the outputs as a JSON array.
    pub fn received(&mut self, now: f64, text: &str) -> String {
        self.driver.received(timestamp(now), text)
    }

    /// Whether this text of the relay should wait for a fresh token, to be set by `setToken`.
    #[wasm_bindgen(js_name = needsToken)]
    #[must_use]
    pub fn needs_token(&self, text: &str) -> bool {
        self.driver.needs_token(text)
    }

    /// Replaces the access token for joins to come.
    ///
    /// # Errors
    /// Throws an `Error` when it is too long; the last one stays.
    #[wasm_bindgen(js_name = setToken)]
    pub fn set_token(&mut self, token: String) -> Result<(), JsError> {
        Ok(self.driver.set_token(token)?)
    }

    /// Carries out a command: `{"leave":{}}`, `{"rotate":{}}`, `{"missing_key":{}}`, `{"remove":{"joined":3}}` or
    /// `{"send":{"to":null,"payload":"base64url"}}`, `to` being null or an order number.
    ///
    /// # Errors
    /// Throws an `Error` when the text is none of these: a fault of the page.
    pub fn command(&mut self, now: f64, json: &str) -> Result<String, JsError> {
        Ok(self.driver.command(timestamp(now), json)?)
    }

    /// To be called when the time named by `nextTimeout` has come.
    pub fn timeout(&mut self, now: f64) -> String {
        self.driver.timeout(timestamp(now))
    }

    /// The socket is gone, with this WebSocket close code. The outputs may ask for another.
    pub fn disconnected(&mut self, now: f64, code: u16) -> String {
        self.driver.disconnected(timestamp(now), code)
    }

    /// When `timeout` and `release` have something to do, in milliseconds.
    #[wasm_bindgen(js_name = nextTimeout)]
    #[must_use]
    pub fn next_timeout(&self) -> Option<f64> {
        // Milliseconds fit into the 53 bits of a JavaScript number for 285,000 years.
        self.driver.next_timeout().map(|time| time.as_millis() as f64)
    }

    /// Seals a frame of this device; undefined when it must be dropped. Never returns what went in.
    ///
    /// `codec` is the MIME type of the frame's metadata.
    pub fn seal(&mut self, codec: &str, frame: &[u8]) -> Option<Vec<u8>> {
        self.driver.seal(codec, frame)
    }

    /// Opens a frame that came through the receiver of the member on `seat`: its bytes; null when it is held and will
    /// come back from `release` under its `ticket`; undefined when it must be dropped.
    // Five besides `self`, and JavaScript knows no named ones.
    #[allow(clippy::too_many_arguments)]
    pub fn open(&mut self, now: f64, seat: u16, codec: &str, frame: &[u8], ticket: u32) -> JsValue {
        match self.driver.open(timestamp(now), Seat(seat), codec, frame, ticket) {
            Some(Opened::Frame(plain)) => Uint8Array::from(plain.as_slice()).into(),
            Some(Opened::Held) => JsValue::NULL,
            Some(Opened::Dropped(_)) | None => JsValue::UNDEFINED,
        }
    }

    /// The held frames that are done with: an array of `[ticket, bytes]`, with null for the bytes of a second copy, which
    /// nobody misses, and undefined for those of a frame that is lost.
    pub fn release(&mut self, now: f64) -> Array {
        let released = self.driver.release(timestamp(now)).into_iter();
        released
            .map(|(ticket, plain)| {
                let plain = match plain {
                    Ok(plain) => Uint8Array::from(plain.as_slice()).into(),
                    Err(OpenError::Duplicate) => JsValue::NULL,
                    Err(_) => JsValue::UNDEFINED,
                };
                Array::of2(&JsValue::from(ticket), &plain)
            })
            .collect()
    }

    /// What became of the frames, as JSON: `{"own": {"sealed", "refused"}, "unknown_codec", "seats": {"0": {…}}}`.
    #[must_use]
    pub fn stats(&self) -> String {
        self.driver.stats()
    }
}

/// A JavaScript time in milliseconds. The conversion saturates: no number can be out of range, and NaN is zero.
fn timestamp(millis: f64) -> Timestamp {
    Timestamp::from_millis(millis as u64)
}
