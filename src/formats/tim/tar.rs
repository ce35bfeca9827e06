//! Tar as tim-stim.md §2.1 writes it, and a reader that takes ustar, the old and the GNU header, and of PAX
//! the path, and refuses every other trick.
//!
//! The reader works on one slice and copies nothing: a size that lies costs nothing, since no more is believed
//! than is there. Sizes are plain octal; links, devices, FIFOs, sparse files, GNU long names, global PAX
//! headers and PAX records that change a size refuse the archive. Where the fields of a header stand is the `tar` crate's
//! knowledge; its reader of archives is not used, because it follows most of these tricks.

use super::names::{self, Together};
use crate::base::{Error, Refusal, Result};
use std::borrow::Cow;
use tar::Header;

/// Size of a block, bytes.
pub const BLOCK_BYTES: usize = 512;

/// The two zero blocks at the end.
pub const END_BYTES: usize = 2 * BLOCK_BYTES;

/// The longest PAX header, bytes: a path and some times need far less.
const PAX_BYTES_MAX: usize = 8 << 10;

/// PAX records that change nothing here.
const PAX_HARMLESS: [&str; 8] = ["atime", "comment", "ctime", "gid", "gname", "mtime", "uid", "uname"];

/// How much an archive may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries, folders included.
    pub entries_max: usize,
    /// All names together, bytes.
    pub names_bytes_max: usize,
    /// One file, bytes.
    pub file_bytes_max: u64,
    /// All files together, bytes.
    pub total_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { entries_max: 4096, names_bytes_max: 256 << 10, file_bytes_max: 1 << 30, total_bytes_max: 1 << 30 }
    }
}

/// One entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarEntry<'a> {
    /// The name, checked; a folder's without the `/` at its end.
    pub name: Cow<'a, str>,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether anybody may execute it. Nothing else of the mode is kept: no setuid, nothing writable by group or others.
    pub executable: bool,
    /// The content, in the archive's own bytes.
    pub data: &'a [u8],
}

/// What ends an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Two zero blocks: without them a file that was cut between two entries looks whole.
    Marked,
    /// Also the end of the bytes between two entries, and no bytes at all: for what was authenticated as a whole.
    Open,
}

fn bad(detail: impl Into<String>) -> Error {
    Error::malformed("archive", detail)
}

fn limit(what: String) -> Error {
    Refusal::Limit(format!("archive: {what}")).into()
}

/// Reads a whole archive. The archive's own root (`./`) is counted and left out of the result.
///
/// # Errors
/// [`Error::Malformed`]: anything but a clean end, a bad header, a name or an entry of a kind that is refused,
/// two names alike. [`Refusal::Limit`]: more than `limits` allow.
pub fn read(bytes: &[u8], limits: Limits, end: End) -> Result<Vec<TarEntry<'_>>> {
    let (mut entries, mut together) = (Vec::new(), Together::default());
    let (mut count, mut names_bytes, mut total) = (0usize, 0usize, 0u64);
    let (mut rest, mut pax_path) = (bytes, None);
    while let Some(header) = next_header(&mut rest, end)? {
        count += 1;
        if count > limits.entries_max {
            return Err(limit(format!("more than {} entries", limits.entries_max)));
        }
        let kind = header.entry_type().as_byte();
        let size = octal(&header.as_old().size, "size")?;
        if kind == b'x' {
            if pax_path.is_some() {
                return Err(bad("two PAX headers for one entry"));
            }
            if size > PAX_BYTES_MAX as u64 {
                return Err(limit(format!("a PAX header longer than {PAX_BYTES_MAX} bytes")));
            }
            pax_path = Some(pax_path_of(take_data(&mut rest, size)?)?);
            continue;
        }
        let own_name = name_of(header)?;
        let name = match pax_path.take() {
            Some(Some(path)) => Cow::Borrowed(path),
            _ => own_name,
        };
        names_bytes = names_bytes.saturating_add(name.len());
        if names_bytes > limits.names_bytes_max {
            return Err(limit(format!("names of more than {} bytes", limits.names_bytes_max)));
        }
        let is_folder = match header.as_old().linkflag.first().copied().unwrap_or_default() {
            b'5' => true,
            // Before there was a type for folders, the slash said it.
            0 => name.ends_with('/'),
            b'0' => false,
            other => return Err(bad(refused_kind(other, &name))),
        };
        if is_folder && size != 0 {
            return Err(bad(format!("the folder {name:?} has content")));
        }
        if size > limits.file_bytes_max {
            return Err(limit(format!("the file {name:?} is larger than {} bytes", limits.file_bytes_max)));
        }
        total = total.saturating_add(size);
        if total > limits.total_bytes_max {
            return Err(limit(format!("files of more than {} bytes together", limits.total_bytes_max)));
        }
        let executable = !is_folder && may_execute(&header.as_old().mode)?;
        let data = take_data(&mut rest, size)?;
        let Some(name) = checked(name, is_folder)? else { continue };
        together.add(&name, !is_folder)?;
        entries.push(TarEntry { name, is_folder, executable, data });
    }
    if pax_path.is_some() {
        return Err(bad("a PAX header without an entry"));
    }
    together.finish()?;
    Ok(entries)
}

