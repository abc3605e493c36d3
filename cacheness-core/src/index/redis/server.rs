//! The connection to one server: commands of all threads on one socket, reconnection, deadlines, scripts, and what becomes
//! of it in a forked child.

use std::fmt::Display;
use std::mem::forget;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind as Failure, RedisError, ServerErrorKind,
    Value,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::config::redis::RedisOptions;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::process::PerProcess;
use crate::util::remote::{self, Call};
#[cfg(feature = "redis-tls")]
use crate::util::tls::stream::Tls;

/// A script, and the name by which a server knows it.
pub(super) struct Script {
    text: String,
    hash: String,
}

impl Script {
    fn new(flags: &str, text: &str) -> Self {
        let text = format!("#!lua {flags}\n{}\n{text}", include_str!("scripts/common.lua"));
        let hash = redis::Script::new(&text).get_hash().to_owned();
        Self { text, hash }
    }
}

/// The scripts, of Redis 7: those that remove are run by a server without room as well.
pub(super) struct Scripts {
    pub(super) begin: Script,
    pub(super) put: Script,
    pub(super) remove: Script,
    pub(super) page: Script,
    pub(super) used: Script,
    pub(super) totals: Script,
    pub(super) changes: Script,
    pub(super) state: Script,
}

pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| {
    let apply = include_str!("scripts/apply.lua");
    Scripts {
        begin: Script::new("flags=allow-oom", include_str!("scripts/begin.lua")),
        put: Script::new("", apply),
        remove: Script::new("flags=allow-oom", apply),
        page: Script::new("flags=allow-oom", include_str!("scripts/page.lua")),
        used: Script::new("flags=allow-oom", include_str!("scripts/used.lua")),
        totals: Script::new("flags=no-writes", include_str!("scripts/totals.lua")),
        changes: Script::new("flags=no-writes", include_str!("scripts/changes.lua")),
        state: Script::new("flags=allow-oom", include_str!("scripts/state.lua")),
    }
});

/// Whether a command is sent again when the connection is lost, after which nobody knows whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It does no harm twice, or does nothing the second time, and who asks can tell.
    Once,
    Never,
}

/// What a server is asked to do.
pub(super) struct Command {
    command: Cmd,
    script: Option<&'static Script>,
    again: Again,
}

impl Command {
    pub(super) fn read(command: Cmd) -> Self {
        Self { command, script: None, again: Again::Once }
    }

    /// A script on the names that begin with `base`.
    pub(super) fn script(script: &'static Script, base: &str) -> Self {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&script.hash).arg(1).arg(base);
        Self { command, script: Some(script), again: Again::Once }
    }

    pub(super) fn arg(mut self, arg: &[u8]) -> Self {
        self.command.arg(arg);
        self
    }

    pub(super) fn again(self, again: Again) -> Self {
        Self { again, ..self }
    }
}

/// Where a connection leads.
struct Target {
    info: ConnectionInfo,
    #[cfg(feature = "redis-tls")]
    tls: Option<Tls>,
    /// How long a call may take.
    deadline: Duration,
}

/// The connection to a server.
pub(super) struct Server {
    target: Arc<Target>,
    link: PerProcess<Link>,
    /// How many connections were made.
    connected: Arc<AtomicU64>,
    closed: AtomicBool,
}

