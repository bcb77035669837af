//! No program that people run has a switch for a bug: not the ones that are built here, and nothing asks for one.

use std::path::Path;

/// What `conclave_shared::planted` leaves in a program, backwards: this test must not find itself.
const MARK: &[u8] = b"!eno siht ni detnalp eb nac sgub";

fn can_be_planted(program: &Path) -> bool {
    let mark: Vec<u8> = MARK.iter().rev().copied().collect();
    let bytes = std::fs::read(program).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    bytes.windows(mark.len()).any(|window| window == mark)
}

#[test]
fn a_program_bears_the_mark_if_and_only_if_it_was_built_for_it() {
    let this = std::env::current_exe().expect("this program");
    assert_eq!(can_be_planted(&this), cfg!(planted), "{}", this.display());
}

#[cfg(not(planted))]
#[test]
fn without_the_flag_a_switch_is_a_constant_that_names_nothing() {
    const { assert!(!conclave_shared::planted!(NoBugOfThisNameExists)) };
}

#[cfg(all(feature = "net", not(planted)))]
#[test]
fn the_relay_and_the_client_have_no_switch() {
    for name in ["conclave-server", "conclave"] {
        assert!(!can_be_planted(&conclave_tests::programs::built(name)), "{name}");
    }
}

#[test]
fn nothing_but_the_simulator_is_built_with_the_flag() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let scripts =
        std::fs::read_dir(root.join(".ci")).expect("the scripts").map(|entry| entry.expect("a script").path());
    let others = ["Makefile", "web/package.json", ".cargo/config.toml", ".cargo/config"].map(|name| root.join(name));
    let mut asks = Vec::new();
    for path in scripts.chain(others).filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(&path).expect("text");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        asks.extend(text.lines().filter(|line| line.contains("cfg planted")).map(|_| name.clone()));
    }
    assert_eq!(asks, ["simulator"], "one script sets the flag");
}