/// The name by the rule of [`names`], without a copy when it was one slice.
fn checked(name: Cow<'_, str>, is_folder: bool) -> Result<Option<Cow<'_, str>>> {
    fn pick(name: &str, is_folder: bool) -> Result<Option<&str>> {
        if is_folder { names::normalise_folder(name) } else { names::normalise(name).map(Some) }
    }
    Ok(match name {
        Cow::Borrowed(name) => pick(name, is_folder)?.map(Cow::Borrowed),
        Cow::Owned(name) => pick(&name, is_folder)?.map(|name| Cow::Owned(name.to_owned())),
    })
}

fn refused_kind(kind: u8, name: &str) -> String {
    let what = match kind {
        b'1' => "a hard link",
        b'2' => "a symbolic link",
        b'3' | b'4' => "a device",
        b'6' => "a FIFO",
        b'S' => "a sparse file",
        b'L' | b'K' => "a GNU long name",
        b'g' => "a global PAX header",
        _ => return format!("{name:?} is an entry of the unknown type {:?}", char::from(kind)),
    };
    format!("{name:?} is {what}, which is refused")
}

/// A text field: up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// The name in the header: ustar's has a prefix; GNU's has other things in its place.
fn name_of(header: &Header) -> Result<Cow<'_, str>> {
    let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| bad("a name is not UTF-8"));
    let name = utf8(text(&header.as_old().name))?;
    match header.as_ustar().map(|ustar| text(&ustar.prefix)) {
        Some(prefix) if !prefix.is_empty() => Ok(Cow::Owned(format!("{}/{name}", utf8(prefix)?))),
        _ => Ok(Cow::Borrowed(name)),
    }
}

/// The sum over the header, with its own field as spaces.
fn sum(block: &[u8; BLOCK_BYTES]) -> u64 {
    block.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*b) }).sum()
}

/// The next header, `None` at the end.
fn next_header<'a>(rest: &mut &'a [u8], end: End) -> Result<Option<&'a Header>> {
    let Some((block, tail)) = rest.split_first_chunk::<BLOCK_BYTES>() else {
        return match (rest.is_empty(), end) {
            (true, End::Open) => Ok(None),
            (true, End::Marked) => Err(bad("unexpected end: the two zero blocks are missing")),
            (false, _) => Err(bad("unexpected end inside a header")),
        };
    };
    if block.iter().all(|b| *b == 0) {
        let marked = tail.len() >= BLOCK_BYTES || end == End::Open;
        return match tail.iter().all(|b| *b == 0) {
            true if marked => Ok(None),
            true => Err(bad("unexpected end: the second zero block is missing")),
            false => Err(bad("something follows the end")),
        };
    }
    *rest = tail;
    // Takes a slice, and is only right for one of a whole block.
    let header = Header::from_byte_slice(block);
    if octal(&header.as_old().cksum, "checksum")? != sum(block) {
        return Err(bad("invalid tar header (checksum)"));
    }
    Ok(Some(header))
}

