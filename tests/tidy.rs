//! The house rules that the compiler does not keep: floors, proofs, and what `proto/` may not do.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Modules of `src/proto` from the ground up; each names lower floors only, and on floors 1 to 3 a
/// module names no neighbour but those listed with it.
const FLOORS: &[&[(&str, &[&str])]] = &[
    &[
        ("bits", &[]),
        ("currency", &[]),
        ("digit", &[]),
        ("encoding", &[]),
        ("field", &[]),
        ("id", &[]),
        ("leg", &[]),
        ("party", &[]),
        ("proof", &[]),
        ("shadow", &[]),
        ("time", &[]),
    ],
    &[
        ("secret", &[]),
        ("rtp", &[]),
        ("codec", &[]),
        ("ng", &[]),
        // Derives what the media path has to know of a leg.
        ("sdp", &[]),
        ("sip", &[]),
    ],
    &[("dtmf", &[]), ("card", &[]), ("audit", &[])],
    &[
        ("mask", &[]),
        ("capture", &[]),
        ("payment", &[]),
        ("link", &[]),
    ],
    &[("call", &[]), ("callback", &[])],
];

/// What decides must not do.
const FORBIDDEN_IN_PROTO: &[&str] = &[
    "tokio::",
    "async fn",
    ".await",
    "Instant::now(",
    "SystemTime::now(",
    "Timestamp::now(",
    "std::net::UdpSocket",
    "std::net::Tcp",
    "std::fs",
    "std::thread",
    "unsafe ",
];

/// A proof, and the only files that may write its constructor.
const PROOFS: &[(&str, &[&str])] = &[
    ("Cleared(", &["src/proto/mask/mod.rs"]),
    (
        "Unarmed(())",
        &["src/proto/mask/mod.rs", "src/proto/mask/masker.rs"],
    ),
    ("Unarmed::from_the_start", &["src/proto/call/stream.rs"]),
    ("Recorded {", &["src/audit_log/mod.rs"]),
    ("Verdict {", &["src/proto/dtmf/mod.rs"]),
];

/// Files that may contain `unsafe`.
const UNSAFE_UNDER: &[&str] = &["src/secret_memory"];

/// Longer files want a seam.
const LONGEST_FILE: usize = 800;

fn sources(under: &str) -> BTreeMap<String, String> {
    fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a source folder can be read") {
            let path = entry.expect("a folder entry can be read").path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    visit(&root.join(under), &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).expect("below the root").display();
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            (name.to_string(), text)
        })
        .collect()
}

/// Lines of code: without comments, and without what stands under `#[cfg(test)]`: a declaration of
/// one line anywhere, a block at the file's end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        let (number, line) = lines.next()?;
        if line != "#[cfg(test)]" {
            return Some((number + 1, line));
        }
        let (_, tested) = lines.next()?;
        tested.ends_with(';').then_some((number + 1, ""))
    })
    .map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

#[test]
fn code_goes_on_after_a_declaration_for_tests_and_ends_at_their_block() {
    let text = "a\n#[cfg(test)]\nmod fakes;\nb // c\n#[cfg(test)]\nmod tests {\nd\n}";
    let found: Vec<_> = code(text).collect();
    assert_eq!(found, [(1, "a"), (2, ""), (4, "b ")]);
}

/// Whether a file is compiled into tests only: its parent declares it under `#[cfg(test)]`.
fn is_test_file(name: &str, all: &BTreeMap<String, String>) -> bool {
    let path = Path::new(name);
    path.ancestors().any(|file| {
        let (Some(folder), Some(module)) = (file.parent(), file.file_stem()) else {
            return false;
        };
        let declaration = format!("#[cfg(test)]\nmod {};", module.to_string_lossy());
        let folder = folder.display().to_string();
        [
            format!("{folder}/mod.rs"),
            format!("{folder}.rs"),
            format!("{folder}/lib.rs"),
        ]
        .iter()
        .filter_map(|parent| all.get(parent))
        .any(|parent| parent.contains(&declaration))
    })
}

