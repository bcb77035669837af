//! The texts that a page and a relay exchange with a driver, with this file as both.

use super::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1000);
const PROFILE: &str = r#"{"call":"demo","user":"alice","name":"a browser","token":"a.secret.token"}"#;
const OPUS: &str = "audio/opus";

fn driver() -> Driver {
    Driver::new(PROFILE).expect("a good profile")
}

fn challenge(relay: &str) -> String {
    json!({"challenge": {"versions": [1], "nonce": "A".repeat(43), "relay": relay.repeat(22)}}).to_string()
}

fn outputs(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("a JSON array")
}

/// The one message sent to the relay among some outputs, a lead's signs of life apart.
fn sent(outputs: &[Value]) -> Value {
    let texts = outputs.iter().filter_map(|output| output.get("send").and_then(Value::as_str));
    let mut sent = texts.map(|text| serde_json::from_str::<Value>(text).expect("a JSON message"));
    sent.by_ref().find(|message| message.get("ping").is_none()).expect("something is sent")
}

/// The names of the events among some outputs.
fn events(outputs: &[Value]) -> Vec<&str> {
    let events = outputs.iter().filter_map(|output| output.get("event")?.as_object()?.keys().next());
    events.map(String::as_str).collect()
}

fn at(sequence: u64) -> Value {
    json!(["AAAAAAAAAAAAAAAAAAAAAA", sequence])
}

/// A device that was seated alone, was told to lead, and whose commit the relay has sequenced: it holds a key.
fn lead() -> Driver {
    let mut driver = driver();
    let join = sent(&outputs(&driver.received(NOW, &challenge("A"))));
    let join = &join["join"];
    assert_eq!(join["token"], "a.secret.token");

    // Nobody is listed: a device knows its own claim, and JSON that was taken apart would no longer be the text it signed.
    let welcome = json!({"welcome": {
        "at": at(1), "call": "demo", "seat": 4, "joined": 9, "lead": null, "members": [], "ice_servers": [],
    }});
    let seated = outputs(&driver.received(NOW, &welcome.to_string()));
    assert_eq!(events(&seated), ["seated"]);
    assert_eq!(driver.seal(OPUS, b"too early"), None);

    let lead = json!({"lead": {"at": at(2), "term": 1, "joined": 9, "genesis": true}});
    let started = outputs(&driver.received(NOW, &lead.to_string()));
    assert_eq!(events(&started), ["lead_changed"]);
    let commit = &sent(&started)["commit"];
    let sequenced = json!({"commit": {
        "at": at(3), "from": 9, "epoch": commit["epoch"], "add": commit["add"], "remove": commit["remove"],
        "broadcast": commit["broadcast"],
    }});
    assert_eq!(events(&outputs(&driver.received(NOW, &sequenced.to_string()))), ["epoch", "active"]);
    driver
}

