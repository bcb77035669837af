//! A call of real programs over real sockets: relay, lead bot and members, each a process, told by what they print.

use conclave_tests::programs::{Program, wait_for};
use serde_json::Value;
use std::collections::BTreeMap;

const SECRET: &str = "a secret that only the end-to-end test knows";
const ENVIRONMENT: &[(&str, &str)] = &[("CONCLAVE_SECRET", SECRET)];

/// The epochs that a program printed: cause, members and fingerprint of each.
fn epochs(program: &Program) -> BTreeMap<(u64, u64), (String, usize, String)> {
    let lines = program.printed();
    let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter_map(|event| {
            let info = event.get("epoch")?;
            let number = |place: usize| info["epoch"].get(place).and_then(Value::as_u64);
            let text = |field: &str| info[field].as_str().map(str::to_owned);
            let members = info["members"].as_array()?.len();
            Some(((number(0)?, number(1)?), (text("cause")?, members, text("fingerprint")?)))
        })
        .collect()
}

/// Waits until all these seal under one epoch with so many members, and says why it began.
fn agree(programs: &[&Program], members: usize) -> String {
    let newest = |program: &Program| {
        let (epoch, info) = epochs(program).pop_last()?;
        let active = format!("\"active\":[{},{}]", epoch.0, epoch.1);
        (info.1 == members && program.printed().contains(&active)).then_some((epoch, info))
    };
    let agreed = || {
        let all: Option<Vec<_>> = programs.iter().map(|program| newest(program)).collect();
        all.filter(|all| all.windows(2).all(|pair| pair[0] == pair[1]))
    };
    wait_for(&format!("an epoch of {members} members"), || agreed().is_some());
    agreed().and_then(|all| all.into_iter().next()).expect("it was there").1.0
}

#[test]
fn programs_join_ratchet_crash_and_lose_their_lead_and_always_agree() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    let (_relay, url) = Program::relay(ENVIRONMENT, &file("relay"));
    let join = |command: &str, user: &str| {
        let arguments = [command, "--json", "--url", &url, "--call", "demo", "--user", user];
        Program::start("conclave", &arguments, ENVIRONMENT, &file(user))
    };
    let mut bot = join("lead", "bot");
    assert_eq!(agree(&[&bot], 1), "start");
    let anna = join("join", "Anna");
    assert_eq!(agree(&[&bot, &anna], 2), "join");
    let mut ben = join("join", "Ben");
    assert_eq!(agree(&[&bot, &anna, &ben], 3), "join");
    let clara = join("join", "Clara");
    assert_eq!(agree(&[&bot, &anna, &ben, &clara], 4), "join");
    ben.crash();
    assert_eq!(agree(&[&bot, &anna, &clara], 3), "leave");
    bot.crash();
    assert_eq!(agree(&[&anna, &clara], 2), "leave", "its seat was kept for a while");
    assert!(epochs(&clara).values().any(|(cause, ..)| cause == "lead_change"), "the next by order led at once");
    let bot = join("lead", "another bot");
    assert_eq!(agree(&[&bot, &anna, &clara], 3), "join", "a bot leaves the lead to whoever has it");

    let (mut seen, all) = (BTreeMap::new(), [&bot, &anna, &ben, &clara]);
    for (epoch, info) in all.iter().flat_map(|program| epochs(program)) {
        assert_eq!(seen.entry(epoch).or_insert_with(|| info.clone()), &info, "everybody holds the same of {epoch:?}");
    }
    let fingerprints: std::collections::BTreeSet<_> = seen.values().map(|(_, _, fingerprint)| fingerprint).collect();
    assert_eq!(fingerprints.len(), seen.len(), "no two epochs have one key");
    assert!(all.iter().all(|program| !program.printed().contains("\"security\"")), "nobody is alarmed");
}
