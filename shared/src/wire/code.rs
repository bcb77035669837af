//! Every error that travels, in one table: name, close code, what it means, and whether trying again helps.

use serde::{Deserialize, Serialize};

/// What a client does after a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same thing will be refused again.
    No,
    /// Connect again with a fresh token.
    FreshToken,
    /// Connect again after a pause.
    Later,
    /// Nothing was closed; go on.
    GoOn,
}

macro_rules! codes {
    ($($number:literal $name:literal $variant:ident $retry:ident $sentence:literal,)*) => {
        /// An error that travels. Codes whose [`Retry`] is not `GoOn` close the connection with their number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $sentence] #[serde(rename = $name)] $variant,)*
        }

        impl Code {
            /// The whole table, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// WebSocket close code (RFC 6455 section 7.4.2: 4000 to 4999 are for applications).
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)* }
            }

            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for a person.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// The connection is closed with this code; the others are only said.
            #[must_use]
            pub const fn closes(self) -> bool {
                !matches!(self.retry(), Retry::GoOn)
            }

            /// What to do about it.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)* }
            }
        }
    };
}

codes! {
    4000 "malformed" Malformed No "The message is not what the protocol says.",
    4001 "join_timeout" JoinTimeout Later "No join came within five seconds of connecting.",
    4002 "token_refused" TokenRefused No "The token is not valid here.",
    4003 "token_expired" TokenExpired FreshToken "The token has expired.",
    4004 "wrong_call" WrongCall No "The token is for another call.",
    4005 "bad_card" BadCard No "The device card is malformed or its signature does not verify.",
    4006 "bad_proof" BadProof No "The join proof does not verify.",
    4007 "bad_keys" BadKeys No "The one-time keys are malformed or their signature does not verify.",
    4008 "slow_consumer" SlowConsumer Later "The client did not read fast enough.",
    4009 "too_large" TooLarge No "The message is over the size limit.",
    4010 "too_fast" TooFast Later "The client sent more messages than its limit allows.",
    4011 "version" Version No "The client and the relay speak different protocol versions.",
    4012 "call_full" CallFull Later "The call has no free seat.",
    4013 "replaced" Replaced No "The same device joined this call again.",
    4014 "removed" Removed No "The lead removed this device from the call.",
    4015 "closing" Closing Later "The relay is shutting down.",
    4016 "too_many_connections" TooManyConnections Later "Too many connections from this address.",
    4017 "unresponsive" Unresponsive Later "The client did not answer pings.",
    4018 "not_text" NotText No "Messages are JSON text; this one was binary.",
    4019 "user_mismatch" UserMismatch No "The card names another user than the token.",
    4020 "role_refused" RoleRefused No "The token does not allow this role.",
    4021 "too_deep" TooDeep No "The JSON is nested too deeply.",
    4022 "join_first" JoinFirst No "The first message of a connection must be join, resume or restore.",
    4023 "too_many_calls" TooManyCalls Later "The relay serves as many calls as it may.",
    4024 "lost_seat" LostSeat Later "The relay no longer holds this seat: join afresh.",
    4100 "already_joined" AlreadyJoined GoOn "This connection has joined already.",
    4101 "unknown_message" UnknownMessage GoOn "The relay does not know this message.",
    4102 "not_lead" NotLead GoOn "Only the lead of the current term may send this.",
    4103 "passed_term" PassedTerm GoOn "The commit belongs to a term that has passed.",
    4104 "unknown_member" UnknownMember GoOn "The message names a member that is not in the call.",
    4105 "out_of_order" OutOfOrder GoOn "The commit does not follow the last one.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_used_once() {
        for (i, a) in Code::ALL.iter().enumerate() {
            for b in &Code::ALL[i + 1..] {
                assert!(a.number() < b.number(), "{a:?} {b:?}");
                assert_ne!(a.name(), b.name());
            }
        }
    }

    #[test]
    fn only_codes_of_the_4100s_leave_the_connection_open() {
        for code in Code::ALL {
            assert_eq!(code.retry() == Retry::GoOn, code.number() >= 4100, "{code:?}");
        }
    }
}
