//! The connections to one server: pipelined statements, reconnection, deadlines, and what becomes of them in a forked child.
//!
//! Statements of one call are handed to the connection at one moment, all of them, from `BEGIN` to `COMMIT`. So the
//! transactions of several threads follow each other on one connection and never mix, and one that is given up is never left
//! open. No statement has a name and nothing is set for a session: a pooler may give each transaction another one.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::mem::forget;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Connection, Error, NoTls, Row, Socket};

use super::schema::LOCKS;
#[cfg(feature = "postgresql-tls")]
use super::tls::MakeTls;
use crate::config::postgresql::PostgresOptions;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::process::PerProcess;
use crate::util::remote::{self, Call};

/// A call that reads or writes many rows may take so many times as long as others.
const SLOW: u32 = 10;
/// How long an opening and a change of tables may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A statement and what is bound in it.
pub(super) struct Statement {
    sql: String,
    bound: Vec<(Box<dyn ToSql + Send + Sync>, Type)>,
}

impl Statement {
    /// One that names its schema itself.
    pub(super) fn raw(sql: String) -> Self {
        Self { sql, bound: Vec::new() }
    }

    pub(super) fn bind(mut self, value: impl ToSql + Send + Sync + 'static, value_type: Type) -> Self {
        self.bound.push((Box::new(value), value_type));
        self
    }

    pub(super) fn bind_boxed(mut self, value: Box<dyn ToSql + Send + Sync>, value_type: Type) -> Self {
        self.bound.push((value, value_type));
        self
    }

    pub(super) fn into_sql(self) -> String {
        self.sql
    }

    pub(super) async fn ask(&self, client: &Client) -> Result<Vec<Row>, Error> {
        let bound: Vec<(&(dyn ToSql + Sync), Type)> = self
            .bound
            .iter()
            .map(|(value, value_type)| (&**value as &(dyn ToSql + Sync), value_type.clone()))
            .collect();
        client.query_typed(&self.sql, &bound).await
    }
}

/// The transaction around the statements of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    /// None: one statement that takes no time.
    Nothing,
    /// All see the rows of one moment.
    Snapshot,
    /// Committed, and on the disk of the server a moment later.
    Write,
    /// The same, with the lock of this number.
    WriteOne(i32),
    /// Committed, and on the disk of the server with all that was committed before.
    Durable,
}

impl Around {
    fn begin(self, timeout: Duration) -> Option<String> {
        let begin = match self {
            Self::Nothing => return None,
            Self::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Self::Write | Self::WriteOne(_) => {
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = off"
            }
            Self::Durable => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = on",
        };
        let begin = format!("{begin}; SET LOCAL statement_timeout = {}", timeout.as_millis());
        Some(match self {
            Self::WriteOne(number) => format!("{begin}; SELECT pg_advisory_xact_lock({LOCKS}, {number})"),
            _ => begin,
        })
    }
}

/// Which connection a call takes: those that answer at once do not stand behind those that take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Fast,
    Slow,
}

/// Where a connection leads.
struct Target {
    config: Config,
    /// How often a connection was lost and made again.
    lost: AtomicU64,
    #[cfg(feature = "postgresql-tls")]
    tls: Option<MakeTls>,
}

/// The connections to a server.
pub(super) struct Server {
    target: Arc<Target>,
    /// The schema as it stands in statements.
    schema: String,
    deadline: Duration,
    fast: PerProcess<Link>,
    slow: PerProcess<Link>,
    /// Also if the tables are gone, which is another server in the place of this one.
    closed: Arc<AtomicBool>,
}

impl Server {
    /// # Errors
    /// What is wrong with the file of authorities, as half a sentence.
    pub(super) fn new(options: PostgresOptions) -> Result<Self, String> {
        let target = Target {
            config: options.server,
            lost: AtomicU64::new(0),
            #[cfg(feature = "postgresql-tls")]
            tls: match options.tls {
                Some(trust) => Some(MakeTls::new(trust.ca_file.as_deref())?),
                None => None,
            },
        };
        Ok(Self {
            target: Arc::new(target),
            schema: super::quoted(&options.namespace),
            deadline: options.deadline,
            fast: PerProcess::new(),
            slow: PerProcess::new(),
            closed: Arc::default(),
        })
    }