/// A number as tar writes it: spaces, octal digits, then NULs or spaces. Nothing at all is 0.
fn octal(field: &[u8], what: &str) -> Result<u64> {
    let wrong = || bad(format!("invalid tar header ({what})"));
    let mut digits = field.trim_ascii_start();
    if let Some(end) = digits.iter().position(|b| !b.is_ascii_digit()) {
        let (number, rest) = digits.split_at_checked(end).ok_or_else(wrong)?;
        if rest.iter().any(|b| *b != 0 && *b != b' ') {
            return Err(wrong());
        }
        digits = number;
    }
    // At most 12 digits of 3 bits.
    digits.iter().try_fold(0u64, |n, d| if *d < b'8' { Ok(n << 3 | u64::from(d - b'0')) } else { Err(wrong()) })
}

/// Whether the mode lets anybody execute the file. Modes with Go's own high bits come as binary numbers.
fn may_execute(mode: &[u8]) -> Result<bool> {
    let low = match mode {
        [0x80, .., low] => u64::from(*low),
        _ => octal(mode, "mode")?,
    };
    Ok(low & 0o111 != 0)
}

/// Takes an entry's content and its padding.
fn take_data<'a>(rest: &mut &'a [u8], size: u64) -> Result<&'a [u8]> {
    let cut = || bad("unexpected end inside a file");
    let size = usize::try_from(size).map_err(|_| cut())?;
    let padded = size.checked_next_multiple_of(BLOCK_BYTES).ok_or_else(cut)?;
    let (data, tail) = rest.split_at_checked(padded).ok_or_else(cut)?;
    *rest = tail;
    data.get(..size).ok_or_else(cut)
}

/// The path of a PAX header, if it has one. Records are `LENGTH KEY=VALUE\n`, the length counting all of it.
fn pax_path_of(mut records: &[u8]) -> Result<Option<&str>> {
    let wrong = || bad("invalid PAX header");
    let mut path = None;
    while !records.is_empty() {
        let space = records.iter().position(|b| *b == b' ').ok_or_else(wrong)?;
        let (digits, _) = records.split_at_checked(space).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        if digits.len() > 5 || !digits.bytes().all(|d| d.is_ascii_digit()) {
            return Err(wrong());
        }
        let length: usize = digits.parse().map_err(|_| wrong())?;
        let (record, tail) = records.split_at_checked(length).ok_or_else(wrong)?;
        records = tail;
        let record = record.get(space + 1..).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(wrong)?;
        let (key, value) = std::str::from_utf8(record).ok().and_then(|r| r.split_once('=')).ok_or_else(wrong)?;
        match key {
            "path" if path.is_none() && !value.is_empty() => path = Some(value),
            "path" => return Err(wrong()),
            key if PAX_HARMLESS.contains(&key) => {}
            key => return Err(bad(format!("a PAX record {key:?}, which is refused"))),
        }
    }
    Ok(path)
}

/// How many bytes [`push_file`] appends.
pub fn file_bytes(name: &str, data_bytes: usize) -> usize {
    let extra = match split(name) {
        Some(_) => 0,
        None => BLOCK_BYTES + pax_record(name).len().next_multiple_of(BLOCK_BYTES),
    };
    extra + BLOCK_BYTES + data_bytes.next_multiple_of(BLOCK_BYTES)
}

/// Appends a file, owner and time 0. `mode` is 0600, or 0755 for what can be executed.
///
/// # Errors
/// [`Error::Malformed`] for a name that no reader takes, [`Refusal::Limit`] for 8 GiB or more.
pub fn push_file(out: &mut Vec<u8>, name: &str, executable: bool, data: &[u8]) -> Result<()> {
    let name = names::normalise(name)?;
    out.reserve(file_bytes(name, data.len()));
    push_header(out, name, if executable { 0o755 } else { 0o600 }, data.len(), b'0')?;
    out.extend_from_slice(data);
    pad(out, data.len());
    Ok(())
}

/// Appends a folder, mode 0755. `name` has no `/` at its end.
///
/// # Errors
/// As [`push_file`].
pub fn push_folder(out: &mut Vec<u8>, name: &str) -> Result<()> {
    let name = format!("{}/", names::normalise(name)?);
    push_header(out, &name, 0o755, 0, b'5')
}

/// Appends the two zero blocks.
pub fn push_end(out: &mut Vec<u8>) {
    out.resize(out.len() + END_BYTES, 0);
}

/// Zeros up to the next whole block behind `size` bytes of content.
fn pad(out: &mut Vec<u8>, size: usize) {
    out.resize(out.len() + size.next_multiple_of(BLOCK_BYTES) - size, 0);
}

