//! File systems of our own, which need root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program} {}: {said}", arguments.join(" "))) }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// A file system that is mounted until this goes.
pub(crate) struct Mounted {
    pub(crate) at: PathBuf,
}

impl Mounted {
    pub(crate) fn image(image: &Path, at: PathBuf, options: &str) -> Result<Self, String> {
        fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        run("mount", &["-o", &format!("loop,{options}"), text(image), text(&at)])?;
        Ok(Self { at })
    }

    /// A file system in memory with so many bytes.
    pub(crate) fn tmpfs(at: PathBuf, bytes: u64) -> Result<Self, String> {
        fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs", text(&at)])?;
        Ok(Self { at })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A process that was killed a moment ago may still hold it.
        while run("umount", &[text(&self.at)]).is_err() && run("umount", &["-l", text(&self.at)]).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
