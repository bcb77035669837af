//! The key file: private, whole, and refused when it is not.
#![cfg(unix)]
// Helpers of tests may fail as tests do.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::wildcard_enum_match_arm)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use conclave_client::store::{Store, StoreError};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file").permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

fn in_folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("device.key");
    (folder, path)
}

#[test]
fn a_new_device_is_stored_for_its_owner_alone_and_comes_back() {
    let (folder, path) = in_folder();
    let store = Store::file(&path);
    let made = store.open().expect("a device");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(store.open().expect("the same").ed25519(), made.ed25519());
    store.save(&made.pickle()).expect("again");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1, "nothing is left beside it");
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let (_folder, path) = in_folder();
    let store = Store::file(&path);
    store.open().expect("a device");
    for mode in [0o640, 0o604, 0o644, 0o620] {
        set_mode(&path, mode);
        let error = store.open().map(drop).expect_err("others can read it");
        assert!(matches!(error, StoreError::Exposed { mode: found, .. } if found == mode), "{error}");
        let sentence = error.to_string();
        assert!(sentence.contains("chmod 600") && sentence.contains(&format!("{mode:o}")), "{sentence}");
    }
}

#[test]
fn another_file_is_not_taken_for_a_device() {
    let (folder, path) = in_folder();
    for content in [&b""[..], b"{}", b"not a key", &[0xff; 10], &vec![b'x'; 300 * 1024]] {
        fs::write(&path, content).expect("written");
        set_mode(&path, 0o600);
        let error = Store::file(&path).open().map(drop).expect_err("no device");
        assert!(matches!(error, StoreError::NotADevice { .. }), "{error}");
        assert_eq!(fs::read(&path).expect("still there"), content, "and it is left as it was");
    }
    let error = Store::file(folder.path()).open().map(drop).expect_err("a folder");
    assert!(matches!(error, StoreError::NotADevice { .. }), "{error}");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let (folder, _) = in_folder();
    let path = folder.path().join("missing").join("device.key");
    let error = Store::file(&path).open().map(drop).expect_err("no folder");
    assert!(matches!(error, StoreError::Write { .. }), "{error}");
    assert!(error.to_string().contains("missing/device.key"), "{error}");
}
