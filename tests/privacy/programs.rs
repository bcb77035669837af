//! The programs themselves, at the highest log level.

use conclave_tests::programs::{Program, wait_for};
use std::time::Duration;

use super::{SECRET, needles::Needles};

const ENVIRONMENT: &[(&str, &str)] =
    &[("CONCLAVE_SECRET", SECRET), ("CONCLAVE_LOG", "trace"), ("RUST_LOG", "trace"), ("RUST_BACKTRACE", "0")];

#[test]
fn the_programs_print_no_secret_and_a_planted_one_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    let (relay, url) = Program::relay(ENVIRONMENT, &file("relay.log"));
    let device = file("anna.device");
    let device = device.to_str().expect("a plain path");
    let bot = ["lead", "--json", "--url", &url, "--call", "private"];
    let bot = Program::start("conclave", &bot, ENVIRONMENT, &file("bot.log"));
    let anna = ["join", "--json", "--url", &url, "--call", "private", "--user", "Anna", "--device", device];
    let anna = Program::start("conclave", &anna, ENVIRONMENT, &file("anna.log"));
    wait_for("Anna's key", || anna.printed().contains("\"active\""));
    std::thread::sleep(Duration::from_secs(1));

    let mut needles = Needles::default();
    needles.text("the relay's secret", SECRET);
    needles.pickle(&serde_json::from_slice(&std::fs::read(device).expect("stored")).expect("JSON"));
    let all = [&relay, &bot, &anna].map(Program::printed).join("\n");
    assert!(relay.printed().lines().count() > 3, "at this level there is a log");
    assert_eq!(needles.found_in(&all), Vec::<&str>::new());
    // Every token is a JWT, and every JWT begins with the same letters: an encoded `{"`.
    if let Some(line) = all.lines().find(|line| line.contains("eyJ")) {
        panic!("a token in the output: {}", line.chars().take(120).collect::<String>());
    }
    let planted = all + needles.one("a stored device");
    assert_eq!(needles.found_in(&planted), ["a stored device"]);
}
