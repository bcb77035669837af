//! Who is let in: tokens, cards, proofs, keys.

use conclave_server::config::Config;
use conclave_shared::{
    id::{JoinNonce, RelayNonce, Role, Signature, encode_base64},
    wire::{Join, ToClient, ToRelay, Token, code::Code, encode},
};
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    client::{Relay, SECRET, call, token, token_as},
    device::Device,
};

fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(now).expect("before the sun goes out") + seconds
}

fn claims(exp: i64) -> String {
    format!(r#"{{"exp":{exp},"sub":"user 3","conclave":{{"call":"demo","role":"member"}}}}"#)
}

fn hs256(header: &str, claims: &str, secret: &str) -> String {
    let signed = format!("{}.{}", encode_base64(header.as_bytes()), encode_base64(claims.as_bytes()));
    let mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any length").chain_update(&signed);
    format!("{signed}.{}", encode_base64(&mac.finalize().into_bytes()))
}

fn eddsa(claims: &str, key: &SigningKey) -> String {
    let signed = format!("{}.{}", encode_base64(br#"{"alg":"EdDSA"}"#), encode_base64(claims.as_bytes()));
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", encode_base64(&signature.to_bytes()))
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// What comes of a join, with two others in the call who do not notice a refusal.
async fn join(relay: &Relay, spoil: impl FnOnce(&mut Join)) -> Result<(), Code> {
    let mut client = relay.connect().await;
    let device = Device::new(3);
    let mut join = device.join(&call(), client.nonce, token(&device));
    spoil(&mut join);
    client.send(&join.into()).await;
    let mut messages = client.closed_or_welcome().await;
    match messages.pop() {
        Some(ToClient::Welcome(_)) => Ok(()),
        Some(ToClient::Error(refusal)) => Err(refusal.code),
        other => panic!("{other:?}"),
    }
}

impl crate::client::Client {
    async fn closed_or_welcome(&mut self) -> Vec<ToClient> {
        match self.recv().await {
            welcome @ ToClient::Welcome(_) => vec![welcome],
            ToClient::Error(refusal) => {
                let (rest, number) = self.closed().await;
                assert_eq!((rest, number), (vec![], Some(refusal.code.number())));
                vec![refusal.into()]
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn with_token(relay: &Relay, text: String) -> Result<(), Code> {
    join(relay, |join| join.token = Token(text)).await
}

#[tokio::test]
async fn tokens() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let good = hs256(HS256, &claims(in_seconds(60)), SECRET);
    let parts: Vec<&str> = good.split('.').collect();
    let none = |alg: &str| {
        let header = encode_base64(format!(r#"{{"alg":"{alg}"}}"#).as_bytes());
        format!("{header}.{}.", parts[1])
    };
    let refused = [
        String::new(),
        "nonsense".to_owned(),
        "a.b.c".to_owned(),
        none("none"),
        none("None"),
        none("HS256"),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], encode_base64(claims(in_seconds(9999)).as_bytes()), parts[2]),
        hs256(HS256, &claims(in_seconds(60)), "another secret, just as long as the real one"),
        hs256(r#"{"alg":"HS512"}"#, &claims(in_seconds(60)), SECRET),
        hs256(r#"{"alg":"EdDSA"}"#, &claims(in_seconds(60)), SECRET),
        hs256(r#"{"alg":"RS256"}"#, &claims(in_seconds(60)), SECRET),
        eddsa(&claims(in_seconds(60)), &SigningKey::from_bytes(&[9; 32])),
        hs256(HS256, r#"{"sub":"user 3","conclave":{"call":"demo","role":"member"}}"#, SECRET),
        hs256(HS256, &claims(in_seconds(60)).replace(r#""sub":"user 3","#, ""), SECRET),
        hs256(HS256, &claims(in_seconds(60)).replace("member", "emperor"), SECRET),
        hs256(HS256, &claims(in_seconds(60)).replace("{\"exp", &format!("{{\"nbf\":{},\"exp", in_seconds(90))), SECRET),
        format!("{good}{}", "A".repeat(5000)),
    ];
    for text in refused {
        assert_eq!(with_token(&relay, text.clone()).await, Err(Code::TokenRefused), "{text}");
    }
    assert_eq!(with_token(&relay, hs256(HS256, &claims(in_seconds(-60)), SECRET)).await, Err(Code::TokenExpired));
    let elsewhere = claims(in_seconds(60)).replace("demo", "other");
    assert_eq!(with_token(&relay, hs256(HS256, &elsewhere, SECRET)).await, Err(Code::WrongCall));
    let somebody = claims(in_seconds(60)).replace("user 3", "user 4");
    assert_eq!(with_token(&relay, hs256(HS256, &somebody, SECRET)).await, Err(Code::UserMismatch));
    pair.goes_on().await;
    assert_eq!(with_token(&relay, hs256(HS256, &claims(in_seconds(-20)), SECRET)).await, Ok(()), "within the leeway");
    assert_eq!(with_token(&relay, good).await, Ok(()));
}

#[tokio::test]
async fn tokens_signed_with_a_private_key() {
    let key = SigningKey::from_bytes(&[9; 32]);
    let public = key.verifying_key().to_bytes();
    let only_public = move |config: &mut Config| {
        config.secret = None;
        config.public_key = Some(public);
    };
    let relay = Relay::with(only_public).await;
    let good = claims(in_seconds(60));
    assert_eq!(with_token(&relay, eddsa(&good, &key)).await, Ok(()));
    let forged = eddsa(&good, &SigningKey::from_bytes(&[8; 32]));
    assert_eq!(with_token(&relay, forged).await, Err(Code::TokenRefused));
    assert_eq!(with_token(&relay, eddsa(&claims(in_seconds(-60)), &key)).await, Err(Code::TokenExpired));
    // The public key is no secret: it must not serve as one.
    let confused = {
        let signed = format!("{}.{}", encode_base64(HS256.as_bytes()), encode_base64(good.as_bytes()));
        let mac = Hmac::<sha2::Sha256>::new_from_slice(&public).expect("any length").chain_update(&signed);
        format!("{signed}.{}", encode_base64(&mac.finalize().into_bytes()))
    };
    assert_eq!(with_token(&relay, confused).await, Err(Code::TokenRefused));
    assert_eq!(with_token(&relay, hs256(HS256, &good, SECRET)).await, Err(Code::TokenRefused));
}

#[tokio::test]
async fn cards_proofs_and_keys() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let bad = Signature::new([1; 64]);
    assert_eq!(join(&relay, |join| join.card.signature = bad).await, Err(Code::BadCard));
    assert_eq!(join(&relay, |join| join.card = Device::new(4).card()).await, Err(Code::UserMismatch));
    assert_eq!(join(&relay, |join| join.proof.signature = bad).await, Err(Code::BadProof));
    assert_eq!(join(&relay, |join| join.proof.nonce = JoinNonce::new([9; 16])).await, Err(Code::BadProof));
    assert_eq!(join(&relay, |join| join.keys = Device::new(3).batch(9, 2)).await, Err(Code::BadProof));
    assert_eq!(join(&relay, |join| join.keys = Device::new(3).batch(0, 11)).await, Err(Code::BadKeys));
    let replayed = Device::new(3).join(&call(), RelayNonce::new([0; 32]), Token(String::new()));
    assert_eq!(join(&relay, |join| join.proof = replayed.proof).await, Err(Code::BadProof), "of another connection");
    assert_eq!(join(&relay, |join| join.version = 2).await, Err(Code::Version));
    pair.goes_on().await;
}

/// The raw text of a join whose Ed25519 key is these bytes.
async fn with_key(relay: &Relay, key: &[u8]) -> Code {
    let mut client = relay.connect().await;
    let device = Device::new(3);
    let join = encode(&ToRelay::from(device.join(&call(), client.nonce, token(&device))));
    let own = encode_base64(device.ed25519().as_bytes());
    assert_eq!(join.matches(&own).count(), 1);
    client.text(join.replace(&own, &encode_base64(key))).await;
    client.refused().await
}

#[tokio::test]
async fn keys_of_33_bytes_of_small_order_or_of_no_curve() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let mut identity = [0; 32];
    identity[0] = 1;
    for key in [&[7; 33][..], &[7; 31], &[], &[0; 32], &identity, &[0xff; 32], &[2; 32]] {
        assert_eq!(with_key(&relay, key).await, Code::BadCard, "{key:?}");
    }
    pair.goes_on().await;
}

#[tokio::test]
async fn the_first_message_is_a_join_this_version_speaks() {
    let relay = Relay::start().await;
    for (first, code) in [
        (r#"{"claim":{"of":[]}}"#, Code::JoinFirst),
        (r#"{"ping":{"n":1}}"#, Code::JoinFirst),
        (r#"{"resume":{}}"#, Code::Malformed),
        (r#"{"resume":{"version":7,"new":"fields"}}"#, Code::Version),
        (r#"{"join":{}}"#, Code::Malformed),
        (r#"{"join":{"version":7,"new":"fields"}}"#, Code::Version),
        (r#"{"join":{"version":1}}"#, Code::Malformed),
        ("nonsense", Code::Malformed),
    ] {
        let mut client = relay.connect().await;
        client.text(first.to_owned()).await;
        assert_eq!(client.refused().await, code, "{first}");
    }
    let mut client = relay.connect().await;
    client.message(tokio_tungstenite::tungstenite::Message::Binary(vec![1].into())).await;
    assert_eq!(client.refused().await, Code::NotText);
}

#[tokio::test]
async fn the_token_decides_the_role() {
    let relay = Relay::start().await;
    for (number, role) in [(3, Role::LeadBot), (4, Role::Recorder), (5, Role::Member)] {
        let mut client = relay.connect().await;
        let device = Device::new(number);
        client.send(&device.join(&call(), client.nonce, token_as(&device, role)).into()).await;
        let ToClient::Welcome(welcome) = client.recv().await else { panic!("no welcome") };
        let own = welcome.members.iter().find(|member| member.joined == welcome.joined).expect("itself");
        assert_eq!(own.role, role);
    }
}
