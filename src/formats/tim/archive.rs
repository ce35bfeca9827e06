//! TIM (tim-stim.md §2): a configuration and a tree, as one tar.

use super::datanode::{DataNode, File};
use super::names::Together;
use super::tar::{self, End, Limits};
use crate::base::{Error, Refusal, Result};
use std::borrow::Cow;

/// What the original puts where nobody gave a configuration. It means "none" and is no container
/// specification.
pub const DEFAULT_CONFIG: &[u8] = br#"{"Header":{},"Payload":null}"#;

const CONFIG_NAME: &str = "config.json";
const ROOT_NAME: &str = "rootfs";

/// A configuration, which nothing here looks into, and a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tim<'a> {
    /// The configuration; may be empty.
    pub config: Cow<'a, [u8]>,
    /// The tree.
    pub root: DataNode<'a>,
}

impl<'a> Tim<'a> {
    /// The tar, byte for byte as the original writes it (for names in ASCII and files that are not executable; it has
    /// no others).
    ///
    /// # Errors
    /// [`Error::Malformed`] when two names differ only by case, [`Refusal::Limit`] for what no reader takes.
    pub fn to_tar(&self) -> Result<Vec<u8>> {
        check_writable(&self.root)?;
        let name_of = |name: &str| format!("{ROOT_NAME}/{name}");
        let mut size = tar::file_bytes(CONFIG_NAME, self.config.len()) + tar::BLOCK_BYTES + tar::END_BYTES;
        for (name, file) in self.root.files() {
            size = size.saturating_add(tar::file_bytes(&name_of(name), file.data.len()));
        }
        let mut out = Vec::with_capacity(size);
        tar::push_file(&mut out, CONFIG_NAME, false, &self.config)?;
        tar::push_folder(&mut out, ROOT_NAME)?;
        for (name, file) in self.root.files() {
            tar::push_file(&mut out, &name_of(name), file.executable, &file.data)?;
        }
        tar::push_end(&mut out);
        Ok(out)
    }

    /// Reads a tar. What is neither `config.json` nor below `rootfs/` is checked and left out.
    ///
    /// # Errors
    /// As [`tar::read`] with [`End::Marked`]; [`Error::Malformed`] without a configuration, or when it is no file.
    pub fn from_tar(bytes: &'a [u8], limits: Limits) -> Result<Tim<'a>> {
        let (mut config, mut root) = (None, DataNode::new());
        for entry in tar::read(bytes, limits, End::Marked)? {
            if entry.name == CONFIG_NAME {
                if entry.is_folder {
                    return Err(Error::malformed("TIM", "config.json is no file"));
                }
                config = Some(entry.data);
            } else if let Some(name) = entry.name.strip_prefix(ROOT_NAME).and_then(|rest| rest.strip_prefix('/'))
                && !entry.is_folder
            {
                let file = File { data: entry.data.into(), executable: entry.executable };
                root.insert_checked(name.to_owned(), file);
            }
        }
        let config = config.ok_or_else(|| Error::malformed("TIM", "config is nil"))?;
        Ok(Tim { config: config.into(), root })
    }

    /// The configuration, unless it is none: empty, or what the original writes by default.
    pub fn own_config(&self) -> Option<&[u8]> {
        (!self.config.is_empty() && *self.config != *DEFAULT_CONFIG).then_some(&*self.config)
    }
}

/// Refuses what [`tar::read`] would refuse with [`Limits::default`], before a byte of it is written.
fn check_writable(root: &DataNode<'_>) -> Result<()> {
    let (limits, mut together) = (Limits::default(), Together::default());
    let (mut names, mut total) = (0usize, 0u64);
    for (name, file) in root.files() {
        together.add(name, true)?;
        // As it will stand in a TIM, whose own entries count as well.
        names = names.saturating_add(name.len() + ROOT_NAME.len() + 1);
        total = total.saturating_add(file.data.len() as u64);
    }
    // A name may need a PAX header, which counts as an entry.
    if root.len().saturating_mul(2) + 2 > limits.entries_max || names + 64 > limits.names_bytes_max {
        return Err(Refusal::Limit("archive: too many files, or names too long together".to_owned()).into());
    }
    if total > limits.total_bytes_max {
        return Err(Refusal::Limit(format!("archive: files of more than {} bytes", limits.total_bytes_max)).into());
    }
    together.finish()
}

impl<'a> DataNode<'a> {
    /// How many bytes [`DataNode::push_tar`] appends.
    pub fn tar_bytes(&self) -> usize {
        let files = self.files().map(|(name, file)| tar::file_bytes(name, file.data.len()));
        files.fold(tar::END_BYTES, usize::saturating_add)
    }

