//! How the table of `vectors.rs` is carried out: files found, lists decided, cases run and counted.

use serde_json::Value;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Checks one list of a file.
pub(crate) type Check = fn(&mut Run<'_>);

/// What is done with a list.
pub(crate) enum Decision {
    /// Every case of it is run.
    Checked(Check),
    /// A later issue (named) will run it.
    Owed(&'static str),
    /// It is not run, because of this.
    LeftOut(&'static str),
}

/// A case whose verdict differs from the original's on purpose.
pub(crate) struct Differs {
    /// The list it stands in.
    pub(crate) list: &'static str,
    /// Its `desc`, `name` or `note`, or `list[index]` when it has none.
    pub(crate) case: &'static str,
    /// The rule that is followed.
    pub(crate) rule: &'static str,
}

/// The decisions about one file.
pub(crate) struct File {
    /// Below the vectors' folder. `folder/*` stands for every file of the folder that has no row of its own.
    pub(crate) path: &'static str,
    /// Every top-level key of the file; `*` alone for all of them.
    pub(crate) lists: &'static [(&'static str, Decision)],
    /// The cases that differ.
    pub(crate) differs: &'static [Differs],
}

/// What one case showed.
pub(crate) enum Outcome {
    /// The same verdict and the same bytes.
    Same,
    /// Accepted there and refused here, or the other way: needs a decision in the table.
    Other(String),
    /// Wrong, whatever the table says.
    Wrong(String),
}

/// What a run of the table gave.
#[derive(Default)]
pub(crate) struct Report {
    /// Cases run.
    pub(crate) cases: usize,
    /// What is wrong.
    pub(crate) faults: Vec<String>,
}

/// One list being checked.
pub(crate) struct Run<'a> {
    /// The whole file.
    pub(crate) root: &'a Value,
    /// The list's key.
    pub(crate) list: &'a str,
    file: &'a File,
    report: &'a mut Report,
    used: &'a mut BTreeSet<usize>,
}

impl<'a> Run<'a> {
    /// The list itself.
    pub(crate) fn value(&self) -> &'a Value {
        &self.root[self.list]
    }

    /// Runs `check` on every case of the list.
    pub(crate) fn each(&mut self, check: impl Fn(&Value) -> Outcome) {
        let cases = self.value().as_array().unwrap();
        assert!(!cases.is_empty(), "{} is empty", self.list);
        for (i, case) in cases.iter().enumerate() {
            let named = ["desc", "name", "note", "payload"].iter().find_map(|key| case[key].as_str());
            let name = named.map_or_else(|| format!("{}[{i}]", self.list), str::to_owned);
            self.case(&name, || check(case));
        }
    }

    /// Runs one case. A panic in it is a fault of that case.
    pub(crate) fn case(&mut self, name: &str, check: impl FnOnce() -> Outcome) {
        self.report.cases += 1;
        let outcome = catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Outcome::Wrong(text.unwrap_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or("panic").to_owned()))
        });
        let fault = match outcome {
            Outcome::Same => return,
            Outcome::Other(how) => {
                let mut decisions = self.file.differs.iter().enumerate();
                match decisions.find(|(_, d)| d.list == self.list && d.case == name) {
                    Some((i, decision)) => {
                        assert!(!decision.rule.is_empty());
                        self.used.insert(i);
                        return;
                    }
                    None => format!("{how}, and the table has no decision about it"),
                }
            }
            Outcome::Wrong(how) => how,
        };
        self.report.faults.push(format!("{} {} \"{name}\": {fault}", self.file.path, self.list));
    }
}

/// Compares verdicts: whether the original accepted, and what we say.
pub(crate) fn verdict<T, E: std::fmt::Display>(
    theirs: bool,
    ours: Result<T, E>,
    then: impl FnOnce(T) -> Outcome,
) -> Outcome {
    match (theirs, ours) {
        (true, Ok(value)) => then(value),
        (false, Err(_)) => Outcome::Same,
        (true, Err(e)) => Outcome::Other(format!("accepted by the original, refused here: {e}")),
        (false, Ok(_)) => Outcome::Other("refused by the original, accepted here".to_owned()),
    }
}

/// [`Outcome::Same`] when equal.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, theirs: T) -> Outcome {
    if ours == theirs { Outcome::Same } else { Outcome::Wrong(format!("{what}: {ours:?} instead of {theirs:?}")) }
}

/// The first of several outcomes that is not [`Outcome::Same`].
pub(crate) fn all(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    outcomes.into_iter().find(|o| !matches!(o, Outcome::Same)).unwrap_or(Outcome::Same)
}

/// A text of a case.
pub(crate) fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("no text {key}"))
}

/// Bytes of a case, lower-case hex in the file.
pub(crate) fn bytes(case: &Value, key: &str) -> Vec<u8> {
    hex::decode(text(case, key)).unwrap()
}

/// A fixed number of bytes of a case.
pub(crate) fn array<const N: usize>(case: &Value, key: &str) -> [u8; N] {
    bytes(case, key).try_into().unwrap()
}

fn folder() -> PathBuf {
    match std::env::var_os("RIGMESH_VECTORS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"),
    }
}

/// The `.json` files below `folder`, as paths relative to it.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for room in std::fs::read_dir(folder).unwrap().flatten().filter(|e| e.path().is_dir()) {
        for file in std::fs::read_dir(room.path()).unwrap().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") {
                found.insert(format!("{}/{name}", room.file_name().to_string_lossy()));
            }
        }
    }
    found
}

/// Carries the table out.
pub(crate) fn run(table: &[&File]) -> Report {
    let folder = folder();
    let mut report = Report::default();
    let found = files(&folder);
    for path in &found {
        let wildcard = format!("{}/*", path.split('/').next().unwrap());
        let row = table.iter().find(|f| f.path == path).or_else(|| table.iter().find(|f| f.path == wildcard));
        match row {
            Some(file) => run_file(file, &folder.join(path), &mut report),
            None => report.faults.push(format!("{path}: the table does not name this file")),
        }
    }
    for file in table {
        let checked = file.lists.iter().any(|(_, decision)| matches!(decision, Decision::Checked(_)));
        if checked && !found.contains(file.path) {
            report.faults.push(format!("{}: the file is missing", file.path));
        }
    }
    report
}

fn run_file(file: &File, path: &Path, report: &mut Report) {
    if let [("*", Decision::Owed(to) | Decision::LeftOut(to))] = file.lists {
        println!("{}: not run: {to}", path.display());
        return;
    }
    let root: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut used = BTreeSet::new();
    for key in root.as_object().unwrap().keys() {
        if !file.lists.iter().any(|(list, _)| list == key) {
            report.faults.push(format!("{}: the table does not name the list {key}", file.path));
        }
    }
    for (list, decision) in file.lists {
        if root.get(list).is_none() {
            report.faults.push(format!("{}: a decision about {list}, which is not there", file.path));
            continue;
        }
        match decision {
            Decision::Checked(check) => {
                let before = report.cases;
                check(&mut Run { root: &root, list, file, report, used: &mut used });
                println!("{} {list}: {} cases", file.path, report.cases - before);
            }
            Decision::Owed(to) => println!("{} {list}: owed by {to}", file.path),
            Decision::LeftOut(why) => println!("{} {list}: left out, {why}", file.path),
        }
    }
    for (i, decision) in file.differs.iter().enumerate().filter(|(i, _)| !used.contains(i)) {
        let at = format!("{} {} \"{}\"", file.path, decision.list, decision.case);
        report.faults.push(format!("{at}: decision {i} ({}) matched no case", decision.rule));
    }
}
