//! The test vectors in `shared/vectors`: what another implementation must reproduce byte for byte.
//!
//! `CONCLAVE_WRITE_VECTORS=1 cargo test -p conclave-shared --test vectors` writes them anew. All but those of the RFC,
//! which are its own.
#![cfg(feature = "frame")]
// A test that cannot go on panics; clippy's own exception knows `#[test]` functions only, not their helpers.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use conclave_shared::{
    crypto::{
        schedule::{EpochSecret, MediaSecret, Ratchet, extend, genesis, policy, security_code},
        secret::Secret,
    },
    frame::{
        Frames,
        clear_bytes::Codec,
        kid::{Header, HeaderError, Kid},
        opener::Opened,
    },
    id::{CallName, Ed25519Key, Epoch, Instance, Joined, Seat, Term, Transcript},
    session::output::KeyUpdate,
    time::Timestamp,
};
use hkdf::Hkdf;
use serde::Deserialize;
use serde_json::{Value, json};
use sframe::header::SframeHeader;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors", name].iter().collect()
}

/// Compares what is computed with what is published.
fn check(name: &str, computed: impl Into<Value>) {
    let computed = computed.into();
    if std::env::var_os("CONCLAVE_WRITE_VECTORS").is_some() {
        fs::write(path(name), format!("{computed:#}\n")).expect("writable");
    }
    let published: Value = serde_json::from_str(&fs::read_to_string(path(name)).expect("published")).expect("JSON");
    assert_eq!(computed, published, "{name}");
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// `length` bytes that look like nothing: the beginning of SHA-256 of a name, over and over.
fn bytes<const N: usize>(name: &str) -> [u8; N] {
    let hash = Sha256::digest(name);
    std::array::from_fn(|at| hash[at % hash.len()].wrapping_add((at / hash.len()) as u8))
}

fn key(name: &str) -> Ed25519Key {
    Ed25519Key::new(bytes(name))
}

#[derive(Deserialize)]
struct Rfc {
    headers: Vec<RfcHeader>,
}

#[derive(Deserialize)]
struct RfcHeader {
    kid: String,
    counter: String,
    header: String,
}

fn rfc() -> Rfc {
    serde_json::from_str(&fs::read_to_string(path("rfc9605.json")).expect("published")).expect("well-formed")
}

fn number(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).expect("hex")
}

#[test]
fn headers_of_rfc_9605_are_read_and_written() {
    let headers = rfc().headers;
    assert_eq!(headers.len(), 289);
    for RfcHeader { kid, counter, header } in &headers {
        let (kid, counter, bytes) = (number(kid), number(counter), unhex(header));
        assert_eq!(Vec::from(&SframeHeader::new(kid, counter)), bytes, "{header}");
        let read = Header::read(&bytes);
        match Kid::try_from(kid) {
            Ok(kid) => assert_eq!(read, Ok(Header { kid, counter, length: bytes.len() }), "{header}"),
            Err(error) => assert_eq!((read, kid >> 24 == 0), (Err(error), false), "{header}"),
        }
        assert_eq!(Header::read(&bytes[..bytes.len() - 1]), Err(HeaderError::Truncated), "{header}");
    }
}

#[test]
fn kids() {
    let cases = [
        (0, 0, 0, 0),
        (0, 0, 7, 7),
        (0, 0, 8, 8),
        (0, 0, 63, 0),
        (0, 0, 64, 1),
        (0, 3, 0, 255),
        (1, 0, 0, 256),
        (1, 4, 0, 65_535),
        (300, 5, 67, 65_536),
        (65_535, u32::MAX, u32::MAX, 4_294_967_295),
    ];
    let computed = cases.map(|(seat, term, count, counter)| {
        let kid = Kid::new(Seat(seat), Epoch(Term(term), count));
        let header = Vec::from(&SframeHeader::new(kid.into(), counter));
        assert_eq!(Header::read(&header), Ok(Header { kid, counter, length: header.len() }));
        json!({
            "seat": seat, "term": term, "count": count, "counter": counter,
            "kid": u64::from(kid), "header": hex(header),
        })
    });
    check("kid.json", computed.to_vec());
}