impl Server {
    /// # Errors
    /// What is wrong with the file of authorities, as half a sentence.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, String> {
        let target = Target {
            info: options.server.clone(),
            #[cfg(feature = "redis-tls")]
            tls: match &options.tls {
                Some(trust) => Some(Tls::new(trust.ca_file.as_deref(), None)?),
                None => None,
            },
            deadline: options.deadline,
        };
        Ok(Self {
            target: Arc::new(target),
            link: PerProcess::new(),
            connected: Arc::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// Where it is, without user and password.
    pub(super) fn address(&self) -> String {
        self.target.info.addr().to_string()
    }

    /// The answer to a command. One that [may be](Again) is sent again when the connection was lost, which happens while nobody
    /// uses it.
    ///
    /// # Errors
    /// Of the kind of `call`; [`Closed`](ErrorKind::Closed).
    pub(super) fn ask(&self, call: Call, command: Command) -> Result<Value> {
        Ok(self.ask_telling(call, command)?.0)
    }

    /// [`ask`](Self::ask), and whether the command was sent twice.
    pub(super) fn ask_telling(&self, call: Call, command: Command) -> Result<(Value, bool)> {
        self.try_ask(call, command)?.map_err(|refusal| match refusal {
            // It is there, and answers everything else.
            Refusal::Server { ref code, .. } if code == "OOM" => call.of_kind(ErrorKind::Limit).failed(refusal),
            refusal if refusal.is_outage() => call.of_kind(ErrorKind::Unavailable).failed(refusal),
            Refusal::Untrusted(_) => call.of_kind(ErrorKind::Config).failed(refusal),
            refusal => call.failed(refusal),
        })
    }

    /// [`ask_telling`](Self::ask_telling), whose inner error is what the connection or the server said.
    pub(super) fn try_ask(&self, call: Call, command: Command) -> Result<Result<(Value, bool), Refusal>> {
        self.check_open()?;
        let link = self.link.get(|| Ok::<_, CacheError>(Arc::new(Link::new(&self.connected))))?;
        let target = Arc::clone(&self.target);
        remote::wait(call, target.deadline, async move { Ok(link.ask(&target, &command).await) })
    }

    /// How often a connection was lost and made again. The server may have been started anew meanwhile, and have lost changes
    /// whose numbers it gives to others then.
    pub(super) fn reconnections(&self) -> u64 {
        self.connected.load(Ordering::SeqCst).saturating_sub(1)
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(CacheError::new(ErrorKind::Closed, "the cache is closed"));
        }
        Ok(())
    }

    /// Lets go of the connection. Calls that come later fail.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.link.clear();
    }

    /// Makes the connection that of another process, as it is in a forked child.
    #[cfg(test)]
    pub(super) fn pretend_to_be_forked(&self) {
        self.link.pretend_to_be_forked();
    }
}

/// Why a command has no answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The connection could not be made, or was lost.
    Lost(String),
    /// What listens there does not speak as Redis does.
    Stranger(String),
    /// The server does not prove who it is.
    #[cfg_attr(not(feature = "redis-tls"), allow(dead_code, reason = "for TLS"))]
    Untrusted(String),
    /// The server lets nobody in with this user and password.
    Locked(String),
    /// The server is older than the scripts.
    Old,
    /// The server answered with an error, of this code.
    Server { code: String, text: String },
}

impl Refusal {
    /// Whether it goes away by itself.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Server { code, text } => {
                ["BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "TRYAGAIN"].contains(&code.as_str())
                    || text.contains("max number of clients")
            }
            Self::Stranger(_) | Self::Untrusted(_) | Self::Locked(_) | Self::Old => false,
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost(text) | Self::Stranger(text) | Self::Untrusted(text) | Self::Locked(text) => f.write_str(text),
            Self::Old => f.write_str("the server is older than Redis 7, which it must be at least"),
            Self::Server { text, .. } => f.write_str(text),
        }
    }
}

/// A place for a connection, which is made when it is first used and again when it is lost.
struct Link {
    there: Mutex<Option<Arc<Live>>>,
    connected: Arc<AtomicU64>,
}

/// A connection, and the task that carries its commands and answers.
struct Live {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    fn new(connected: &Arc<AtomicU64>) -> Self {
        Self { there: Mutex::new(None), connected: Arc::clone(connected) }
    }

    async fn ask(&self, target: &Target, command: &Command) -> Result<(Value, bool), Refusal> {
        let (mut is_lost_once, mut is_loaded) = (false, false);
        loop {
            let live = self.connect(target).await?;
            let watched = Watched(&live);
            let outcome = live.send(&command.command).await;
            forget(watched);
            let error = match outcome {
                Ok(answer) => return Ok((answer, is_lost_once)),
                Err(error) => error,
            };
            match (error.kind(), command.script) {
                (Failure::Server(ServerErrorKind::NoScript), Some(script)) if !is_loaded => {
                    is_loaded = true;
                    live.load(script).await?;
                    continue;
                }
                // The server has become a replica: its name may lead to another one by now.
                (Failure::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown), _) => {
                    self.leave(&live).await;
                }
                (Failure::Server(_) | Failure::Extension, _) => {}
                _ => {
                    self.leave(&live).await;
                    if command.again == Again::Once && !is_lost_once {
                        is_lost_once = true;
                        continue;
                    }
                }
            }
            return Err(refusal(&target.info, &error));
        }
    }

    async fn connect(&self, target: &Target) -> Result<Arc<Live>, Refusal> {
        let mut there = self.there.lock().await;
        match &*there {
            // One that has ended is seen here, before anything is sent.
            Some(live) if !live.driver.is_finished() => Ok(Arc::clone(live)),
            _ => {
                let live = there.insert(Arc::new(Live::connect(target).await?));
                self.connected.fetch_add(1, Ordering::SeqCst);
                Ok(Arc::clone(live))
            }
        }
    }

    /// Uses a connection no longer.
    async fn leave(&self, live: &Arc<Live>) {
        let mut there = self.there.lock().await;
        if there.as_ref().is_some_and(|current| Arc::ptr_eq(current, live)) {
            *there = None;
        }
    }
}

