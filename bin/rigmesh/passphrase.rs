//! Where a pass-phrase comes from: the file that `RIGMESH_PASSPHRASE_FILE` names, else a question on the terminal
//! whose answer is not shown.

use rigmesh::base::{Error, Result};
use rigmesh::identity::{PASSPHRASE_BYTES_MAX, Passphrase};
use rigmesh::{PASSPHRASE_FILE_VARIABLE, passphrase_for, passphrase_from_environment};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal as _, Read, Stdin, Write as _, stderr, stdin};
use std::path::Path;
use zeroize::Zeroizing;

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;

/// The pass-phrase of the key at `path`.
pub(crate) fn of_key(path: &Path) -> Result<Passphrase> {
    if !stdin().is_terminal() {
        return passphrase_for(path);
    }
    match passphrase_from_environment()? {
        Some(passphrase) => Ok(passphrase),
        None => ask(&format!("pass-phrase of {}: ", path.display())),
    }
}

/// A new pass-phrase, typed twice.
pub(crate) fn new() -> Result<Passphrase> {
    if let Some(passphrase) = passphrase_from_environment()? {
        return Ok(passphrase);
    }
    if !stdin().is_terminal() {
        let why = "no pass-phrase: run this in a terminal, or put it into a file of mode 0600 and set";
        return Err(Error::Passphrase(format!("{why} {PASSPHRASE_FILE_VARIABLE} to its path")));
    }
    let first = ask("new pass-phrase: ")?;
    match ask("the same again: ")? == first {
        true => Ok(first),
        false => Err(Error::Passphrase("the two are not the same; nothing was changed".to_owned())),
    }
}

fn ask(prompt: &str) -> Result<Passphrase> {
    let failed = |e: &std::io::Error| Error::io("cannot ask for the pass-phrase", e);
    let mut error = stderr().lock();
    // Quiet before the question: whoever answers it at once is not shown either.
    let quiet = Quiet::new().map_err(|e| failed(&e))?;
    write!(error, "{}", crate::table::safe(prompt)).and_then(|()| error.flush()).map_err(|e| failed(&e))?;
    let line = typed(&mut Keys(&quiet.stdin));
    drop(quiet);
    let _ = writeln!(error);
    Passphrase::from_bytes(&line?)
}

/// The terminal as long as it shows nothing of what is typed. Keys come one by one, the one that interrupts too: so
/// no way out leaves the terminal as it is now.
struct Quiet {
    stdin: Stdin,
    before: Termios,
}

impl Quiet {
    fn new() -> std::io::Result<Quiet> {
        let stdin = stdin();
        let before = tcgetattr(&stdin)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        // What was typed ahead was typed in sight: it is thrown away.
        tcsetattr(&stdin, OptionalActions::Flush, &quiet)?;
        Ok(Quiet { stdin, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.stdin, OptionalActions::Flush, &self.before);
    }
}

/// What is typed, past the buffer of standard input, which nobody wipes.
struct Keys<'a>(&'a Stdin);

impl Read for Keys<'_> {
    fn read(&mut self, keys: &mut [u8]) -> std::io::Result<usize> {
        Ok(rustix::io::read(self.0, keys)?)
    }
}

/// One line of keys, with the few that edit it.
fn typed(keys: &mut impl Read) -> Result<Zeroizing<Vec<u8>>> {
    // Never grows, so that no copy is left behind.
    let mut line = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX + 1));
    let none = || Error::Passphrase("no pass-phrase was given; nothing was changed".to_owned());
    loop {
        let mut key = [0];
        match keys.read(&mut key) {
            Ok(0) => return Err(none()),
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io("cannot read the pass-phrase", &e)),
        }
        match key {
            [b'\r' | b'\n'] => return Ok(line),
            [CTRL_C] => return Err(none()),
            [CTRL_D] if line.is_empty() => return Err(none()),
            [CTRL_U] => line.clear(),
            // A character may have several bytes; those behind the first begin with the bits 10.
            [BACKSPACE | DELETE] => while line.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {},
            [byte] if line.len() <= PASSPHRASE_BYTES_MAX => line.push(byte),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_make_a_line_and_a_few_edit_it() {
        for (keys, want) in [
            (&b"a b\n"[..], Some(&b"a b"[..])),
            (b"ab\x7fc\r", Some(b"ac")),
            (b"wrong\x15right\n", Some(b"right")),
            ("aé\u{7f}\n".as_bytes(), Some(b"a")),
            (b"\x7f\x7fx\n", Some(b"x")),
            (b"\n", Some(b"")),
            (b"abc\x03", None),
            (b"\x04", None),
            (b"abc", None),
        ] {
            assert_eq!(typed(&mut &*keys).ok().as_deref().map(|line| &line[..]), want, "{keys:?}");
        }
        let long = [&[b'x'; 5000][..], b"\n"].concat();
        let line = typed(&mut &*long).unwrap();
        assert_eq!((line.len(), line.capacity()), (PASSPHRASE_BYTES_MAX + 1, PASSPHRASE_BYTES_MAX + 1));
    }
}