/// As another encoder writes it: short start codes, a slice header that is readable for two bytes, two slices.
const H264_SHORT: &str = "0000000167426400000168ce3c80000001658884aabb0000016588aabb";

#[test]
fn frames() {
    let vp8_key = unhex("50420a9d012a80026801aabbccddeeff00112233");
    let vp8_delta = unhex("b1020baabbccddeeff");
    let vp8_least = unhex("b1020b");
    let opus = unhex("78aabbccddeeff");
    let vp9 = unhex("8249834200aabbccddeeff");
    let av1_key = unhex("12000a0b0000000aabbccddeeff00a3205aabbccddee");
    let av1_delta = unhex("12003205aabbccddee");
    let h264_key = unhex("000000016742c01f8c0000000168ce3c800000000165b8aabbccddee");
    let h264_short = unhex(H264_SHORT);
    let h264_delta = unhex("00000001419aaabbccddee");
    // Numbers that end in two zero bytes, so that the ciphertext behind them has to be escaped from its first byte on.
    let h264_zeros = unhex("0000000141c000400000aabb000003cc");
    let cases = [
        ("video/VP8", 0, (0, 0), 0, &vp8_key[..]),
        ("video/VP8", 0, (0, 0), 1, &vp8_delta),
        ("video/VP8", 0, (0, 0), 2, &vp8_least),
        ("audio/opus", 0, (0, 0), 7, &opus),
        ("audio/opus", 1, (0, 65), 8, &opus),
        ("audio/opus", 300, (6, 2), 255, &opus[..1]),
        ("video/VP8", 999, (3, 63), 256, &vp8_key),
        ("audio/opus", 65_535, (4_294_967_295, 4_294_967_295), 65_536, &opus),
        ("video/VP9", 1, (1, 2), 3, &vp9),
        ("video/AV1", 1, (1, 2), 4, &av1_key),
        ("video/AV1", 1, (1, 2), 5, &av1_delta),
        ("video/H264", 1, (1, 2), 6, &h264_key),
        ("video/H264", 1, (1, 2), 7, &h264_short),
        ("video/H264", 1, (1, 2), 8, &h264_delta),
        ("video/H264", 0, (0, 0), 0, &h264_zeros),
    ];
    let computed = cases.map(|(codec, seat, epoch, counter, plain)| frame(codec, seat, epoch, counter, plain));
    check("frame.json", computed.to_vec());
}

/// Seals one frame after as many as its counter says, and opens it again.
fn frame(mime: &str, seat: u16, (term, count): (u32, u32), counter: u64, plain: &[u8]) -> Value {
    let (seat, epoch, codec) = (Seat(seat), Epoch(Term(term), count), Codec::from_mime(mime).expect("known"));
    let secret = bytes::<32>(&format!("media {epoch}"));
    let sender = key(&format!("sender {seat}"));
    let media = || MediaSecret::new(Secret::take(&mut secret.clone()).expect("32 bytes"));
    let ready = || {
        let mut frames = Frames::new(sender);
        let senders = Arc::new(BTreeMap::from([(seat, sender)]));
        frames.apply(KeyUpdate::Install { epoch, media: media(), senders });
        frames.apply(KeyUpdate::Activate(epoch));
        frames
    };

    let seal = |plain| {
        let mut sealer = ready();
        for _ in 0..counter {
            sealer.seal(codec, plain).expect("sealed");
        }
        sealer.seal(codec, plain).expect("sealed")
    };
    let sealed = seal(plain);
    let opened = ready().open(Timestamp::ZERO, seat, codec, &sealed, 0);
    let Opened::Frame(opened) = opened else { panic!("{opened:?}") };
    // Start codes may have become longer; but for them it is the same frame.
    assert_eq!(seal(&opened), sealed);
    assert_eq!(opened == plain, hex(plain) != H264_SHORT);
    json!({
        "media": hex(secret), "seat": seat.0, "ed25519": hex(sender.as_bytes()),
        "base_key": hex(media().sender::<16>(seat, &sender).expose()),
        "epoch": [term, count], "codec": mime, "counter": counter,
        "plain": hex(plain), "opened": hex(opened), "sealed": hex(sealed),
    })
}