    /// A statement on the tables of the schema, each of which stands there as `@.name`.
    pub(super) fn statement(&self, sql: &str) -> Statement {
        Statement { sql: sql.replace('@', &self.schema), bound: Vec::new() }
    }

    /// The rows of each statement, by one round trip.
    ///
    /// # Errors
    /// Of the kind of `call`; [`Closed`](ErrorKind::Closed), also after the tables were found to be gone. Nothing is tried again
    /// but what only reads: of a change it is not known then whether it was made.
    pub(super) fn ask(
        &self,
        call: Call,
        (lane, around): (Lane, Around),
        statements: Vec<Statement>,
    ) -> Result<Vec<Vec<Row>>> {
        self.check_open()?;
        let (slot, deadline) = match lane {
            Lane::Fast => (&self.fast, self.deadline),
            Lane::Slow => (&self.slow, self.deadline * SLOW),
        };
        let (link, target) = (slot.get(|| Ok::<_, CacheError>(Arc::default()))?, Arc::clone(&self.target));
        let begin = around.begin(deadline);
        let closed = Arc::clone(&self.closed);
        let reads = matches!(around, Around::Nothing | Around::Snapshot);
        remote::wait(call, deadline, async move {
            let mut is_first = true;
            loop {
                let live = link.connect(&target).await.map_err(|error| failed(call, &error))?;
                let outcome = {
                    let watched = Watched(&live);
                    let outcome = run(&live.client, begin.as_deref(), &statements).await;
                    forget(watched);
                    outcome
                };
                match outcome {
                    // Lost while nobody used it, perhaps: the server was started anew.
                    Err(_) if reads && is_first && live.client.is_closed() => is_first = false,
                    outcome => {
                        return outcome.map_err(|error| {
                            closed.fetch_or(are_tables_gone(&error), Ordering::SeqCst);
                            failed(call, &error)
                        });
                    }
                }
            }
        })
    }

    /// As [`ask`](Self::ask), of one statement.
    pub(super) fn ask_one(&self, call: Call, how: (Lane, Around), statement: Statement) -> Result<Vec<Row>> {
        Ok(self.ask(call, how, vec![statement])?.pop().unwrap_or_default())
    }

    /// Work that asks one thing after another, on a connection of its own.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and those of `work`.
    pub(super) fn converse<T: Send + 'static, W: Future<Output = Result<T, Refusal>> + Send + 'static>(
        &self,
        call: Call,
        work: impl FnOnce(Client) -> W + Send + 'static,
    ) -> Result<T> {
        self.check_open()?;
        let target = Arc::clone(&self.target);
        remote::wait(call, PATIENCE, async move {
            let live = Live::connect(&target).await.map_err(|error| failed(call, &error))?;
            work(live.client).await.map_err(|refusal| match refusal {
                Refusal::Database(error) => failed(call, &error),
                Refusal::Other(error) => error,
            })
        })
    }

    /// How often a connection was lost and made again.
    pub(super) fn reconnections(&self) -> u64 {
        self.target.lost.load(Ordering::SeqCst)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(CacheError::new(ErrorKind::Closed, "the cache is closed")) } else { Ok(()) }
    }

    /// Lets go of all connections. Calls that come later fail.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.fast.clear();
        self.slow.clear();
    }

    /// The process id of the server's end of a connection.
    #[cfg(test)]
    pub(super) fn backend(&self) -> i32 {
        const LOOK: Call = Call::new(ErrorKind::Metadata, "look at a connection");
        let rows = self.ask_one(LOOK, (Lane::Fast, Around::Nothing), self.statement("SELECT pg_backend_pid()"));
        rows.unwrap()[0].get(0)
    }

    /// Makes the connections those of another process, as they are in a forked child.
    #[cfg(test)]
    pub(super) fn pretend_to_be_forked(&self) {
        self.fast.pretend_to_be_forked();
    }
}

