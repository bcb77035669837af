//! The attacks as their tests describe them: what a table in `docs/` is made of, and how many there are.

use std::{fs, path::PathBuf};

/// One test, as its doc comment describes it: `A1. What the attacker does. -> What honest members see.`
pub struct Listed {
    /// A number of the catalogue of attacks.
    pub code: String,
    /// What the attacker does.
    pub does: String,
    /// What honest members see.
    pub seen: String,
    /// The test.
    pub test: String,
}

/// The attacks of a suite, in order of their codes.
pub fn of(suite: &str) -> Vec<Listed> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", suite].iter().collect();
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    files.retain(|file| !file.ends_with("main.rs"));
    files.sort();
    let mut listed: Vec<_> =
        files.iter().flat_map(|file| of_file(&fs::read_to_string(file).expect("a source"))).collect();
    listed.sort_by_key(|listed| listed.code[1..].parse::<u32>().expect("a letter and a number"));
    listed
}

fn of_file(source: &str) -> Vec<Listed> {
    let (mut doc, mut found, mut is_test) = (String::new(), Vec::new(), false);
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            doc += &format!(" {text}");
        } else if line == "#[test]" {
            is_test = true;
        } else if let Some(test) = line.strip_prefix("fn ").filter(|_| is_test) {
            let (test, _) = test.split_once('(').expect("a function");
            let (code, text) = doc.trim().split_once(". ").unwrap_or_else(|| panic!("{test} has no code"));
            let (does, seen) = text.split_once(" -> ").unwrap_or_else(|| panic!("{test} does not say what is seen"));
            let [code, does, seen, test] = [code, does, seen, test].map(str::to_owned);
            found.push(Listed { code, does, seen, test });
            (is_test, doc) = (false, String::new());
        } else {
            doc.clear();
        }
    }
    found
}
