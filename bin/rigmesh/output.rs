//! Standard output: text, or one JSON object a line. A reader that went away ends the command quietly.

use crate::exit::{self, Exit};
use crate::table::safe;
use rigmesh::control::Failure;
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// Where results go.
pub(crate) struct Out {
    json: bool,
    colour: bool,
    terminal: bool,
}

impl Out {
    pub(crate) fn new(json: bool) -> Out {
        let terminal = std::io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Out { json, colour: terminal && !plain && !json, terminal }
    }

    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether colours may be used.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// Text that ends with a new line.
    pub(crate) fn text(&self, text: &str) -> Result<(), Exit> {
        let mut out = std::io::stdout().lock();
        let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        let written =
            out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush());
        written.map_err(|e| match e.kind() {
            std::io::ErrorKind::BrokenPipe => Exit::new(exit::FAILED, ""),
            _ => Exit::new(exit::FAILED, format!("cannot write to standard output: {e}")),
        })
    }

    /// One object on one line.
    pub(crate) fn row(&self, row: &Value) -> Result<(), Exit> {
        self.text(&row.to_string())
    }

    /// Begins a picture anew on a terminal.
    pub(crate) fn clear(&self) -> Result<(), Exit> {
        if self.terminal && !self.json { self.text_raw("\x1b[H\x1b[2J") } else { Ok(()) }
    }

    fn text_raw(&self, text: &str) -> Result<(), Exit> {
        std::io::stdout().write_all(text.as_bytes()).map_err(|_| Exit::new(exit::FAILED, ""))
    }

    /// A message for people, on standard error.
    pub(crate) fn say(&self, message: &str) {
        let _ = writeln!(std::io::stderr(), "{}", safe(message));
    }

    /// The reason that a rig gave no result, on standard error.
    pub(crate) fn say_failure(&self, about: &str, failure: &Failure) {
        self.say(&format!("rigmesh: {about}: {}", failure.message));
    }
}
