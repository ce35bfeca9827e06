//! A flat tree of files in memory (tim-stim.md §1): names to bytes, folders implied.

use super::names;
use crate::base::{Error, Result};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A file. Its bytes may lie in the buffer the archive was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File<'a> {
    /// The content.
    pub data: Cow<'a, [u8]>,
    /// Whether its owner may execute it. The original forgets this; we carry it in the tar's mode.
    pub executable: bool,
}

/// Something met on a walk or in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// On a walk the whole name, `.` for the root; in a folder's list the last component.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// The tree. Every name in it has passed [`names::normalise`]; no file is the folder of another. (That no two
/// names differ only by case is judged where an archive is read or written.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataNode<'a> {
    files: BTreeMap<String, File<'a>>,
}

impl<'a> DataNode<'a> {
    /// An empty one.
    pub fn new() -> DataNode<'a> {
        DataNode::default()
    }

    /// Adds a file, or replaces the one of that name. As in the original one leading `/` is taken off, and a
    /// name that is then empty or ends in `/` is left out; unlike there, every other name must be a proper one.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a name that [`names::normalise`] refuses, and for a file where a folder is or the
    /// other way round. The tree is then as it was.
    pub fn add(&mut self, name: &str, data: impl Into<Cow<'a, [u8]>>) -> Result<()> {
        self.add_file(name, File { data: data.into(), executable: false })
    }

    /// [`DataNode::add`] for a file that may be executable.
    ///
    /// # Errors
    /// As [`DataNode::add`].
    pub fn add_file(&mut self, name: &str, file: File<'a>) -> Result<()> {
        let name = name.strip_prefix('/').unwrap_or(name);
        if name.is_empty() || name.ends_with('/') {
            return Ok(());
        }
        let name = names::normalise(name)?;
        let folders = name.match_indices('/').filter_map(|(at, _)| name.get(..at));
        if self.is_folder(name) || folders.into_iter().any(|folder| self.files.contains_key(folder)) {
            return Err(Error::malformed("archive", format!("{name:?} would be a file and a folder")));
        }
        self.files.insert(name.to_owned(), file);
        Ok(())
    }

    /// A name that the tar reader has checked, alone and together with all others.
    pub(super) fn insert_checked(&mut self, name: String, file: File<'a>) {
        self.files.insert(name, file);
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The file of that name; one leading `/` does not matter.
    pub fn file(&self, name: &str) -> Option<&File<'a>> {
        self.files.get(name.strip_prefix('/').unwrap_or(name))
    }

    /// Takes a file out.
    pub fn remove(&mut self, name: &str) -> Option<File<'a>> {
        self.files.remove(name)
    }

    /// Whether something lies below that name. `.` and the empty name are the root, which an empty tree does
    /// not have.
    pub fn is_folder(&self, name: &str) -> bool {
        match name.strip_prefix('/').unwrap_or(name) {
            "" | "." => !self.files.is_empty(),
            name => self.below(name).next().is_some(),
        }
    }

    /// The files below a folder.
    fn below<'s>(&'s self, folder: &str) -> impl Iterator<Item = &'s String> + use<'s, 'a> {
        let prefix = format!("{folder}/");
        self.files.range(prefix.clone()..).map(|(name, _)| name).take_while(move |name| name.starts_with(&prefix))
    }

    /// What lies in a folder, by name in byte order; nothing when there is no such folder.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the name is a file's.
    pub fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let folder = folder.strip_prefix('/').unwrap_or(folder);
        let mut found = BTreeMap::new();
        let mut take = |rest: &str| {
            let (name, is_folder) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
            found.insert(name.to_owned(), is_folder);
        };
        match folder {
            "" | "." => self.files.keys().for_each(|name| take(name)),
            _ if self.files.contains_key(folder) => {
                return Err(Error::malformed("folder", format!("{folder:?} is a file")));
            }
            _ => self.below(folder).for_each(|name| take(name.get(folder.len() + 1..).unwrap_or_default())),
        }
        Ok(found.into_iter().map(|(name, is_folder)| Entry { name, is_folder }).collect())
    }

    /// Every file with its name, in the order of a walk.
    pub fn files(&self) -> impl Iterator<Item = (&str, &File<'a>)> {
        let mut files: Vec<_> = self.files.iter().map(|(name, file)| (name.as_str(), file)).collect();
        files.sort_by(|(a, _), (b, _)| names::compare(a, b));
        files.into_iter()
    }

    /// The files themselves, in byte order of their names.
    pub fn into_files(self) -> impl Iterator<Item = (String, File<'a>)> {
        self.files.into_iter()
    }

    /// Root, folders and files, depth first. A folder at `depth_max` or deeper (the root is at 0; 0 means no
    /// bound) is reported and not entered; what `keep` says no to is left out, with all that is in it.
    pub fn walk(&self, depth_max: usize, mut keep: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        let mut found = Vec::new();
        let root = Entry { name: ".".to_owned(), is_folder: true };
        if self.files.is_empty() || !keep(&root) {
            return found;
        }
        found.push(root);
        // The folder that the last file lay in, and the folder in it that was left out, if any.
        let (mut open, mut shut): (&str, Option<&str>) = ("", None);
        for (name, _) in self.files() {
            if shut.is_some_and(|folder| is_below(name, folder)) {
                continue;
            }
            shut = None;
            let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
            for (depth, end) in (1..).zip(ends) {
                let (here, is_folder) = (name.get(..end).unwrap_or_default(), end < name.len());
                if is_folder && (here == open || is_below(open, here)) {
                    continue;
                }
                let entry = Entry { name: here.to_owned(), is_folder };
                let kept = keep(&entry);
                if kept {
                    found.push(entry);
                }
                if is_folder {
                    open = here;
                    if !kept || (depth_max != 0 && depth >= depth_max) {
                        shut = Some(here);
                        break;
                    }
                }
            }
        }
        found
    }
}