impl Live {
    async fn connect(target: &Target) -> Result<Self, Refusal> {
        let address = target.info.addr();
        let ConnectionAddr::Tcp(host, port) = address else {
            return Err(Refusal::Lost(format!("{address} is no address of TCP")));
        };
        let lost = |error: &dyn Display| Refusal::Lost(format!("no connection to {address}: {error}"));
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| lost(&error))?;
        stream.set_nodelay(true).map_err(|error| lost(&error))?;
        #[cfg(feature = "redis-tls")]
        if let Some(tls) = &target.tls {
            return Self::over(target, encrypted(tls, target, host, stream).await?).await;
        }
        Self::over(target, stream).await
    }

    async fn over<S>(target: &Target, stream: S) -> Result<Self, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let info = &target.info;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let opened = MultiplexedConnection::new_with_config(info.redis_settings(), stream, config).await;
        let (connection, driver) = opened.map_err(|error| stranger_or(info, &error))?;
        let live = Self { connection, driver: tokio::spawn(driver) };
        live.send(&redis::cmd("PING")).await.map_err(|error| stranger_or(info, &error))?;
        Ok(live)
    }

    async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        self.connection.clone().send_packed_command(command).await?.extract_error()
    }

    async fn load(&self, script: &Script) -> Result<(), Refusal> {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&script.text);
        match self.send(&command).await {
            Ok(_) => Ok(()),
            // `#!lua` is no Lua.
            Err(error) if error.to_string().contains("compiling") => Err(Refusal::Old),
            Err(error) => Err(Refusal::Server { code: code_of(&error), text: error.to_string() }),
        }
    }
}

#[cfg(feature = "redis-tls")]
async fn encrypted(
    tls: &Tls,
    target: &Target,
    host: &str,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Refusal> {
    let address = target.info.addr();
    // A server without TLS waits for the end of what it takes for a command.
    let connected = tokio::time::timeout(target.deadline * 3 / 4, tls.connect(host, stream)).await;
    let connected = connected.map_err(|_| {
        let hint = "if it has no TLS, write redis:// in connection_url";
        Refusal::Lost(format!("{address} does not answer as TLS begins; {hint}"))
    })?;
    connected.map_err(|refused| match refused.may_pass() {
        true => Refusal::Lost(format!("no connection to {address}: {refused}")),
        false => Refusal::Untrusted(format!("no connection to {address}: {refused}")),
    })
}

/// Cuts a connection whose answer is given up: those behind it would wait for it, too.
struct Watched<'a>(&'a Live);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.driver.abort();
    }
}

fn code_of(error: &RedisError) -> String {
    error.code().unwrap_or_default().to_owned()
}

fn refusal(info: &ConnectionInfo, error: &RedisError) -> Refusal {
    let code = code_of(error);
    let is_locked = ["NOAUTH", "WRONGPASS", "NOPERM"].contains(&&*code);
    match error.kind() {
        Failure::AuthenticationFailed => Refusal::Locked(format!("{} refuses user or password", info.addr())),
        _ if is_locked => Refusal::Locked(format!("{} says {error}", info.addr())),
        Failure::Server(_) | Failure::Extension => Refusal::Server { code, text: error.to_string() },
        _ => Refusal::Lost(format!("the connection to {} was lost: {error}", info.addr())),
    }
}

/// What a connection ended with before the server has said anything.
fn stranger_or(info: &ConnectionInfo, error: &RedisError) -> Refusal {
    match refusal(info, error) {
        Refusal::Lost(_) => {
            let hint = "if it has TLS, write rediss://";
            Refusal::Stranger(format!("what listens at {} does not answer as Redis does; {hint}", info.addr()))
        }
        refusal => refusal,
    }
}