    /// Appends the tar that STIM seals: the bare names in the order of a walk, times 0 (the original writes them in
    /// any order, with the time of day).
    ///
    /// # Errors
    /// As [`Tim::to_tar`]; `out` may then end in half an archive.
    pub fn push_tar(&self, out: &mut Vec<u8>) -> Result<()> {
        check_writable(self)?;
        for (name, file) in self.files() {
            tar::push_file(out, name, file.executable, &file.data)?;
        }
        tar::push_end(out);
        Ok(())
    }

    /// Reads that tar. No bytes at all are an empty tree.
    ///
    /// # Errors
    /// As [`tar::read`] with [`End::Open`].
    pub fn from_tar(bytes: &'a [u8], limits: Limits) -> Result<DataNode<'a>> {
        let mut root = DataNode::new();
        for entry in tar::read(bytes, limits, End::Open)? {
            if !entry.is_folder {
                let file = File { data: entry.data.into(), executable: entry.executable };
                root.insert_checked(entry.name.into_owned(), file);
            }
        }
        Ok(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tim<'a>(files: &[(&'a str, bool, &'a [u8])]) -> Tim<'a> {
        let mut root = DataNode::new();
        for (name, executable, data) in files {
            root.add_file(name, File { data: (*data).into(), executable: *executable }).unwrap();
        }
        Tim { config: b"{}".into(), root }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let long = "x".repeat(180);
        let deep = format!("{}/{}", "d".repeat(120), "y".repeat(60));
        let files: [(&str, bool, &[u8]); 5] = [
            ("a", true, b""),
            ("b/c", false, &[7; 512]),
            ("é/ü", true, b"1"),
            (&long, false, b"2"),
            (&deep, false, b"3"),
        ];
        let tim = tim(&files);
        let tar = tim.to_tar().unwrap();
        assert_eq!(Tim::from_tar(&tar, Limits::default()).unwrap(), tim);
        let mut bare = Vec::new();
        tim.root.push_tar(&mut bare).unwrap();
        assert_eq!(bare.len(), tim.root.tar_bytes());
        assert_eq!(DataNode::from_tar(&bare, Limits::default()).unwrap(), tim.root);
    }

    #[test]
    fn a_cut_tim_does_not_look_whole() {
        let tar = tim(&[("a", false, b"1"), ("b", false, b"2")]).to_tar().unwrap();
        for cut in 0..tar.len() {
            assert!(Tim::from_tar(&tar[..cut], Limits::default()).is_err(), "cut at {cut}");
        }
        assert!(Tim::from_tar(&[&tar[..], &[0; 100]].concat(), Limits::default()).is_ok());
        assert!(Tim::from_tar(&[&tar[..], &[1]].concat(), Limits::default()).is_err());
    }

    #[test]
    fn a_tim_needs_its_configuration_and_none_is_none() {
        let mut tar = Vec::new();
        tar::push_file(&mut tar, "rootfs/a", false, b"1").unwrap();
        tar::push_end(&mut tar);
        assert!(Tim::from_tar(&tar, Limits::default()).unwrap_err().to_string().contains("config is nil"));
        let config = |config: &'static [u8]| Tim { config: config.into(), root: DataNode::new() };
        assert_eq!(config(b"").own_config(), None);
        assert_eq!(config(DEFAULT_CONFIG).own_config(), None);
        assert_eq!(config(b"{}").own_config(), Some(&b"{}"[..]));
    }

    #[test]
    fn names_that_clash_by_case_are_not_written() {
        assert!(tim(&[("A", false, b""), ("a", false, b"")]).to_tar().is_err());
        assert!(tim(&[("A", false, b""), ("a/b", false, b"")]).to_tar().is_ok());
    }
}
