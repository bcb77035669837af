//! # A native participant of Conclave calls
//!
//! [`Client`] is one device in one call: it connects to a relay, joins, and from then on keeps its keys by itself.
//! What happens comes out as typed [`Events`]; frames go through [`Client::seal`] and [`Client::open`], which never let
//! one pass in clear.
//!
//! ```no_run
//! # async fn example(profile: conclave_shared::session::Profile) -> Result<(), Box<dyn std::error::Error>> {
//! use conclave_client::{Client, Joining, again::{Relays, TokenSource}, store::Store};
//! use conclave_shared::session::{config::Config, output::Event};
//!
//! let store = Store::file("alice.key");
//! // Once its seat is lost the device joins again: with this the first token must still be good then.
//! let tokens = TokenSource::First;
//! let joining = Joining { device: store.open()?, store: Some(store), profile, tokens, config: Config::default() };
//! let relays: Relays = "wss://relay.example".parse()?;
//! let (client, mut events) = Client::connect(relays, joining).await?;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Epoch(epoch) => println!("epoch {} holds {} members", epoch.epoch, epoch.members.len()),
//!         Event::Message { from, payload, .. } => println!("{from} wrote {} bytes", payload.0.len()),
//!         _ => {}
//!     }
//! }
//! # drop(client);
//! # Ok(())
//! # }
//! ```
//!
//! The protocol itself is in [`conclave_shared`]; [`driver`] is the loop that moves bytes and time in and out of it.
//! With the feature `media`, the module of that name makes the device a participant among browsers. The binary `conclave` holds
//! the lead bot, a member with media or without, and the load test of [`load`].

pub mod again;
pub mod backoff;
mod client;
pub mod driver;
pub mod load;
#[cfg(feature = "media")]
pub mod media;
pub mod store;
pub mod token;
pub mod transport;

pub use client::{Client, Events, Joining, Over};
