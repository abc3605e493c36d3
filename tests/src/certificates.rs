//! An authority of a test's own, and certificates by it, made by the program `openssl`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Files in a directory that everybody may read: servers are run by other users.
#[derive(Debug)]
pub struct Certificates {
    dir: PathBuf,
}

/// Removes the directory when its input ends, which the end of this program does.
const MAKE: &str = r#"
trap '' INT TERM HUP
mkdir -m 755 "$1" && cd "$1" || exit 1
made() { echo made; read -r _; cd / && rm -rf "$1"; exit; }
failed() { cat log; cd / && rm -rf "$1"; exit 1; }
exec 2>log
new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
for name in authority stranger; do
    openssl req -x509 $new -days 2 -subj "/CN=$name of a test" -keyout $name.key -out $name.pem || failed "$1"
done
openssl req $new -subj /CN=localhost -keyout server.key -out server.csr || failed "$1"
printf 'subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n' >names
by='-CA authority.pem -CAkey authority.key -CAcreateserial -extfile names'
openssl x509 -req -in server.csr $by -days 2 -out server.pem || failed "$1"
openssl x509 -req -in server.csr $by -days -1 -out expired.pem || failed "$1"
openssl x509 -req -in server.csr -signkey server.key -extfile names -days 2 -out own.pem || failed "$1"
chmod 644 *
made "$1"
"#;

/// Those of this program, made when they are first asked for. They are for the host `localhost` alone.
///
/// # Errors
/// Why there are none.
pub fn certificates() -> Result<&'static Certificates, String> {
    static MADE: OnceLock<Result<Certificates, String>> = OnceLock::new();
    MADE.get_or_init(Certificates::make).as_ref().map_err(Clone::clone)
}

impl Certificates {
    fn make() -> Result<Self, String> {
        use std::io::Read;
        let dir = std::env::temp_dir().join(format!("cacheness-certificates-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", MAKE, "sh"]).arg(&dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("sh does not start: {error}"))?;
        let (mut said, mut output) = (String::new(), child.stdout.take());
        let mut bytes = [0; 1];
        while !said.ends_with("made\n") && output.as_mut().is_some_and(|output| output.read_exact(&mut bytes).is_ok()) {
            said.push(char::from(bytes[0]));
        }
        // Held open for as long as this program runs.
        std::mem::forget(child.stdin.take());
        if said.ends_with("made\n") { Ok(Self { dir }) } else { Err(format!("openssl makes no certificates: {said}")) }
    }

    /// The authority that has signed them.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("authority.pem")
    }

    /// One that has signed none of them.
    pub fn stranger(&self) -> PathBuf {
        self.dir.join("stranger.pem")
    }

    /// The certificate of a server.
    pub fn server(&self) -> PathBuf {
        self.dir.join("server.pem")
    }

    /// One that no authority has signed.
    pub fn own(&self) -> PathBuf {
        self.dir.join("own.pem")
    }

    /// One that was valid until yesterday.
    pub fn expired(&self) -> PathBuf {
        self.dir.join("expired.pem")
    }

    /// The key of all of them.
    pub fn key(&self) -> PathBuf {
        self.dir.join("server.key")
    }
}
