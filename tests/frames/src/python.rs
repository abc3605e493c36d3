//! Python with packages, where tests ask other tools what they make of a file.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A Python that has these packages, or why there is none.
///
/// # Errors
/// What is missing.
pub fn python(packages: &[&str]) -> Result<Python, String> {
    let import = format!("import {}", packages.join(", "));
    let tried = Command::new("python3").args(["-c", &import]).stdin(Stdio::null()).output();
    match tried {
        Ok(output) if output.status.success() => Ok(Python),
        Ok(output) => {
            let says = String::from_utf8_lossy(&output.stderr);
            Err(format!("python3 has not all of {}: {}", packages.join(", "), says.lines().last().unwrap_or_default()))
        }
        Err(error) => Err(format!("python3 cannot be run: {error}")),
    }
}

/// A Python whose packages are there.
#[derive(Clone, Copy, Debug)]
pub struct Python;

impl Python {
    /// Runs a program in a directory; returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(self, dir: &Path, program: &str) -> String {
        let mut command = Command::new("python3");
        let output = command.args(["-c", program]).current_dir(dir).stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("python3 cannot be run: {error}"));
        let says = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}\n{says}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// The Python of most tests: asked for once.
pub fn with_all(packages: &'static [&'static str]) -> Option<Python> {
    static FOUND: OnceLock<Result<Python, String>> = OnceLock::new();
    match FOUND.get_or_init(|| python(packages)) {
        Ok(python) => Some(*python),
        Err(why) => {
            crate::skip(why);
            None
        }
    }
}