#[test]
fn a_bad_profile_is_refused_in_words() {
    let refused = |profile: &str| Driver::new(profile).err().expect("refused");
    assert_eq!(refused(""), ProfileError::Malformed);
    assert_eq!(refused(r#""a.secret.token""#), ProfileError::Malformed);
    assert_eq!(refused(r#"{"call":"demo"}"#), ProfileError::Malformed);
    let profile = |call: &str, user: &str, token: &str| {
        json!({"call": call, "user": user, "name": "n", "token": token}).to_string()
    };
    assert_eq!(refused(&profile("a b", "alice", "t")), ProfileError::Name(IdError::CallName));
    assert_eq!(refused(&profile("demo", " ", "t")), ProfileError::Name(IdError::UserName));
    assert_eq!(refused(&profile("demo", "alice", &"t".repeat(limits::TOKEN_LENGTH + 1))), ProfileError::Token);
    assert_eq!(
        refused("{}").to_string(),
        r#"a profile is {"call", "user", "name", "token"}, all of them text, and perhaps "renewable""#
    );
}

#[test]
fn a_text_that_is_no_message_is_told_and_changes_nothing() {
    let mut driver = driver();
    for text in ["", "{", "[]", r#"{"challenge":7}"#, r#"{"a":1,"b":2}"#, &"[".repeat(100)] {
        let outputs = outputs(&driver.received(NOW, text));
        assert_eq!(events(&outputs), ["protocol_error"], "{text}");
        assert!(outputs[0]["event"]["protocol_error"]["message"].is_string());
    }
    let long = " ".repeat(limits::FROM_RELAY_LENGTH + 1);
    assert_eq!(events(&outputs(&driver.received(NOW, &long))), ["protocol_error"]);
    assert_eq!(driver.received(NOW, r#"{"of a later version":{}}"#), "[]");
    assert_eq!(driver.timeout(NOW), "[]");
    assert_eq!(driver.next_timeout(), None);
}

#[test]
fn commands_are_read_and_others_refused() {
    let mut driver = driver();
    for text in ["", "{}", r#"{"rotate":{"x":1}}"#, r#"{"dance":{}}"#, r#"{"send":{"to":null,"payload":"=="}}"#] {
        assert_eq!(driver.command(NOW, text), Err(CommandTextError), "{text}");
    }
    for text in [
        r#"{"rotate":{}}"#,
        r#"{"missing_key":{}}"#,
        r#"{"remove":{"joined":3}}"#,
        r#"{"send":{"to":null,"payload":"AAAA"}}"#,
        r#"{"send":{"to":3,"payload":""}}"#,
    ] {
        let outputs = outputs(&driver.command(NOW, text).expect("a command"));
        assert_eq!(events(&outputs), ["command_failed"], "{text}");
    }
    let outputs = outputs(&driver.command(NOW, r#"{"leave":{}}"#).expect("a command"));
    assert_eq!(events(&outputs), ["ended"]);
    assert_eq!(outputs.last(), Some(&json!({"close": true})));
}

#[test]
fn a_whole_life_from_challenge_to_leave() {
    let mut driver = lead();
    let sealed = driver.seal("audio/OPUS", b"hello").expect("a key");
    assert!(!sealed.windows(5).any(|part| part == b"hello"));
    let opened = driver.open(NOW, Seat(4), OPUS, &sealed, 1);
    assert_eq!(opened, Some(Opened::Frame(b"hello".to_vec())));
    assert_eq!(driver.seal("video/H265", b"hello"), None);
    assert_eq!(driver.open(NOW, Seat(4), "video/H265", &sealed, 1), None);

    let stats: Value = serde_json::from_str(&driver.stats()).expect("JSON");
    assert_eq!(stats["own"], json!({"sealed": 1, "refused": 2}));
    assert_eq!(stats["unknown_codec"], 1);
    assert_eq!((&stats["seats"]["4"]["opened"], &stats["seats"]["4"]["waiting_since"]), (&json!(1), &Value::Null));

    let left = outputs(&driver.command(NOW, r#"{"leave":{}}"#).expect("a command"));
    assert_eq!(events(&left), ["ended"]);
    assert_eq!(driver.seal(OPUS, b"hello"), None, "no key is left");
    assert_eq!(driver.disconnected(NOW, 1006), "[]");
}

#[test]
fn every_codec_goes_by_its_mime_type() {
    let mut driver = lead();
    for (mime, frame) in [
        ("video/VP8", &[0x11, 1, 2, 3, 4][..]),
        ("video/VP9", &[0x82, 1, 2]),
        ("video/AV1", &[0x12, 0, 0x0a, 1, 7, 0x32, 1, 2]),
        ("video/H264", &[0, 0, 0, 1, 0x67, 0x42, 0, 0, 0, 1, 0x65, 0xb8, 1, 2, 3]),
        ("audio/opus", &[0x78, 1, 2]),
    ] {
        let sealed = driver.seal(mime, frame).expect("a key");
        assert!(!sealed.windows(frame.len()).any(|part| part == frame), "{mime}");
        assert_eq!(driver.open(NOW, Seat(4), mime, &sealed, 1), Some(Opened::Frame(frame.to_vec())), "{mime}");
    }
    assert_eq!(driver.seal("video/H264", b"no start code"), None);
}

#[test]
fn a_lost_seat_is_joined_for_again_by_the_same_device() {
    let mut driver = lead();
    let device = driver.frames.seal_stats();
    assert_eq!(device.refused, 1, "the one that was too early");
    let lost = json!({"error": {"code": "lost_seat", "message": "it is gone"}}).to_string();
    let told = outputs(&driver.received(NOW, &lost));
    let rejoining = json!({"event": {"link": "rejoining"}});
    assert_eq!((told.get(1), told.last()), (Some(&rejoining), Some(&json!({"connect": {"fresh": true}}))), "{told:?}");
    assert_eq!(driver.seal(OPUS, b"hello"), None, "the keys of the lost seat are wiped");

    driver.set_token("another.token".to_owned()).expect("short enough");
    let join = sent(&outputs(&driver.received(NOW, &challenge("Q"))));
    assert_eq!(join["join"]["token"], "another.token");
    assert_eq!(driver.set_token("t".repeat(limits::TOKEN_LENGTH + 1)), Err(ProfileError::Token));
}

#[test]
fn what_nobody_can_mend_by_waiting_is_the_end() {
    let refused = |driver: &mut Driver, code: Code| outputs(&driver.disconnected(NOW, code.number()));
    for code in [Code::CallFull, Code::TokenRefused, Code::TokenExpired] {
        let told = refused(&mut driver(), code);
        assert_eq!((events(&told), told.last()), (vec!["refused", "ended"], Some(&json!({"close": true}))), "{code:?}");
    }
    for code in [Code::Removed, Code::Replaced, Code::TokenExpired] {
        assert_eq!(refused(&mut lead(), code).last(), Some(&json!({"close": true})), "{code:?}");
    }
    assert_eq!(refused(&mut lead(), Code::LostSeat).last(), Some(&json!({"connect": {"fresh": true}})));
    // A page that can be asked for a token goes on with another.
    let mut renewable = lead();
    renewable.renewable = true;
    assert_eq!(refused(&mut renewable, Code::TokenExpired).last(), Some(&json!({"connect": {"fresh": true}})));
}

#[test]
fn a_seat_outlives_its_connection() {
    let mut driver = lead();
    let refused = json!({"error": {"code": "closing", "message": "it goes"}}).to_string();
    assert_eq!(events(&outputs(&driver.received(NOW, &refused))), ["refused"]);
    let told = outputs(&driver.disconnected(NOW, Code::Closing.number()));
    assert_eq!(
        told,
        [json!({"event": {"link": "down"}}), json!({"connect": {"fresh": false}})],
        "nothing is said twice"
    );
    assert!(driver.seal(OPUS, b"hello").is_some(), "the keys are kept");
    let resume = sent(&outputs(&driver.received(NOW, &challenge("A"))));
    assert!(resume["resume"]["signature"].is_string(), "{resume}");
    let resumed = outputs(&driver.received(NOW, &json!({"resumed": {"received": 2, "until": 0}}).to_string()));
    assert_eq!(events(&resumed), ["link"]);
    let lost = outputs(&driver.disconnected(NOW, Code::Unresponsive.number()));
    assert_eq!((events(&lost), lost.last()), (vec!["refused", "link"], Some(&json!({"connect": {"fresh": false}}))));
}

#[test]
fn a_connection_that_breaks_before_there_is_a_seat_is_made_anew() {
    let mut driver = driver();
    let told = outputs(&driver.disconnected(NOW, 1006));
    assert_eq!(told.last(), Some(&json!({"connect": {"fresh": true}})), "{told:?}");
    assert_eq!(sent(&outputs(&driver.received(NOW, &challenge("A"))))["join"]["token"], "a.secret.token");
}

#[test]
fn only_a_challenge_of_another_relay_waits_for_a_token_and_only_where_there_is_one() {
    let mut joining = driver();
    joining.renewable = true;
    assert!(!joining.needs_token(&challenge("A")), "it has its token at hand");
    let mut seated = lead();
    assert!(!seated.needs_token(&challenge("Q")), "nobody can be asked");
    seated.renewable = true;
    assert!(seated.needs_token(&challenge("Q")));
    assert!(!seated.needs_token(&challenge("A")), "the relay that gave the seat knows this device");
    assert!(!seated.needs_token("{}"));
}

#[test]
fn no_key_leaves() {
    let mut driver = driver();
    let update = || {
        let media = conclave_shared::crypto::schedule::MediaSecret::new(
            conclave_shared::crypto::secret::Secret::take(&mut [7; 32]).expect("32 bytes"),
        );
        let epoch = conclave_shared::id::Epoch::first(conclave_shared::id::Term(1));
        conclave_shared::session::output::KeyUpdate::Install { epoch, media, senders: Default::default() }
    };
    assert!(driver.tell(Output::Keys(update())).is_none());
    let pickle = Device::generate().expect("random bytes").pickle();
    assert!(driver.tell(Output::Persist(pickle)).is_none());
}

#[test]
fn held_frames_come_back_under_their_ticket_and_wake_the_page() {
    let mut driver = lead();
    let mut sealed = driver.seal(OPUS, b"hello").expect("a key");
    // The key id's lowest byte holds the epoch: two epochs ahead of any that is held.
    sealed[2] += 2;
    assert_eq!(driver.open(NOW, Seat(4), OPUS, &sealed, u32::MAX), Some(Opened::Held));
    let due = NOW + limits::HELD_FRAME_TIME;
    assert!(driver.next_timeout().is_some_and(|time| time <= due));
    assert_eq!(driver.release(due), vec![(u32::MAX, Err(OpenError::TimedOut))]);
}