#[test]
fn schedule() {
    let genesis = ["demo", "A-room_of.1"].map(|call| {
        let (instance, lead) = (Instance::new(bytes(call)), key("alice"));
        let name = CallName::new(call).expect("a name");
        json!({
            "call": call, "instance": hex(instance.as_bytes()), "first_lead": hex(lead.as_bytes()),
            "transcript": hex(genesis(&name, &instance, &lead).as_bytes()),
        })
    });
    let extend = ["", "{\"a commit\":\"is text: Zoë\"}"].map(|commit| {
        let previous = Transcript::new(bytes("previous"));
        json!({
            "previous": hex(previous.as_bytes()), "commit": commit,
            "transcript": hex(extend(&previous, commit.as_bytes()).as_bytes()),
        })
    });
    let codes = [&["alice"][..], &["alice", "bob", "carol"]].map(|names| {
        let (instance, keys) = (Instance::new(bytes("demo")), names.iter().copied().map(key).collect::<Vec<_>>());
        json!({
            "instance": hex(instance.as_bytes()),
            "keys": keys.iter().map(|key| hex(key.as_bytes())).collect::<Vec<_>>(),
            "code": security_code(&instance, keys),
        })
    });
    let computed = json!({
        "epochs": [epoch("one", &[(0, "alice"), (1, "bob")]), epoch("two", &[(999, "carol")])],
        "genesis": genesis,
        "extend": extend,
        "policy": hex(policy().as_bytes()),
        "security_codes": codes,
    });
    check("schedule.json", computed);
}

/// All that comes of one ratchet, checked against HKDF as the documents write it.
fn epoch(name: &str, senders: &[(u16, &str)]) -> Value {
    let (ratchet, transcript) = (bytes::<128>(name), bytes::<32>(&format!("transcript {name}")));
    let (prk, secret) = Hkdf::<Sha256>::extract(Some(&transcript), &ratchet);
    let media = expand(&secret, &[b"conclave/1 media"]);
    let auth = expand(&secret, &[b"conclave/1 authenticator"]);

    let epoch =
        EpochSecret::new(&Ratchet::take(&mut ratchet.clone()).expect("128 bytes"), &Transcript::new(transcript));
    assert_eq!(epoch.media(), MediaSecret::new(Secret::take(&mut media.clone()).expect("32 bytes")));
    let senders = senders.iter().map(|&(seat, name)| {
        let (seat, sender) = (Seat(seat), key(name));
        let message = epoch.message(seat, &sender);
        let base_key = epoch.media().sender::<16>(seat, &sender);
        let place = [&seat.0.to_be_bytes()[..], sender.as_bytes()].concat();
        assert_eq!(message.expose()[..], expand(&secret, &[b"conclave/1 message", &place]));
        let media = Hkdf::<Sha256>::from_prk(&media).expect("32 bytes");
        let mut expected = [0; 16];
        media.expand_multi_info(&[b"conclave/1 sender", &place], &mut expected).expect("short");
        assert_eq!(base_key.expose(), &expected);
        json!({
            "seat": seat.0, "ed25519": hex(sender.as_bytes()),
            "sender": hex(base_key.expose()), "message": hex(message.expose()),
        })
    });
    let acks = [0, 1, u64::from(u32::MAX)]
        .map(|joined| json!({ "joined": joined, "mac": hex(epoch.auth().ack(Joined(joined)).as_bytes()) }));
    json!({
        "ratchet": hex(ratchet), "transcript": hex(transcript), "secret": hex(prk), "media": hex(&media),
        "fingerprint": hex(epoch.media().fingerprint().as_bytes()), "authenticator": hex(auth),
        "senders": senders.collect::<Vec<_>>(),
        "acks": acks,
    })
}

fn expand(hkdf: &Hkdf<Sha256>, info: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![0; 32];
    hkdf.expand_multi_info(info, &mut key).expect("short");
    key
}
