//! The signing keys of a directory, and what to do where they are not those that it was signed with.

use std::path::Path;

use super::key_file;
use super::manifest::{self, Kind, Manifest};
use crate::config::{InvalidEntries, SecurityConfig, UnsignedEntries};
use crate::error::{CacheError, ErrorKind, Result};
use crate::security::{Signing, SigningKey};
use crate::storage::vfs::{Vfs, io_kind};
use crate::util::emit;

/// What is believed in a directory, and what signs. A directory that has been signed needs a key that is there: a new one
/// would leave all that is signed unbelieved without a word.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) if a key cannot be had; [`Config`](ErrorKind::Config) if there is no place for one.
pub(crate) fn signing_of(
    vfs: &dyn Vfs,
    root: &Path,
    kind: Kind,
    found: Manifest,
    security: &SecurityConfig,
) -> Result<Signing> {
    if !security.signing {
        return Ok(Signing::OFF);
    }
    let from_files = security.previous_key_files.iter().map(|file| key_file::load(vfs, file, root));
    let former: Vec<_> = from_files.chain(security.previous_keys.iter().cloned().map(Ok)).collect::<Result<_>>()?;
    let signer = manifest::signed_with(vfs, root);
    let has_former_signer = former.iter().any(|key| Some(key.id()) == signer);
    let current = match &security.signing_key {
        Some(key) => key.clone(),
        None => {
            let was_signed = signer.is_some() || found == Manifest::Lost;
            let needed = (was_signed && !has_former_signer).then(|| signer.as_deref().unwrap_or("that is not known"));
            key_in_file(vfs, root, security, needed)?
        }
    };
    if let Some(signer) = signer.filter(|signer| *signer != current.id() && !has_former_signer) {
        tell_of_another_key(root, &signer, &current);
    }
    manifest::note_signer(vfs, root, kind, &current.id())?;
    Ok(Signing::with(current, former)
        .for_domain(kind.domain())
        .accepting_unsigned(security.unsigned_entries == UnsignedEntries::Accept)
        .keeping_distrusted(security.invalid_entries == InvalidEntries::Keep))
}

/// The key in the configured file, which is made if no key is `needed` and there is none.
fn key_in_file(vfs: &dyn Vfs, root: &Path, security: &SecurityConfig, needed: Option<&str>) -> Result<SigningKey> {
    let file = security.signing_key_file.clone().map_or_else(key_file::default_path, Ok)?;
    let Some(id) = needed else { return key_file::load_or_make(vfs, &file, root) };
    key_file::load(vfs, &file, root).map_err(|error| match io_kind(&error) {
        Some(std::io::ErrorKind::NotFound) => {
            let message = format!(
                "there is no signing key file {}, and {} may have entries that are signed with a key {id}: put the file back, or \
                 name it in security.signing_key_file; to begin anew, remove the directory, or make a key file by hand",
                file.display(),
                root.display()
            );
            CacheError::caused_by(ErrorKind::Storage, message, error)
        }
        _ => error,
    })
}

/// A key that was lost must not be replaced in silence, also where another directory has made the new one.
fn tell_of_another_key(root: &Path, signer: &str, current: &SigningKey) {
    emit(&format!(
        "cacheness: {} was signed with the key {signer} and is now opened with the key {}: what that one signed stays and is \
         not returned; name its file in security.previous_key_files",
        root.display(),
        current.id()
    ));
}
