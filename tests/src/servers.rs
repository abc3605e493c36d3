// One of a kind for each test program, in a directory of its own, ended with the program however that ends. The unit tests
// of the engine include this file.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Says that a test cannot be run here. Where `CACHENESS_REQUIRE_SERVICES` is set everything must be run, and it fails.
///
/// # Panics
/// If the variable is set.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CACHENESS_REQUIRE_SERVICES").is_none(), "this test must run here, but {why}");
    println!("SKIPPED: {why}");
}

/// A PostgreSQL server of this program's own, which listens on a socket in its directory, and on a free port of this machine.
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    port: u16,
    programs: PathBuf,
    /// When it is closed, which the end of this program does, the server ends and its directory is removed.
    _running: ChildStdin,
}

/// Ends the server when its input ends.
const POSTGRES: &str = r#"
trap '' INT TERM HUP
mkdir -m 700 "$1" && cd "$1" || exit 1
"$2/initdb" -D data -A trust -U cacheness -E UTF8 --locale=C --no-sync >log 2>&1 || { cat log; exit 1; }
cat >>data/postgresql.conf <<END
listen_addresses = '127.0.0.1'
port = $3
unix_socket_directories = '$1'
fsync = off
max_connections = 500
END
[ -z "$4" ] || { cp "$4" server.key && chmod 600 server.key; }
for setting in "$@"; do case $setting in *' = '*) echo "$setting" >>data/postgresql.conf;; esac; done
"$2/pg_ctl" -D data -l log -w start >/dev/null 2>&1 || { cat log; exit 1; }
echo ready
read -r _
"$2/pg_ctl" -D data -m immediate stop >/dev/null 2>&1
cd / && rm -rf "$1"
"#;

/// The server of this program, started when it is first asked for; none on systems where none can be.
///
/// # Errors
/// Why there is none.
pub fn postgres() -> Result<&'static Postgres, String> {
    static STARTED: OnceLock<Result<Postgres, String>> = OnceLock::new();
    STARTED.get_or_init(Postgres::start).as_ref().map_err(Clone::clone)
}

impl Postgres {
    /// One of its own, which ends when it is dropped.
    ///
    /// # Errors
    /// Why there is none.
    pub fn start() -> Result<Self, String> {
        Self::start_with(&[], None)
    }

    /// One with these lines of `postgresql.conf`, and with this file as `server.key` beside its data.
    ///
    /// # Errors
    /// Why there is none.
    pub fn start_with(settings: &[&str], key: Option<&Path>) -> Result<Self, String> {
        // A port that is free now may be taken by another program a moment later.
        let once = |_| Self::start_once(settings, key);
        once(String::new()).or_else(once).or_else(once)
    }

    fn start_once(settings: &[&str], key: Option<&Path>) -> Result<Self, String> {
        let programs = programs_of_postgres().ok_or("PostgreSQL (initdb, pg_ctl, postgres) is not installed")?;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("cacheness-postgres-{}-{number}", std::process::id()));
        let port = free_port().map_err(|error| format!("there is no free port: {error}"))?;
        let mut command = as_another_user(Command::new("sh"))?;
        command.args(["-c", POSTGRES, "sh"]).arg(&dir).arg(&programs).arg(port.to_string());
        command.arg(key.unwrap_or(Path::new(""))).args(settings);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = started.map_err(|error| format!("PostgreSQL cannot be started: {error}"))?;
        let (Some(running), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("PostgreSQL has no input or output".to_owned());
        };
        let (mut output, mut line) = (BufReader::new(output), String::new());
        let _ = output.read_line(&mut line);
        if line.trim() != "ready" {
            let _ = output.read_to_string(&mut line);
            return Err(format!("PostgreSQL does not start: {line}"));
        }
        Ok(Self { dir, port, programs, _running: running })
    }

    /// The address of the database that every test has.
    pub fn url(&self) -> String {
        let dir = self.dir.to_string_lossy().replace('%', "%25").replace('/', "%2F");
        format!("postgresql://cacheness@{dir}:{}/postgres", self.port)
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket on which it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(format!(".s.PGSQL.{}", self.port))
    }

    /// A namespace that no other test has.
    pub fn namespace(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// Stops it and starts it again; every connection is lost.
    ///
    /// # Errors
    /// What the program that does so says.
    pub fn restart(&self) -> Result<(), String> {
        let mut command = as_another_user(Command::new(self.programs.join("pg_ctl")))?;
        command.arg("-D").arg(self.dir.join("data")).arg("-l").arg(self.dir.join("log"));
        let done = command.args(["-m", "fast", "-w", "restart"]).stdin(Stdio::null()).stdout(Stdio::null()).status();
        match done {
            Ok(status) if status.success() => Ok(()),
            done => Err(format!("PostgreSQL is not started again: {done:?}")),
        }
    }
}

