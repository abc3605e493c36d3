//! The signing keys of a directory, and what to do where they are not those that it was signed with.

use std::ffi::OsString;
use std::io;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::manifest;
use super::manifest::{Kind, Manifest};
use crate::config::{InvalidEntries, SecurityConfig, UnsignedEntries};
use crate::error::{CacheError, ErrorKind, Result};
use crate::security::{Signing, SigningKey};
use crate::storage::vfs::{ReadFile, Vfs, io_kind, storage_error, user};
use crate::util::digest::unique_name;
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
    let from_files = security.previous_key_files.iter().map(|file| load(vfs, file, root));
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
    let file = security.signing_key_file.clone().map_or_else(default_path, Ok)?;
    let Some(id) = needed else { return load_or_make(vfs, &file, root) };
    load(vfs, &file, root).map_err(|error| match io_kind(&error) {
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

// Key files: read only where nobody else could have read or written them.

/// A key file holds 65 bytes; what is much longer is none.
const LONGEST: u64 = 4096;

/// Permission bits that let anyone but the owner read a file or change it.
const OTHERS_MAY: u32 = 0o077;

/// The key in a file.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) if it cannot be read, or there is none; if it holds no key, lies below the directory
/// `apart_from`, belongs to another user, or may be read or written by others.
pub(crate) fn load(vfs: &dyn Vfs, path: &Path, apart_from: &Path) -> Result<SigningKey> {
    let path = resolved(vfs, path)?;
    read(vfs, &path, apart_from)
}

/// [`load`], with a new key in the file if there is no such file. Of several that make it at once, one does.
///
/// # Errors
/// As [`load`]; also if the file cannot be made.
pub(crate) fn load_or_make(vfs: &dyn Vfs, path: &Path, apart_from: &Path) -> Result<SigningKey> {
    let absolute = std::path::absolute(path).map_err(|error| storage_error("find", path, error))?;
    check_apart(&absolute, apart_from)?;
    if let Some(dir) = absolute.parent() {
        make_dirs(vfs, dir, apart_from)?;
    }
    let path = resolved(vfs, path)?;
    check_apart(&path, apart_from)?;
    if vfs.metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        make(vfs, &path)?;
    }
    read(vfs, &path, apart_from)
}

/// Makes a key file, unless there is one by then. It appears with the key in it: half a key would be refused for ever after.
fn make(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    let staged = path.with_extension(unique_name());
    let made = write_new(vfs, &staged).and_then(|()| vfs.rename_new(&staged, path));
    let synced = match made {
        Ok(()) => path.parent().map_or(Ok(()), |dir| vfs.sync_dir(dir)),
        Err(error) => {
            let _ = vfs.remove(&staged);
            if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
        }
    };
    synced.map_err(|error| storage_error("make the signing key file", path, error))
}

fn write_new(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    let key = SigningKey::generate().map_err(io::Error::other)?;
    let mut file = vfs.create_new(path)?;
    file.write_all(key.to_text().as_bytes())?;
    file.sync()
}

/// Where the key of a user lies: `cacheness/signing.key` in the directory for configurations.
///
/// # Errors
/// [`Config`](ErrorKind::Config) if the environment names no such directory.
pub(crate) fn default_path() -> Result<PathBuf> {
    default_path_by(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn default_path_by(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let configurations = absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .or_else(|| absolute("APPDATA"));
    let configurations = configurations.ok_or_else(|| {
        let message = "there is no home directory to keep a signing key in: name a file in security.signing_key_file";
        CacheError::new(ErrorKind::Config, message)
    })?;
    Ok(configurations.join("cacheness").join("signing.key"))
}

/// The path without links but in its last name, where one is refused.
fn resolved(vfs: &dyn Vfs, path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|error| storage_error("find", path, error))?;
    let (Some(dir), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(refused(path, "it names no file"));
    };
    let dir =
        vfs.canonical(dir).map_err(|error| storage_error("find the directory of the signing key", path, error))?;
    Ok(dir.join(name))
}

fn read(vfs: &dyn Vfs, path: &Path, apart_from: &Path) -> Result<SigningKey> {
    check_apart(path, apart_from)?;
    let mut file = vfs.open(path).map_err(|error| storage_error("open the signing key file", path, error))?;
    check_owner(&*file, path)?;
    let text = text_of(&mut *file).map_err(|error| storage_error("read the signing key file", path, error))?;
    if text.trim_ascii().is_empty() {
        return Err(refused(path, "it is empty: put the key back, or remove the file if there never was one"));
    }
    text.parse().map_err(|error: CacheError| refused(path, &error.to_string()))
}

fn text_of(file: &mut dyn ReadFile) -> io::Result<String> {
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    // Whatever is no text is no key.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Whoever can write entries could read the key there, and then it would prove nothing.
fn check_apart(path: &Path, apart_from: &Path) -> Result<()> {
    if path.starts_with(apart_from) {
        return Err(refused(path, "it lies inside the directory that it is to protect: keep it elsewhere"));
    }
    Ok(())
}

fn check_owner(file: &dyn ReadFile, path: &Path) -> Result<()> {
    let owner = file.owner().map_err(|error| storage_error("examine the signing key file", path, error))?;
    let (Some(owner), Some(user)) = (owner, user()) else { return Ok(()) };
    if owner.uid != user {
        return Err(refused(path, &format!("it belongs to user {}, not to user {user}", owner.uid)));
    }
    if owner.mode & OTHERS_MAY != 0 {
        let mode = owner.mode;
        return Err(refused(path, &format!("others may read or write it (mode {mode:04o}): run `chmod 600` on it")));
    }
    Ok(())
}

fn refused(path: &Path, why: &str) -> CacheError {
    CacheError::new(ErrorKind::Storage, format!("the signing key file {} cannot be used: {why}", path.display()))
}

/// Makes a directory and those above it, but none below `apart_from`, however the path leads there.
fn make_dirs(vfs: &dyn Vfs, dir: &Path, apart_from: &Path) -> Result<()> {
    let error = |error| storage_error("make the directory", dir, error);
    match vfs.canonical(dir) {
        Ok(_) => return Ok(()),
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(error(cause)),
        Err(_) => {}
    }
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else { return Ok(()) };
    if !parent.as_os_str().is_empty() {
        make_dirs(vfs, parent, apart_from)?;
    }
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let place = vfs.canonical(parent).map_err(error)?.join(name);
    check_apart(&place, apart_from)?;
    match vfs.make_dir(&place) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(error(cause)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod key_file_tests {
    use std::fs;

    use super::*;
    use crate::storage::vfs::{Fault, RealVfs, Repeat, SimVfs};

    fn home() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap();
        let (key, cache) = (root.join("keys/of/mine/signing.key"), root.join("cache"));
        fs::create_dir(&cache).unwrap();
        (home, key, cache)
    }

    fn refusal(path: &Path, cache: &Path) -> String {
        let error = load(&RealVfs::new(), path, cache).unwrap_err();
        assert!(error.is_storage(), "{error}");
        error.to_string()
    }

    #[test]
    fn a_key_is_made_once_and_then_read_and_a_missing_one_is_not_made_by_reading() {
        let ((_home, path, cache), vfs) = (home(), RealVfs::new());
        assert!(load(&vfs, &path, &cache).unwrap_err().is_storage());
        let key = load_or_make(&vfs, &path, &cache).unwrap();
        assert_eq!(load_or_make(&vfs, &path, &cache).unwrap(), key);
        assert_eq!(load(&vfs, &path, &cache).unwrap(), key);
        let beside = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "nothing is left of making it");
    }

    #[test]
    fn whatever_fails_in_making_a_key_file_none_is_there_or_a_whole_one() {
        for call in 0.. {
            let vfs = SimVfs::new();
            vfs.make_dir(Path::new("/keys")).unwrap();
            vfs.fail_at(call, Fault::Errno(libc::EIO), Repeat::Once);
            let path = Path::new("/keys/signing.key");
            let made = load_or_make(&vfs, path, Path::new("/cache"));
            if !vfs.clear_faults() {
                assert!(call > 5, "only {call} operations");
                return;
            }
            match made {
                Ok(key) => assert_eq!(load(&vfs, path, Path::new("/cache")).unwrap(), key),
                Err(error) => assert!(error.is_storage(), "{error}"),
            }
            let again = load_or_make(&vfs, path, Path::new("/cache")).unwrap();
            assert_eq!(load(&vfs, path, Path::new("/cache")).unwrap(), again, "operation {call}");
        }
    }

    #[test]
    fn threads_that_make_a_key_at_once_have_the_same_one() {
        let ((_home, path, cache), vfs) = (home(), RealVfs::new());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let made: Vec<_> = (0..8).map(|_| scope.spawn(|| load_or_make(&vfs, &path, &cache))).collect();
            made.into_iter().map(|made| made.join().unwrap().unwrap()).collect()
        });
        let kept = load(&vfs, &path, &cache).unwrap();
        assert!(keys.iter().all(|key| *key == kept));
    }

    #[test]
    fn a_key_inside_the_directory_it_protects_is_refused() {
        let (_home, _, cache) = home();
        let inside = cache.join("signing.key");
        let error = load_or_make(&RealVfs::new(), &inside, &cache).unwrap_err();
        assert!(error.is_storage() && error.to_string().contains("keep it elsewhere"), "{error}");
        assert!(!inside.exists());
        let deeper = cache.join("keys/signing.key");
        assert!(load_or_make(&RealVfs::new(), &deeper, &cache).is_err());
        assert!(!cache.join("keys").exists(), "no directory is made for it either");
    }

    #[cfg(unix)]
    #[test]
    fn no_directory_is_made_for_a_key_that_leads_into_the_directory_by_another_way() {
        let (home, _, cache) = home();
        let root = cache.parent().unwrap();
        fs::create_dir(root.join("beside")).unwrap();
        std::os::unix::fs::symlink(&cache, home.path().join("link")).unwrap();
        for way in ["link/keys/signing.key", "beside/../cache/keys/signing.key", "link/a/b/c/signing.key"] {
            let error = load_or_make(&RealVfs::new(), &root.join(way), &cache).unwrap_err();
            assert!(error.to_string().contains("keep it elsewhere"), "{way}: {error}");
            assert_eq!(fs::read_dir(&cache).unwrap().count(), 0, "{way}");
        }
    }

    #[test]
    fn a_file_without_a_key_is_refused_and_its_text_is_not_told() {
        let (_home, path, cache) = home();
        load_or_make(&RealVfs::new(), &path, &cache).unwrap();
        for text in ["secret words", &"a".repeat(63), &"ä".repeat(32), &"1".repeat(5000)] {
            fs::write(&path, text).unwrap();
            let message = refusal(&path, &cache);
            assert!(message.contains("64 hex digits") && !message.contains(text), "{message}");
        }
        fs::write(&path, "\n").unwrap();
        assert!(refusal(&path, &cache).contains("it is empty"));
        fs::write(&path, [0xff; 64]).unwrap();
        assert!(refusal(&path, &cache).contains("64 hex digits"));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_or_that_is_a_link_is_refused() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let ((_home, path, cache), vfs) = (home(), RealVfs::new());
        load_or_make(&vfs, &path, &cache).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(refusal(&path, &cache).contains("chmod 600"), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let link = path.with_extension("link");
        symlink(&path, &link).unwrap();
        assert!(load(&vfs, &link, &cache).unwrap_err().is_storage());
        assert!(load_or_make(&vfs, &link, &cache).is_err());
    }

    // The paths are absolute on Unix alone.
    #[cfg(unix)]
    #[test]
    fn the_default_place_is_that_of_the_users_configurations() {
        use std::collections::HashMap;
        let at = |variables: &[(&str, &str)]| {
            let variables: HashMap<_, _> = variables.iter().copied().collect();
            default_path_by(|name| variables.get(name).map(OsString::from))
        };
        let in_home = Path::new("/home/me/.config/cacheness/signing.key");
        assert_eq!(at(&[("HOME", "/home/me")]).unwrap(), in_home);
        assert_eq!(at(&[("HOME", "/home/me"), ("XDG_CONFIG_HOME", "relative")]).unwrap(), in_home);
        let elsewhere = at(&[("HOME", "/home/me"), ("XDG_CONFIG_HOME", "/etc/me")]).unwrap();
        assert_eq!(elsewhere, Path::new("/etc/me/cacheness/signing.key"));
        assert!(at(&[]).unwrap_err().is_config());
    }
}
