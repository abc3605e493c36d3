//! Results that are worth keeping, and those that are not.
use std::sync::atomic::{AtomicUsize, Ordering};

use cacheness::{cache_if, cached};
use serde::{Deserialize, Serialize};

static CALLS: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reply {
    status: String,
    body: String,
}

/// A service that is busy at every first call.
#[cache_if(|reply: &Reply| reply.status == "success", ttl = 3600, prefix = "conditional")]
fn ask(endpoint: &str) -> Reply {
    let call = CALLS.fetch_add(1, Ordering::SeqCst);
    let status = if call == 0 { "busy" } else { "success" };
    Reply { status: status.to_owned(), body: format!("answer {call} of {endpoint}") }
}

/// `Some` is kept and `None` is not: somebody may create the user in the meantime.
#[cached(ttl = "10m", prefix = "conditional")]
fn user_name(id: u32) -> Option<String> {
    CALLS.fetch_add(1, Ordering::SeqCst);
    (id < 100).then(|| format!("user {id}"))
}

fn main() -> Result<(), cacheness::CacheError> {
    cacheness::function(ask).clear()?;
    cacheness::function(user_name).clear()?;

    println!("{:?}: not kept", ask("/users"));
    println!("{:?}: kept", ask("/users"));
    println!("{:?}: the one that was kept", ask("/users"));
    assert_eq!(CALLS.swap(0, Ordering::SeqCst), 2);

    println!("{:?} {:?}: computed once", user_name(7), user_name(7));
    println!("{:?} {:?}: computed twice", user_name(700), user_name(700));
    assert_eq!(CALLS.load(Ordering::SeqCst), 3);
    Ok(())
}
