//! Whole calls in virtual time: random runs in `seeds`, what a seed replays in `replay`, what the checks notice in
//! `planted`, which bugs random runs find in `bugs`, and one scenario per file.

mod activation;
mod batch;
mod bot;
#[cfg(planted)]
mod bugs;
mod crossing;
mod early_message;
mod first_member;
mod healing;
mod join;
mod joiner_is_lied_to;
mod lead_goes;
mod leave;
mod pipelined;
mod planted;
mod replaced;
mod replay;
mod replayed;
mod retire;
mod seeds;
mod self_switch;
mod silent_joiner;
mod support;
mod timer;
mod unplanted;
mod wrong_lead;
