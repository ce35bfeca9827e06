//! The one rule for the names of entries: relative, plain components, no two alike.

use crate::base::{Error, Result};
use std::collections::BTreeSet;

/// The longest name, bytes.
pub const NAME_BYTES_MAX: usize = 1024;

/// The longest component of a name, bytes: what file systems take.
pub const COMPONENT_BYTES_MAX: usize = 255;

/// The most components of a name.
pub const COMPONENTS_MAX: usize = 32;

fn bad(name: &str, why: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    Error::malformed("archive", format!("the name {shown:?} {why}"))
}

/// Checks the name of a file and takes a leading `./` off, which is how `tar c .` writes names.
///
/// # Errors
/// [`Error::Malformed`], with the name: empty, absolute, too long or deep; a component that is empty, `.` or
/// `..`; a backslash, a control character, a drive letter. Names are never cleaned up beyond that:
/// `a/../b` is not `b`.
pub fn normalise(name: &str) -> Result<&str> {
    let name = name.strip_prefix("./").unwrap_or(name);
    if name.is_empty() {
        return Err(bad(name, "is empty"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(bad(name, &format!("is longer than {NAME_BYTES_MAX} bytes")));
    }
    if name.starts_with('/') {
        return Err(bad(name, "is absolute"));
    }
    if name.chars().any(|c| c == '\\' || c.is_control()) {
        return Err(bad(name, "has a backslash or a control character"));
    }
    let mut count = 0;
    for component in name.split('/') {
        count += 1;
        match component {
            "" => return Err(bad(name, "has an empty component")),
            "." | ".." => return Err(bad(name, "has a component `.` or `..`")),
            c if matches!(c.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic()) => {
                return Err(bad(name, "has a drive letter"));
            }
            c if c.len() > COMPONENT_BYTES_MAX => {
                return Err(bad(name, &format!("has a component longer than {COMPONENT_BYTES_MAX} bytes")));
            }
            _ => {}
        }
    }
    if count > COMPONENTS_MAX {
        return Err(bad(name, &format!("has more than {COMPONENTS_MAX} components")));
    }
    Ok(name)
}

/// Checks the name of a folder, which may end in one `/`. `None` is the archive's own root (`.` or `./`).
///
/// # Errors
/// As [`normalise`].
pub fn normalise_folder(name: &str) -> Result<Option<&str>> {
    match name {
        "." | "./" => Ok(None),
        _ => normalise(name.strip_suffix('/').unwrap_or(name)).map(Some),
    }
}

/// Orders names by their components, as a walk through folders meets them: `a`, `a/b`, `a.b`.
pub fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    a.split('/').cmp(b.split('/'))
}

/// Looks after a whole archive: no two entries alike, also by case, and no file where a folder must be.
#[derive(Debug, Default)]
pub struct Together {
    lower: BTreeSet<String>,
    entries: Vec<(String, bool)>,
}

impl Together {
    /// Takes the checked name of one more entry.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there is one of that name, whatever the case of its letters.
    pub fn add(&mut self, name: &str, is_file: bool) -> Result<()> {
        if !self.lower.insert(name.to_lowercase()) {
            return Err(bad(name, "stands there twice (upper and lower case count as one)"));
        }
        self.entries.push((name.to_owned(), is_file));
        Ok(())
    }

    /// Judges the whole.
    ///
    /// # Errors
    /// [`Error::Malformed`] when a file is also the folder of another entry.
    pub fn finish(mut self) -> Result<()> {
        // In this order whatever lies in a folder follows right behind the folder's own name.
        self.entries.sort_by(|(a, _), (b, _)| compare(a, b));
        for pair in self.entries.windows(2) {
            if let [(first, true), (second, _)] = pair
                && second.strip_prefix(first.as_str()).is_some_and(|rest| rest.starts_with('/'))
            {
                return Err(bad(first, "is a file and also the folder of another entry"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_pass_and_lose_only_a_leading_dot() {
        for (name, want) in [("a", "a"), ("./a/b", "a/b"), ("..foo", "..foo"), (" sp ace", " sp ace"), ("é/ü", "é/ü")]
        {
            assert_eq!(normalise(name).unwrap(), want);
        }
        assert_eq!(normalise(&"x/".repeat(31)[..61]).unwrap().len(), 61);
        assert_eq!(normalise_folder("./").unwrap(), None);
        assert_eq!(normalise_folder("./d/").unwrap(), Some("d"));
    }

    #[test]
    fn every_way_out_is_refused() {
        let long = ["x".repeat(256), format!("{}x", "y/".repeat(600)), "d/".repeat(32) + "x"];
        let fixed = [
            "",
            ".",
            "..",
            "./",
            "/",
            "/a",
            "//a",
            "a//b",
            "a/",
            "a/./b",
            "././a",
            ".//a",
            "a/../b",
            "../a",
            "a/..",
            "a\\b",
            "..\\x",
            "a\0b",
            "a\nb",
            "C:x",
            "c:/x",
            "./C:/x",
            "rootfs/C:x",
            "./../x",
        ];
        for name in fixed.into_iter().chain(long.iter().map(String::as_str)) {
            assert!(normalise(name).is_err(), "{name:?}");
        }
        for name in ["", "/", "..", "../", "a//", "./.."] {
            assert!(normalise_folder(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn entries_must_get_along() {
        let together = |names: &[&str]| {
            let mut all = Together::default();
            names.iter().try_for_each(|n| all.add(n.trim_end_matches('/'), !n.ends_with('/')))?;
            all.finish()
        };
        together(&["d/", "d/a", "d.a", "d/a.b", "A/x", "a/y"]).unwrap();
        for bad in [&["a", "a"][..], &["a", "A"], &["é", "É"], &["d/", "d"], &["a/b", "a"], &["a", "a.b", "a/b"]] {
            assert!(together(bad).is_err(), "{bad:?}");
        }
    }
}