/// Why work on a connection of its own ended.
pub(super) enum Refusal {
    Database(Error),
    Other(CacheError),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<CacheError> for Refusal {
    fn from(error: CacheError) -> Self {
        Self::Other(error)
    }
}

/// Runs statements by one round trip, in a transaction if there is one to begin.
async fn run(client: &Client, begin: Option<&str>, statements: &[Statement]) -> Result<Vec<Vec<Row>>, Error> {
    type Step<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 'a>>;
    let batch = |sql| -> Step<'_> { Box::pin(async move { client.batch_execute(sql).await.map(|()| Vec::new()) }) };
    let asked = statements.iter().map(|statement| -> Step<'_> { Box::pin(statement.ask(client)) });
    let steps: Vec<Step<'_>> =
        begin.map(batch).into_iter().chain(asked).chain(begin.map(|_| batch("COMMIT"))).collect();
    // After the first error the server does none of the others, and `COMMIT` takes back what was done.
    let mut rows = all(steps).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    if begin.is_some() {
        rows.remove(0);
        rows.pop();
    }
    Ok(rows)
}

/// What each future gives. A client sends a statement when its future is first polled, so all are sent in their order before
/// anything else.
async fn all<T>(mut steps: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = steps.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (step, done) in steps.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(result) = step.as_mut().poll(context) {
                *done = Some(result);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// A place for a connection, which is made when it is first used and again when it is lost.
#[derive(Default)]
struct Link {
    there: Mutex<Option<Arc<Live>>>,
}

/// A connection.
struct Live {
    client: Client,
    task: JoinHandle<()>,
}

impl Link {
    async fn connect(&self, target: &Target) -> Result<Arc<Live>, Error> {
        let mut there = self.there.lock().await;
        match &*there {
            Some(live) if !live.client.is_closed() => Ok(Arc::clone(live)),
            before => {
                // The server may be another one by now, whose transactions have other numbers.
                target.lost.fetch_add(u64::from(before.is_some()), Ordering::SeqCst);
                Ok(Arc::clone(there.insert(Arc::new(Live::connect(target).await?))))
            }
        }
    }
}

impl Live {
    async fn connect(target: &Target) -> Result<Self, Error> {
        #[cfg(feature = "postgresql-tls")]
        if let Some(tls) = &target.tls {
            return Ok(Self::carried(target.config.connect(tls.clone()).await?));
        }
        Ok(Self::carried(target.config.connect(NoTls).await?))
    }

    fn carried<T>((client, connection): (Client, Connection<Socket, T>)) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let task = tokio::spawn(async move {
            // Whoever waits for an answer is told, too.
            if let Err(error) = connection.await {
                log::debug!("a connection to PostgreSQL ended: {error}");
            }
        });
        Self { client, task }
    }
}

/// Cuts a connection whose answer is given up: those behind it would wait for it, too.
struct Watched<'a>(&'a Live);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.task.abort();
    }
}

fn are_tables_gone(error: &Error) -> bool {
    error.code().is_some_and(|code| [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(code))
}

fn failed(call: Call, error: &Error) -> CacheError {
    #[cfg(feature = "postgresql-tls")]
    if let Some((why, may_pass)) = super::tls::refusal(error) {
        return call.of_kind(if may_pass { ErrorKind::Unavailable } else { ErrorKind::Config }).failed(why);
    }
    let Some(database) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        return call.of_kind(ErrorKind::Unavailable).failed(text);
    };
    let why = format!("{} (SQLSTATE {})", database.message(), database.code().code());
    // What asking again does not mend: a role, a password, a right or a database that is not there.
    let is_refused = ["28", "3D"].iter().any(|class| database.code().code().starts_with(class));
    // What goes away: a connection that is cut or not had, a server that starts, ends, or is the wrong one of several by now,
    // a statement that took too long.
    let is_outage =
        ["08", "57P", "53300", "57014", "25006"].iter().any(|class| database.code().code().starts_with(class));
    match *database.code() {
        // The next call makes them.
        _ if is_outage || are_tables_gone(error) => call.of_kind(ErrorKind::Unavailable).failed(why),
        SqlState::DISK_FULL => call.of_kind(ErrorKind::Storage).failed(why),
        SqlState::INSUFFICIENT_PRIVILEGE => call.of_kind(ErrorKind::Config).failed(why),
        _ if is_refused => call.of_kind(ErrorKind::Config).failed(why),
        _ => call.failed(why),
    }
}