fn is_below(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(names: &[&str]) -> DataNode<'static> {
        let mut tree = DataNode::new();
        names.iter().for_each(|name| tree.add(name, name.as_bytes().to_vec()).unwrap());
        tree
    }

    fn names(entries: Vec<Entry>) -> Vec<String> {
        entries.into_iter().map(|e| if e.is_folder { e.name + "/" } else { e.name }).collect()
    }

    #[test]
    fn names_are_added_as_far_as_they_are_harmless() {
        let tree = tree(&["/a", "", "/", "d/", "/d2/", "./x/y"]);
        assert_eq!(tree.files().map(|(n, _)| n).collect::<Vec<_>>(), ["a", "x/y"]);
        assert_eq!(tree.file("/x/y").unwrap().data.as_ref(), b"./x/y");
        assert!(tree.is_folder("x") && tree.is_folder(".") && !tree.is_folder("a") && !DataNode::new().is_folder(""));
        let mut tree = tree;
        for bad in ["//b", "../up", "w\\in", "x", "a/b", "x//y"] {
            assert!(tree.add(bad, Vec::new()).is_err(), "{bad}");
        }
        tree.add("a", &b"new"[..]).unwrap();
        assert_eq!((tree.len(), tree.file("a").unwrap().data.as_ref()), (2, &b"new"[..]));
    }

    #[test]
    fn a_walk_goes_by_components_and_can_be_bounded() {
        let tree = tree(&["b", "a/c/d", "a/b", "A", "a.b"]);
        assert_eq!(names(tree.walk(0, |_| true)), ["./", "A", "a/", "a/b", "a/c/", "a/c/d", "a.b", "b"]);
        assert_eq!(names(tree.walk(1, |_| true)), ["./", "A", "a/", "a.b", "b"]);
        assert_eq!(names(tree.walk(2, |_| true)), ["./", "A", "a/", "a/b", "a/c/", "a.b", "b"]);
        assert_eq!(names(tree.walk(0, |e| e.name != "a" && e.name != "b")), ["./", "A", "a.b"]);
        assert!(DataNode::new().walk(0, |_| true).is_empty());
    }

    #[test]
    fn a_folder_lists_what_lies_in_it() {
        let tree = tree(&["b", "a/c/d", "a/b"]);
        assert_eq!(names(tree.list("").unwrap()), ["a/", "b"]);
        assert_eq!(names(tree.list("/a").unwrap()), ["b", "c/"]);
        assert!(tree.list("nope").unwrap().is_empty());
        assert!(tree.list("b").is_err());
    }
}