/// A port of this machine that nobody listens on now.
///
/// # Errors
/// If there is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Where the programs are: in the path, or where Debian puts them.
fn programs_of_postgres() -> Option<PathBuf> {
    let has_all = |dir: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| dir.join(name).is_file());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    versions.sort_by_key(|version| version.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    let debian = versions.into_iter().rev().map(|version| version.path().join("bin"));
    std::env::split_paths(&path).chain(debian).find(has_all)
}

/// PostgreSQL refuses to be run by root: for root it is another user.
#[cfg(unix)]
fn as_another_user(mut command: Command) -> Result<Command, String> {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;
    let is_root = fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0);
    if is_root {
        let (user, group) = ["postgres", "nobody"].into_iter().find_map(user_of).ok_or("there is no user for it")?;
        command.uid(user).gid(group);
    }
    command.current_dir("/");
    Ok(command)
}

#[cfg(not(unix))]
fn as_another_user(_: Command) -> Result<Command, String> {
    Err("servers are started on Unix".to_owned())
}

/// User and group of a name.
#[cfg(unix)]
fn user_of(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string(Path::new("/etc/passwd")).ok()?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// A Redis server of this program's own, on a free port of this machine.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    /// As that of [`Postgres`].
    _running: ChildStdin,
}

/// A user of each Redis server, and the password.
pub const REDIS_USER: (&str, &str) = ("marked", "marked-secret-4711");

const REDIS: &str = r#"
trap '' INT TERM HUP
dir=$1
mkdir -m 700 "$dir" && cd "$dir" || exit 1
shift
redis-server --bind 127.0.0.1 --save '' --appendonly no --dir "$dir" "$@" >log 2>&1 &
server=$!
read -r _
kill -9 $server
cd / && rm -rf "$dir"
"#;

/// The Redis server of this program, started when it is first asked for.
///
/// # Errors
/// Why there is none.
pub fn redis() -> Result<&'static Redis, String> {
    static STARTED: OnceLock<Result<Redis, String>> = OnceLock::new();
    STARTED.get_or_init(|| Redis::start(&[])).as_ref().map_err(Clone::clone)
}

impl Redis {
    /// One with settings of its own, which ends when it is dropped.
    ///
    /// # Errors
    /// Why there is none.
    pub fn start(settings: &[&str]) -> Result<Self, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|dir| dir.join("redis-server").is_file()) {
            return Err("Redis (redis-server) is not installed".to_owned());
        }
        // A port that is free now may be taken by another program a moment later.
        let again = |_| Self::start_once(settings);
        Self::start_once(settings)
            .or_else(again)
            .or_else(again)
            .map_err(|error| format!("Redis does not start: {error}"))
    }

    fn start_once(settings: &[&str]) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("cacheness-redis-{}-{number}", std::process::id()));
        let port = free_port()?;
        let (user, password) = REDIS_USER;
        let mut command = Command::new("sh");
        command.args(["-c", REDIS, "sh"]).arg(&dir).args(["--port", &port.to_string()]);
        command.args(["--user", user, "on", &format!(">{password}"), "~*", "&*", "+@all"]).args(settings);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let running = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let server = Self { port, _running: running };
        let start = Instant::now();
        // Another program's server on this port has another directory.
        while !server.tell("CONFIG GET dir").is_ok_and(|answer| answer.contains(&*dir.to_string_lossy())) {
            if start.elapsed() > Duration::from_secs(10) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// The address of its first database.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A namespace that no other test has.
    pub fn namespace(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// What it answers to a command of one line, up to the first few thousand bytes.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn tell(&self, command: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut answer = [0; 4096];
        let len = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..len]).into_owned())
    }
}