/// Where a name stands in the ustar header: prefix and rest. `None` when it does not fit there.
fn split(name: &str) -> Option<(&str, &str)> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= 100 {
        return Some(("", name));
    }
    let most = if name.len() > 156 { 156 } else { name.strip_suffix('/').unwrap_or(name).len() };
    let (prefix, _) = name.get(..most)?.rsplit_once('/')?;
    let rest = name.get(prefix.len() + 1..)?;
    (!prefix.is_empty() && prefix.len() <= 155 && (1..=100).contains(&rest.len())).then_some((prefix, rest))
}

/// `LENGTH path=NAME\n`, the length counting its own digits.
fn pax_record(name: &str) -> String {
    let bare = name.len() + " path=\n".len();
    let mut length = bare + 1;
    while length != bare + length.to_string().len() {
        length = bare + length.to_string().len();
    }
    format!("{length} path={name}\n")
}

fn push_header(out: &mut Vec<u8>, name: &str, mode: u32, size: usize, kind: u8) -> Result<()> {
    if size as u64 >= 1 << 33 {
        return Err(limit(format!("{name:?} has 8 GiB or more")));
    }
    if let Some((prefix, rest)) = split(name) {
        out.extend_from_slice(&block(prefix, rest, mode, size, kind));
        return Ok(());
    }
    // The real name stands in a PAX header in front; what is left of it here is for readers without PAX.
    let (folder, base) = name.trim_end_matches('/').rsplit_once('/').map_or(("", name), |(f, b)| (f, b));
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let record = pax_record(name);
    let pax_name = ascii(&format!("{folder}PaxHeaders.0/{base}"));
    let mut pax = block("", pax_name.trim_end_matches('/'), 0, record.len(), b'x');
    if let Some(devices) = pax.get_mut(329..345) {
        devices.fill(0);
    }
    seal_header(&mut pax);
    out.extend_from_slice(&pax);
    out.extend_from_slice(record.as_bytes());
    pad(out, record.len());
    out.extend_from_slice(&block("", &ascii(name), mode, size, kind));
    Ok(())
}

/// At most 100 bytes of what is ASCII, with no `/` at the end where it was cut.
fn ascii(name: &str) -> String {
    let plain: String = name.chars().filter(char::is_ascii).collect();
    match plain.get(..100) {
        Some(cut) if plain.len() > 100 => cut.trim_end_matches('/').to_owned(),
        _ => plain,
    }
}

fn block(prefix: &str, name: &str, mode: u32, size: usize, kind: u8) -> [u8; BLOCK_BYTES] {
    let mut header = Header::new_ustar();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        ustar.prefix.iter_mut().zip(prefix.bytes()).for_each(|(to, from)| *to = from);
        ustar.set_device_major(0);
        ustar.set_device_minor(0);
    }
    let mut block = *header.as_bytes();
    seal_header(&mut block);
    block
}

