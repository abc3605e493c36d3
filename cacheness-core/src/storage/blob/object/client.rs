//! Calls of a bucket: how they end, and what their errors say.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::client::{HttpError, HttpErrorKind};
use object_store::{Error as StoreError, ObjectStore};

use super::connect::connect;
use crate::config::objects::ObjectOptions;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::breaker::Breaker;
use crate::util::process::PerProcess;
use crate::util::remote::{Call, wait};

const CALL: Call = Call::new(ErrorKind::Unavailable, "use the bucket of blobs");
/// The client gives up by itself at its deadline, with an error that says more; this much later nobody waits any more.
const GRACE: Duration = Duration::from_millis(250);
/// A call that sends or gets bytes has a second more for each of so many.
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 20;

/// The bucket, as long as the process is the one that opened it: a forked child connects anew, because both would write into
/// the same connections.
pub(super) struct Client {
    options: ObjectOptions,
    connected: PerProcess<dyn ObjectStore>,
    breaker: Breaker,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Client {
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the client refuses an option.
    pub(super) fn open(options: ObjectOptions) -> Result<Self> {
        let client = Self { options, connected: PerProcess::new(), breaker: Breaker::default() };
        client.store()?;
        Ok(client)
    }

    #[cfg(test)]
    pub(super) fn of_store(options: ObjectOptions, store: Arc<dyn ObjectStore>) -> Self {
        let connected = PerProcess::new();
        connected.get(|| Ok::<_, CacheError>(Arc::clone(&store))).unwrap();
        Self { options, connected, breaker: Breaker::default() }
    }

    /// As a forked child finds it.
    #[cfg(all(test, feature = "s3"))]
    pub(super) fn pretend_to_be_forked(&self) {
        self.connected.pretend_to_be_forked();
    }

    pub(super) fn options(&self) -> &ObjectOptions {
        &self.options
    }

    pub(super) fn store(&self) -> Result<Arc<dyn ObjectStore>> {
        self.connected.get(|| connect(&self.options))
    }

    /// Runs `work` in the runtime of clients. It is answered within the deadline, which is that of one request and longer by
    /// what `bytes` take.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable), which may pass, and at once after some in a row; [`Config`](ErrorKind::Config), which will not by itself; those that
    /// `work` makes.
    pub(super) fn run<T, F>(&self, doing: &str, bytes: u64, work: impl FnOnce(Arc<dyn ObjectStore>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        let deadline = self.deadline(bytes);
        let Some(mut attempt) = self.breaker.enter(Instant::now()) else {
            return Err(CacheError::new(
                ErrorKind::Unavailable,
                format!("cannot {doing}: {} does not answer", self.place()),
            ));
        };
        let work = work(self.store()?);
        let within = wait(CALL, deadline + GRACE, async move {
            let outcome = tokio::time::timeout(deadline, work).await;
            Ok(outcome.unwrap_or_else(|_| Err(late(deadline))))
        })?;
        let outcome = within.map_err(|error| self.failed(doing, &error));
        attempt.answered = !matches!(&outcome, Err(error) if error.is_unavailable());
        outcome
    }

    /// Runs `work` in the runtime of clients, and does not wait for its end, which is bounded by the deadline.
    pub(super) fn run_aside<F>(&self, work: impl FnOnce(Arc<dyn ObjectStore>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Ok(store) = self.store() else { return };
        let (deadline, work) = (self.deadline(0), work(store));
        let begun = wait(CALL, GRACE, async move {
            tokio::spawn(async move { tokio::time::timeout(deadline, work).await.is_ok() });
            Ok(())
        });
        if let Err(error) = begun {
            log::debug!("what is left in the bucket stays: {error}");
        }
    }

    /// How long a call may take that moves so many bytes.
    pub(super) fn deadline(&self, bytes: u64) -> Duration {
        let moving = Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST_BYTES_PER_SECOND);
        self.options.timeout.saturating_add(moving)
    }

    fn place(&self) -> String {
        let ObjectOptions { kind, bucket, .. } = &self.options;
        format!("{} {bucket:?} of {}", kind.bucket(), kind.name())
    }

    /// What went wrong, without what may be secret: of what the client says, the status, the code and the kind alone.
    pub(super) fn failed(&self, doing: &str, error: &StoreError) -> CacheError {
        let (kind, place) = (self.options.kind, self.place());
        let told = error.to_string();
        let code = code_in(&told).map_or(String::new(), |code| format!(" ({code})"));
        if is_bucket_missing(&told) {
            let message = format!(
                "cannot {doing}: there is no {place}{code}; make it, or correct blob.options.{}",
                kind.bucket()
            );
            return CacheError::new(ErrorKind::Config, message);
        }
        if is_refused(error, &told) {
            let message = format!(
                "cannot {doing}: {place} refuses it{code}; check the credentials in blob.options or {}, and what they may do \
                 there",
                kind.environment()
            );
            return CacheError::new(ErrorKind::Config, message);
        }
        CacheError::new(ErrorKind::Unavailable, format!("cannot {doing} in {place}: {}{code}", reason_of(error, &told)))
    }
}

fn is_refused(error: &StoreError, told: &str) -> bool {
    matches!(error, StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. })
        || ["401", "403"].iter().any(|status| status_in(told) == Some(status))
        || ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"]
            .iter()
            .any(|code| code_in(told) == Some(code))
}

/// Whether not the object is missing but the place of all of them.
pub(super) fn is_bucket_missing(told: &str) -> bool {
    ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"].iter().any(|known| told.contains(known))
}

/// The code of an error in an answer, which is one word.
fn code_in(told: &str) -> Option<&str> {
    let (_, rest) = told.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    (code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric())).then_some(code)
}

