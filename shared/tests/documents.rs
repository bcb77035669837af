//! Tables in `docs/` that are made from the code: they cannot go stale.
//!
//! `CONCLAVE_WRITE_DOCS=1 cargo test -p conclave-shared --test documents` writes them anew.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "attack/listing.rs"]
mod listing;

use conclave_shared::wire::code::{Code, Retry};
use std::{fmt::Write as _, fs, path::PathBuf};

fn check(document: &str, region: &str, expected: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "docs", document].iter().collect();
    let text = fs::read_to_string(&path).expect("the document is there");
    let (begin, end) = (format!("<!-- {region}: begin -->\n"), format!("<!-- {region}: end -->"));
    let (before, rest) = text.split_once(&begin).expect("the region begins");
    let (found, after) = rest.split_once(&end).expect("the region ends");
    if std::env::var_os("CONCLAVE_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{begin}{expected}{end}{after}")).expect("it can be written");
    } else {
        assert_eq!(found, expected, "{document}: run with CONCLAVE_WRITE_DOCS=1");
    }
}

#[test]
fn the_protocol_lists_every_code() {
    let mut table = String::from("| number | name | meaning | then |\n|---|---|---|---|\n");
    for code in Code::ALL {
        let then = match code.retry() {
            Retry::No => "closed; trying again will not help",
            Retry::FreshToken => "closed; connect with a fresh token",
            Retry::Later => "closed; connect again after a pause",
            Retry::GoOn => "stays open",
        };
        writeln!(table, "| {} | `{}` | {} | {then} |", code.number(), code.name(), code.sentence())
            .expect("a string takes all");
    }
    check("PROTOCOL.md", "codes", &table);
}

#[test]
fn the_threats_list_every_attack_with_its_outcome() {
    for suite in ["relay_attacks", "member_attacks", "resume_attacks"] {
        let mut table =
            String::from("| | what the attacker does | what honest members see | test |\n|---|---|---|---|\n");
        let attacks = listing::of(suite);
        assert!(attacks.len() >= 9, "{suite} is read");
        for listing::Listed { code, does, seen, test } in attacks {
            writeln!(table, "| {code} | {does} | {seen} | `{test}` |").expect("a string takes all");
        }
        check("THREATS.md", suite, &table);
    }
}