/// Writes the checksum, six digits as Go does; the crate's own has seven.
fn seal_header(block: &mut [u8; BLOCK_BYTES]) {
    let text = format!("{:06o}\0 ", sum(block));
    block.iter_mut().skip(148).zip(text.bytes()).for_each(|(to, from)| *to = from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    /// An archive with one entry made by hand.
    fn one(change: impl FnOnce(&mut [u8; BLOCK_BYTES]), data: &[u8]) -> Vec<u8> {
        let mut head = block("", "a", 0o600, data.len(), b'0');
        change(&mut head);
        seal_header(&mut head);
        let mut out = [&head[..], data].concat();
        pad(&mut out, data.len());
        push_end(&mut out);
        out
    }

    fn put(block: &mut [u8; BLOCK_BYTES], at: usize, bytes: &[u8]) {
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn pax(records: &[u8], entry: &[u8]) -> Vec<u8> {
        let mut out = block("", "PaxHeaders.0/a", 0, records.len(), b'x').to_vec();
        out.extend_from_slice(records);
        pad(&mut out, records.len());
        out.extend_from_slice(entry);
        out
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<TarEntry<'_>>> {
        read(bytes, Limits::default(), End::Marked)
    }

    fn why(bytes: &[u8]) -> String {
        read_all(bytes).unwrap_err().to_string()
    }

    #[test]
    fn another_implementation_reads_what_is_written() {
        let names =
            ["a".to_owned(), "d/é".to_owned(), "x".repeat(160), format!("{}/{}", "d".repeat(120), "y".repeat(60))];
        let mut out = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let before = out.len();
            push_file(&mut out, name, i % 2 == 1, &vec![7; 500 * i]).unwrap();
            assert_eq!(out.len() - before, file_bytes(name, 500 * i));
        }
        push_folder(&mut out, "d").unwrap();
        push_end(&mut out);
        let mut theirs = Vec::new();
        for entry in ::tar::Archive::new(&out[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            theirs.push((entry.path().unwrap().to_str().unwrap().to_owned(), entry.header().mode().unwrap(), data));
        }
        let ours = read_all(&out).unwrap();
        assert_eq!(ours.len(), theirs.len());
        for (ours, (name, mode, data)) in ours.iter().zip(&theirs) {
            assert_eq!((&*ours.name, ours.data), (name.trim_end_matches('/'), &data[..]));
            assert_eq!(ours.executable, mode & 0o111 != 0 && !ours.is_folder);
        }
    }

    #[test]
    fn ordinary_tars_of_another_implementation_are_read() {
        for gnu in [false, true] {
            let mut builder = ::tar::Builder::new(Vec::new());
            for (name, mode, data) in [("./", 0o755, ""), ("./bin/", 0o775, ""), ("./bin/x", 0o4777, "program")] {
                let mut header = if gnu { ::tar::Header::new_gnu() } else { ::tar::Header::new_ustar() };
                let kind = if name.ends_with('/') { ::tar::EntryType::Directory } else { ::tar::EntryType::Regular };
                header.set_entry_type(kind);
                header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
                header.set_mode(mode);
                header.set_mtime(1_700_000_000);
                header.set_size(data.len() as u64);
                header.set_cksum();
                builder.append(&header, data.as_bytes()).unwrap();
            }
            let bytes = builder.into_inner().unwrap();
            let entries = read_all(&bytes).unwrap();
            assert_eq!(entries.iter().map(|e| &*e.name).collect::<Vec<_>>(), ["bin", "bin/x"], "gnu: {gnu}");
            assert!(entries[1].executable && entries[1].data == b"program");
        }
    }

    #[test]
    fn every_kind_of_entry_but_files_and_folders_refuses_the_archive() {
        for kind in [b'1', b'2', b'3', b'4', b'6', b'7', b'S', b'L', b'K', b'g', b'V', b'M', b'?'] {
            assert!(read_all(&one(|h| h[156] = kind, b"")).is_err(), "{kind}");
        }
        assert!(why(&one(|h| h[156] = b'2', b"")).contains("a symbolic link, which is refused"));
        assert!(why(&one(|h| h[156] = b'5', b"x")).contains("has content"));
        assert!(read_all(&one(|h| h[156] = 0, b"x")).is_ok());
        assert!(read_all(&one(|h| put(h, 0, b"d/"), b"")).is_err(), "a file's name ending in a slash");
        let old_folder = one(|h| (put(h, 0, b"d/"), h[156] = 0).1, b"");
        assert!(read_all(&old_folder).unwrap()[0].is_folder);
    }

    #[test]
    fn sizes_are_plain_octal() {
        let sized = |text: &[u8]| one(|h| put(h, 124, text), b"x");
        for good in [b"00000000001\0", b"          1 ", b"1\0\0\0\0\0\0\0\0\0\0\0"] {
            assert!(read_all(&sized(good)).is_ok());
        }
        let lies = [
            b"\x80\0\0\0\0\0\0\0\0\0\0\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"77777777777\0",
            b"777777777777",
            b"00000000009\0",
            b"-0000000001\0",
            b"0000000001x\0",
            b"1 1\0\0\0\0\0\0\0\0\0",
        ];
        for bad in lies {
            assert!(read_all(&sized(bad)).is_err(), "{bad:?}");
        }
        for (mode, want) in
            [(b"0000755\0", true), (b"0104711 ", true), (b"0000644\0", false), (b"\x80\0\0\0\x40\0\0\0", false)]
        {
            assert_eq!(read_all(&one(|h| put(h, 100, mode), b"x")).unwrap()[0].executable, want);
        }
        let mut wrong_sum = one(|_| (), b"x");
        wrong_sum[0] = b'b';
        assert!(why(&wrong_sum).contains("checksum"));
    }

    #[test]
    fn of_pax_the_path_is_taken_and_no_trick() {
        let entry = one(|_| (), b"x");
        let named = pax("25 path=a longer name \u{e9}\n".as_bytes(), &entry);
        assert_eq!(read_all(&named).unwrap()[0].name, "a longer name é");
        assert_eq!(read_all(&pax(b"18 mtime=1.500000\n", &entry)).unwrap()[0].name, "a");
        for bad in [
            &b"10 size=9\n"[..],
            b"22 GNU.sparse.major=1\n",
            b"27 GNU.sparse.realsize=999\n",
            b"14 linkpath=b\n",
            b"11 path=..\n",
            b"12 path=/x\n",
            b"8 path=\n",
            b"9 path=a\n9 path=b\n",
            b"10 path=a\0\n",
            b"99 path=a\n",
            b"0 path=a\n",
            b"path=a\n",
            b"9 path=a",
            b"9999999999999999999 path=a\n",
            b"+9 path=a\n",
            b"9 patha\n",
            b"10 path=\xff\xff\n",
            b"20 SCHILY.xattr.a=b\n",
        ] {
            assert!(read_all(&pax(bad, &entry)).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let two = pax(b"9 path=b\n", &pax(b"9 path=c\n", &entry));
        assert!(why(&two).contains("two PAX headers"));
        let mut alone = pax(b"9 path=b\n", &[]);
        push_end(&mut alone);
        assert!(why(&alone).contains("without an entry"));
        let huge = pax(&[b'1'; PAX_BYTES_MAX + 1], &entry);
        assert!(why(&huge).contains("limit reached"));
    }

    #[test]
    fn a_limit_reached_is_named_and_a_bomb_of_small_entries_is_one() {
        let mut bomb = Vec::new();
        for i in 0..5000 {
            push_file(&mut bomb, &format!("f{i}"), false, b"x").unwrap();
        }
        push_end(&mut bomb);
        assert!(why(&bomb).contains("limit reached: archive: more than 4096 entries"));
        let small = Limits { entries_max: 3, names_bytes_max: 5, file_bytes_max: 2, total_bytes_max: 3 };
        let with = |files: &[(&str, &[u8])]| {
            let mut out = Vec::new();
            files.iter().for_each(|(name, data)| push_file(&mut out, name, false, data).unwrap());
            push_end(&mut out);
            read(&out, small, End::Marked).map(|e| e.len()).map_err(|e| e.to_string())
        };
        assert_eq!(with(&[("a", b"12"), ("b", b"1")]), Ok(2));
        assert!(with(&[("a", b"123")]).unwrap_err().contains("larger than 2 bytes"));
        assert!(with(&[("a", b"12"), ("b", b"12")]).unwrap_err().contains("more than 3 bytes together"));
        assert!(with(&[("abc", b""), ("def", b"")]).unwrap_err().contains("names of more than 5"));
        assert!(with(&[("a", b""), ("b", b""), ("c", b""), ("d", b"")]).unwrap_err().contains("more than 3 entries"));
    }

    #[test]
    fn only_a_clean_end_counts() {
        let whole = one(|_| (), b"x");
        let open = |bytes: &[u8]| read(bytes, Limits::default(), End::Open).map(|e| e.len());
        assert_eq!(open(b"").unwrap(), 0);
        assert_eq!(open(&whole[..1024]).unwrap(), 1);
        assert_eq!(open(&whole[..1536]).unwrap(), 1);
        assert_eq!(read_all(&[&whole[..], &[0; 9216]].concat()).unwrap().len(), 1);
        for cut in [0, 1024, 1536, 2047] {
            assert!(read_all(&whole[..cut]).is_err(), "{cut}");
        }
        for cut in [100, 511, 513, 1023, 1025] {
            assert!(open(&whole[..cut]).is_err(), "{cut}");
        }
        let junk = [&whole[..1536], &[1; 512], &[0; 512]].concat();
        assert!(why(&junk).contains("something follows the end"));
    }
}
