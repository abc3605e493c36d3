//! Handlers for libraries that only know paths.

use std::io;
use std::path::{Path, PathBuf};

use super::custom::{Handler, HandlerError};
use crate::storage::vfs::publish::PrivateDir;

const LONGEST_EXTENSION: usize = 16;

/// Saves the values of one type as files and loads them again, for libraries that only know paths. [`ByFile`] makes it a
/// [`Handler`].
///
/// ```
/// use std::path::Path;
/// use cacheness::Cache;
/// use cacheness::handler::{ByFile, FileHandler, HandlerError};
///
/// #[derive(Debug, PartialEq)]
/// struct Image(Vec<u8>);
///
/// /// As if it were a library that has `open(path)` and `save(path)`.
/// struct Png;
///
/// impl FileHandler for Png {
///     type Value = Image;
///
///     fn name(&self) -> &str {
///         "png"
///     }
///
///     fn extension(&self) -> &str {
///         "png"
///     }
///
///     fn save(&self, image: &Image, path: &Path) -> Result<(), HandlerError> {
///         Ok(std::fs::write(path, &image.0)?)
///     }
///
///     fn load(&self, path: &Path) -> Result<Image, HandlerError> {
///         Ok(Image(std::fs::read(path)?))
///     }
/// }
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// let image = Image(vec![1, 2, 3]);
/// cache.put_by(&ByFile(Png), "image", &image, Default::default())?;
/// assert_eq!(cache.get_by(&ByFile(Png), "image")?, Some(image));
/// # Ok(())
/// # }
/// ```
#[doc(alias = "StorageHandler")]
pub trait FileHandler: Send + Sync {
    /// The type whose values it handles.
    type Value: 'static;

    /// As [`Handler::name`].
    fn name(&self) -> &str;

    /// What the name of a file ends with, without the dot, as far as the library looks at it: at most 16 letters, digits
    /// and dots, the first of them no dot. Empty for none.
    fn extension(&self) -> &str;

    /// As [`Handler::can_handle`].
    fn can_handle(&self, value: &Self::Value) -> bool {
        let _ = value;
        true
    }

    /// Writes a value to a file, which is there and empty. It may be replaced; what else is made beside it is removed.
    ///
    /// # Errors
    /// Whatever keeps it from writing; nothing is stored then.
    fn save(&self, value: &Self::Value, path: &Path) -> Result<(), HandlerError>;

    /// Reads what [`save`](Self::save) wrote. The file is gone when this returns: what is read later must be read now.
    ///
    /// # Errors
    /// Whatever keeps it from reading; the value is a miss then.
    fn load(&self, path: &Path) -> Result<Self::Value, HandlerError>;
}

/// A [`FileHandler`] as a [`Handler`], by way of a file in the system's directory for temporary files: in a directory of its
/// own that only its owner may enter, and gone when the call is over, also by a panic. There is an example at
/// [`FileHandler`].
///
/// Values pass through that directory as they are, and stay there if the process is killed meanwhile. A limit of
/// `limits.max_value_bytes` is noticed when the file is saved.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByFile<H>(pub H);

impl<H: FileHandler> ByFile<H> {
    fn place(&self) -> Result<(PrivateDir, PathBuf), HandlerError> {
        let extension = self.0.extension();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
        if extension.len() > LONGEST_EXTENSION || extension.starts_with('.') || !extension.bytes().all(is_plain) {
            let rule = "it is at most 16 letters, digits and dots, the first of them no dot";
            return Err(format!("no file can have the extension {extension:?}: {rule}").into());
        }
        let dir =
            PrivateDir::new().map_err(|error| format!("cannot make a directory for a temporary file: {error}"))?;
        let dot = if extension.is_empty() { "" } else { "." };
        let path = dir.join(&format!("value{dot}{extension}"));
        Ok((dir, path))
    }
}

impl<H: FileHandler> Handler for ByFile<H> {
    type Value = H::Value;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn can_handle(&self, value: &H::Value) -> bool {
        self.0.can_handle(value)
    }

    fn write(&self, value: &H::Value, to: &mut dyn io::Write) -> Result<(), HandlerError> {
        let (dir, path) = self.place()?;
        // Made here, so that only the owner may read it, whatever the library says.
        dir.fill(&path, &mut io::empty())?;
        self.0.save(value, &path)?;
        Ok(dir.copy_out(&path, to)?)
    }

    fn read(&self, from: &mut dyn io::Read) -> Result<H::Value, HandlerError> {
        let (dir, path) = self.place()?;
        dir.fill(&path, from)?;
        self.0.load(&path)
    }
}