#[test]
fn each_module_names_only_lower_floors() {
    let floor_of = |module: &str| {
        FLOORS
            .iter()
            .position(|floor| floor.iter().any(|(name, _)| *name == module))
    };
    let mut wrong = Vec::new();
    let all = sources("src/proto");
    for (name, text) in &all {
        let module = name
            .trim_start_matches("src/proto/")
            .split(['/', '.'])
            .next()
            .unwrap_or_default()
            .to_owned();
        if module == "mod" || is_test_file(name, &all) {
            continue;
        }
        let Some(floor) = floor_of(&module) else {
            wrong.push(format!("{name}: module {module} stands on no floor"));
            continue;
        };
        for (other_floor, modules) in FLOORS.iter().enumerate() {
            for (other, _) in *modules {
                let allowed = *other == module || other_floor < floor;
                if allowed {
                    continue;
                }
                for (line, code) in code(text) {
                    let names = [
                        format!("proto::{other}::"),
                        format!("super::{other}::"),
                        format!("super::super::{other}::"),
                    ];
                    if names.iter().any(|n| code.contains(n.as_str())) {
                        wrong.push(format!("{name}:{line}: floor {floor} names {other}"));
                    }
                }
                // Nested imports: `use crate::proto::{ ... other:: ... }`.
                if imports(text).any(|import| import == *other) {
                    wrong.push(format!("{name}: floor {floor} imports {other}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// First path segments inside `use crate::proto::{…}` and, in a module's own `mod.rs` or file,
/// `use super::{…}`.
fn imports(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split("use crate::proto::{")
        .skip(1)
        .filter_map(|rest| rest.split("};").next())
        .flat_map(top_level_segments)
}

fn top_level_segments(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut segment = String::new();
    let mut segments = Vec::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => segments.push(std::mem::take(&mut segment)),
            _ if depth == 0 => segment.push(c),
            _ => {}
        }
    }
    segments.push(segment);
    segments
        .into_iter()
        .map(|s| s.trim().split("::").next().unwrap_or_default().to_owned())
        .filter(|s| !s.is_empty())
        .collect()
}

#[test]
fn what_decides_does_nothing() {
    let mut wrong = Vec::new();
    let all = sources("src/proto");
    for (name, text) in &all {
        if is_test_file(name, &all) {
            continue;
        }
        for (line, code) in code(text) {
            for word in FORBIDDEN_IN_PROTO {
                // A field may be called `awaited`.
                let longer = |c: char| word.ends_with(char::is_alphabetic) && c.is_alphabetic();
                let mut found = code
                    .match_indices(word)
                    .map(|(at, _)| &code[at + word.len()..]);
                if found.any(|rest| !rest.starts_with(longer)) {
                    wrong.push(format!("{name}:{line}: {word}"));
                }
            }
            for outside in [
                "crate::media",
                "crate::processor",
                "crate::signal",
                "crate::journal",
                "crate::audit_log",
                "crate::http",
                "crate::gateway",
                "crate::secret_memory",
                "crate::callbacks",
            ] {
                if code.contains(outside) {
                    wrong.push(format!("{name}:{line}: names {outside}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a line gives a proof's type another name or more methods, which could mint it unseen.
fn renames_or_extends(code: &str, proof: &str) -> bool {
    let name = proof.split(|c| !is_of_name(c)).next().unwrap_or_default();
    let line = code.trim_start();
    line.match_indices(name).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + name.len()..]);
        let whole = !before.ends_with(is_of_name) && !after.starts_with(is_of_name);
        let extends = line.starts_with("impl") || line.contains("type ");
        whole && (extends || after.starts_with(" as "))
    })
}

#[test]
fn a_proof_is_minted_in_one_place() {
    let mut wrong = Vec::new();
    for (name, text) in sources("src") {
        for (proof, homes) in PROOFS {
            if homes.contains(&name.as_str()) {
                continue;
            }
            for (line, code) in code(&text) {
                let minted = code.match_indices(proof).any(|(at, _)| {
                    // A longer name that ends alike is another thing, a result's type is none.
                    let before = &code[..at];
                    let of_path = |c: char| is_of_name(c) || c == ':';
                    !before.ends_with(is_of_name)
                        && !before.trim_end_matches(of_path).ends_with("-> ")
                });
                let is_type = !proof.contains("::");
                if minted || (is_type && renames_or_extends(code, proof)) {
                    wrong.push(format!("{name}:{line}: {proof}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_in_its_named_module_only() {
    let mut wrong = Vec::new();
    for (name, text) in sources("src") {
        if UNSAFE_UNDER.iter().any(|home| name.starts_with(home)) {
            continue;
        }
        for (line, code) in code(&text) {
            if code.contains("unsafe ") || code.contains("allow(unsafe_code)") {
                wrong.push(format!("{name}:{line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn secrets_cannot_be_printed_copied_or_sent() {
    let secrets = [
        "Key",
        "KeySlot",
        "SealedPress",
        "Pan",
        "Expiry",
        "SecurityCode",
        "PostalCode",
        "RoutingNumber",
        "AccountNumber",
        "CapturedField",
        "NamedEvent",
        "EventPacket",
        "ToneDescription",
        "SigningSecret",
        "Pin",
        "Typed",
    ];
    let forbidden = ["Debug", "Display", "Clone", "Copy", "Serialize"];
    let mut wrong = Vec::new();
    for (name, text) in sources("src/proto") {
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            for secret in secrets {
                let is = |what: &str| {
                    line.split(what).nth(1).is_some_and(|rest| {
                        rest.strip_prefix(secret)
                            .is_some_and(|r| r.starts_with([' ', '(', '<', ';', '{']))
                    })
                };
                if is("pub struct ") || is("pub enum ") {
                    let derives = lines[at.saturating_sub(4)..at].join(" ");
                    let last = derives.rsplit("///").next().unwrap_or_default();
                    for word in forbidden {
                        if last.contains("derive(") && last.contains(word) {
                            wrong.push(format!("{name}:{}: {secret} derives {word}", at + 1));
                        }
                    }
                }
                for word in forbidden {
                    if line.contains(&format!("{word} for {secret} ")) {
                        wrong.push(format!("{name}:{}: {line}", at + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_outgrows_a_head() {
    let long: Vec<_> = sources("src")
        .into_iter()
        .map(|(name, text)| (text.lines().count(), name))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .collect();
    assert!(long.is_empty(), "over {LONGEST_FILE} lines: {long:?}");
}
