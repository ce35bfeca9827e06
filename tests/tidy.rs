//! The rules of the house, read from the source: which room may use which, what stays in the
//! runtime, how long a file may be. The crate docs of `src/lib.rs` draw the rooms.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rooms by step. An arrow may only point to a lower step; rooms of one step are strangers.
const STEPS: &[(&str, u8)] = &[
    ("base", 0),
    ("wire", 1),
    ("formats", 1),
    ("identity", 2),
    ("message", 3),
    ("bundle", 4),
    ("session", 5),
    ("peers", 5),
    ("kad", 5),
    ("miners", 5),
    ("mesh", 6),
    ("runtime", 7),
    ("sim", 7),
    ("node", 8),
];

/// What only the runtime (step 7) and above may touch, and what to use instead.
const ONLY_RUNTIME: &[(&str, &str)] = &[
    ("std::net::Tcp", "hand bytes in and out; sockets live in runtime/net"),
    ("std::net::Udp", "hand datagrams in and out; sockets live in runtime/net"),
    ("TcpStream", "hand bytes in and out; sockets live in runtime/net"),
    ("std::thread", "machines have no threads; the runtime drives them"),
    ("std::fs", "hand bytes in and out; files live in runtime/files"),
    ("std::process", "processes live in runtime/process"),
    ("Instant::now", "take `Now` as an argument"),
    ("SystemTime::now", "take `Now` as an argument"),
    ("getrandom", "take `&mut Rng` as an argument"),
    ("OsRng", "take `&mut Rng` as an argument"),
    ("Uuid::new_v4", "use `Rng::uuid`"),
    ("HashMap::new", "use BTreeMap: iteration order must be deterministic"),
];

const LINES_MAX: usize = 800;

fn step(room: &str) -> Option<u8> {
    STEPS.iter().find(|(name, _)| *name == room).map(|(_, step)| *step)
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

/// Lines of code with their numbers: no comments, and nothing after `#[cfg(test)]` up to the end of that item.
fn code(text: &str) -> Vec<(usize, &str)> {
    let (mut kept, mut lines) = (Vec::new(), text.lines().enumerate());
    while let Some((i, line)) = lines.next() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            let mut depth = 0i32;
            for (_, line) in lines.by_ref() {
                depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
                if depth <= 0 && (line.contains('}') || line.trim_end().ends_with(';')) {
                    break;
                }
            }
            continue;
        }
        let bare = line.split("//").next().unwrap_or_default();
        if !bare.trim().is_empty() {
            kept.push((i + 1, bare));
        }
    }
    kept
}

/// Every room named behind `crate::` in a line, grouped imports (`crate::{a::X, b::Y}`) included.
fn rooms_used(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for after in line.split("crate::").skip(1) {
        if let Some(group) = after.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => rooms.push(std::mem::take(&mut word)),
                    _ if depth == 0 => word.push(c),
                    _ => {}
                }
                if depth < 0 {
                    break;
                }
            }
            rooms.push(word);
        } else {
            rooms.push(after.to_owned());
        }
    }
    rooms.iter().map(|r| r.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

#[test]
fn the_house_rules_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut faults = Vec::new();
    for file in &files {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let text = std::fs::read_to_string(file).unwrap();
        let room = name.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        if text.lines().count() > LINES_MAX {
            faults.push(format!("src/{name}: more than {LINES_MAX} lines: split it by what it does"));
        }
        if room == "lib" {
            continue;
        }
        let Some(own) = step(&room) else {
            faults
                .push(format!("src/{name}: the room `{room}` stands on no step: add it to the table in tests/tidy.rs"));
            continue;
        };
        for (line, bare) in code(&text) {
            for used in rooms_used(bare) {
                match step(&used) {
                    Some(other) if used != room && other >= own => faults.push(format!(
                        "src/{name}:{line}: `{room}` (step {own}) uses `{used}` (step {other}): arrows point to lower steps only; move the shared part down or pass it in"
                    )),
                    _ => {}
                }
            }
            if own < 7 {
                for (what, instead) in ONLY_RUNTIME {
                    if bare.contains(what) {
                        faults.push(format!("src/{name}:{line}: `{what}` below step 7: {instead}"));
                    }
                }
            }
        }
    }
    assert!(files.len() > 5, "no sources found under {}", root.display());
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn no_file_of_the_binary_or_of_the_tests_and_benches_is_too_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["bin", "benches", "tests"] {
        sources(&root.join(folder), &mut files);
    }
    let long = files.iter().filter(|file| std::fs::read_to_string(file).unwrap().lines().count() > LINES_MAX);
    let names: Vec<_> = long.map(|file| file.strip_prefix(root).unwrap().display().to_string()).collect();
    assert!(files.len() > 20, "no sources found under {}", root.display());
    assert!(names.is_empty(), "more than {LINES_MAX} lines, split by what they do: {names:?}");
}

#[test]
fn every_test_that_the_table_of_attacks_names_is_there_and_every_attack_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("src/attacks.md")).unwrap();
    let named: BTreeSet<&str> = table.split('`').skip(1).step_by(2).collect();
    let names_in = |folder: &str| {
        let mut files = Vec::new();
        sources(&root.join(folder), &mut files);
        let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<Vec<_>>();
        let tests = texts
            .iter()
            .flat_map(|text| text.split("#[test]\nfn ").skip(1).map(|rest| rest.split('(').next().unwrap().to_owned()));
        tests.collect::<BTreeSet<String>>()
    };
    let (all, attacks) = (names_in("tests"), names_in("tests/attacks"));
    assert!(attacks.len() > 60 && named.len() > 60);
    for name in &named {
        assert!(all.contains(*name), "the table of attacks names {name}, and there is no such test");
    }
    // Those that show what still works, not what is resisted.
    let honest = [
        "an_honest_member_is_served_and_one_without_a_grant_is_told_which_is_missing",
        "a_frame_sealer_that_is_honest_passes_all_of_these",
        "every_pairing_of_nodes_meets_in_the_best_way_both_have",
        "a_go_node_is_served_beside_a_secure_one_both_ways",
        "a_session_survives_hours_of_silence_with_its_keepalive_and_changes_its_keys",
        "two_that_dial_each_other_at_once_keep_the_same_one_session",
        "a_grant_that_is_taken_away_counts_from_the_next_command_on",
        "words_that_are_no_grants_and_keys_that_are_none_change_nothing",
        "both_sides_have_the_command_on_disk_before_the_miner_starts",
        "what_fails_is_noted_by_both_and_what_gets_no_answer_by_one",
        "no_line_has_a_configuration_and_no_read_has_a_line",
        "a_sweep_is_recorded_for_each_rig",
        "an_embedder_that_sends_a_payload_of_its_own_is_recorded_too",
    ];
    for name in attacks.iter().filter(|name| !honest.contains(&name.as_str())) {
        assert!(named.contains(name.as_str()), "the attack {name} is not in the table");
    }
}

#[test]
fn the_rules_see_what_they_forbid() {
    assert_eq!(rooms_used("use crate::mesh::Mesh;"), ["mesh"]);
    assert_eq!(rooms_used("use crate::{base::{Error, Now}, runtime::clock};"), ["base", "runtime"]);
    assert_eq!(code("a\n#[cfg(test)]\nmod tests {\n  std::thread\n}\nb // std::fs\n"), [(1, "a"), (6, "b ")]);
}
