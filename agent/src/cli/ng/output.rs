//! Where a WireGuard configuration goes: the terminal, a file, a QR code.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::{Failure, print, qr::Code};
use crate::config::ng::Output;

/// Replaces a file that this user alone may read.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let replace = || {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        // What a crash left behind may have been opened by others.
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    let replaced: std::io::Result<()> = replace();
    replaced.map_err(|error| Failure::Failed(format!("cannot write {path:?}: {error}")))
}

impl Output {
    /// Writes the files that were asked for, and gives what is left to be printed.
    pub(super) fn deliver(&self, text: &str) -> Result<Delivered, Failure> {
        let mut delivered = Delivered::default();
        if let Some(path) = &self.output {
            write_private(path, text.as_bytes())?;
            delivered.files.push(path.display().to_string());
        }
        if self.qr || self.png.is_some() || self.svg.is_some() {
            let code = Code::of(text)?;
            for (path, bytes) in [(&self.png, code.png()), (&self.svg, code.svg().into_bytes())] {
                let Some(path) = path else { continue };
                write_private(path, &bytes)?;
                delivered.files.push(path.display().to_string());
            }
            delivered.qr = self.qr.then(|| code.terminal());
        }
        if delivered.files.is_empty() && delivered.qr.is_none() {
            delivered.text = Some(text.to_owned());
        }
        Ok(delivered)
    }
}

/// What was written where, and what is to be printed.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    pub(super) files: Vec<String>,
    pub(super) text: Option<String>,
    qr: Option<String>,
}

impl Delivered {
    /// Prints it for a person.
    pub(super) fn print(&self) {
        for text in self.text.iter().chain(&self.qr) {
            print::line(text.trim_end());
        }
        for file in &self.files {
            print::line(&format!("written to {file}, readable by you alone"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_readable_by_its_user_alone() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a.conf"), "old, and open to everybody").unwrap();
        let output = Output {
            output: Some(path("a.conf")),
            qr: true,
            png: Some(path("a.png")),
            svg: Some(path("a.svg")),
        };
        let delivered = output.deliver("[Interface]\n").unwrap();
        assert_eq!((delivered.files.len(), delivered.text), (3, None));
        assert!(delivered.qr.unwrap().contains('█'));
        for name in ["a.conf", "a.png", "a.svg"] {
            assert_eq!(fs::metadata(path(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        assert_eq!(fs::read_to_string(path("a.conf")).unwrap(), "[Interface]\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn without_a_file_or_a_code_the_text_is_printed() {
        let output = Output { output: None, qr: false, png: None, svg: None };
        assert_eq!(output.deliver("text").unwrap().text.as_deref(), Some("text"));
    }
}