fn status_in(told: &str) -> Option<&str> {
    let status = told.split_once("status code: ")?.1.get(..3)?;
    status.chars().all(|c| c.is_ascii_digit()).then_some(status)
}

fn reason_of(error: &StoreError, told: &str) -> String {
    let (mut causes, mut next): (Vec<&(dyn std::error::Error + 'static)>, _) = (vec![error], error.source());
    while let Some(cause) = next {
        causes.push(cause);
        next = cause.source();
    }
    if let Some(Late(deadline)) = causes.iter().find_map(|cause| cause.downcast_ref()) {
        return format!("no answer within {} ms", deadline.as_millis());
    }
    // The message of an error of the system has nothing in it but what the system says.
    if let Some(io) = causes.iter().rev().find_map(|cause| cause.downcast_ref::<io::Error>())
        && io.raw_os_error().is_some()
    {
        return io.to_string();
    }
    if let Some(http) = causes.iter().find_map(|cause| cause.downcast_ref::<HttpError>()) {
        return match http.kind() {
            HttpErrorKind::Connect => "it cannot be connected to",
            HttpErrorKind::Timeout => "no answer in time",
            HttpErrorKind::Request | HttpErrorKind::Interrupted => "the connection was cut",
            _ => "the answer is not understood",
        }
        .to_owned();
    }
    match status_in(told) {
        Some(status) => format!("it answers with status {status}"),
        None => "the call failed".to_owned(),
    }
}

/// No answer came in time.
#[derive(Debug)]
struct Late(Duration);

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {} ms", self.0.as_millis())
    }
}

impl std::error::Error for Late {}

fn late(deadline: Duration) -> StoreError {
    StoreError::Generic { store: "cacheness", source: Box::new(Late(deadline)) }
}

/// Waits for one step of a call that has several.
pub(super) async fn within<T>(
    deadline: Duration,
    step: impl Future<Output = object_store::Result<T>>,
) -> object_store::Result<T> {
    tokio::time::timeout(deadline, step).await.unwrap_or_else(|_| Err(late(deadline)))
}

/// Whether the object is missing, and its bucket is not.
pub(super) fn if_there<T>(outcome: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match outcome {
        Err(StoreError::NotFound { path, source }) => {
            let error = StoreError::NotFound { path, source };
            if is_bucket_missing(&error.to_string()) { Err(error) } else { Ok(None) }
        }
        outcome => outcome.map(Some),
    }
}
